#!/usr/bin/env python3
"""The chores of the house: in a fresh clone, `python3 dev.py run` is enough.

Makes .venv, installs the hash-locked requirements and does what is asked. It needs Python and nothing else: uv makes
the environment where it is on PATH, venv and pip where it is not. No part of the service imports this file.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Only syntax that older Pythons can read, so that they come as far as this sentence.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("Tandem needs Python 3.11 or newer: start dev.py with one, for example `python3.13 dev.py run`.")

from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = ENVIRONMENT / "installed"
RUNTIME = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"  # holds the runtime's as well


class Trouble(Exception):
    """Why it cannot go on, as a sentence that says what to do."""


def run(arguments: Sequence[str]) -> int:
    """start Tandem for development; further arguments are those of `python -m api serve`"""
    prepare(RUNTIME)
    fetch_assets()
    os.environ.setdefault("TANDEM_ENV", "development")
    return become("-m", "api", "serve", *arguments)


def api(arguments: Sequence[str]) -> int:
    """one of Tandem's own commands, on the database of development: `api import users.csv`, `api settings`, …"""
    prepare(RUNTIME)
    os.environ.setdefault("TANDEM_ENV", "development")
    return become("-m", "api", *arguments)


def test(arguments: Sequence[str]) -> int:
    """run all tests on both databases and all cores; takes pytest's arguments, `--database=sqlite` and `--coverage`"""
    prepare(DEVELOPMENT)
    fetch_assets()
    defaults = {"-n": "-nauto", "--database": "--database=both"}
    options = [default for name, default in defaults.items() if not any(it.startswith(name) for it in arguments)]
    if "--coverage" in arguments:
        arguments = [argument for argument in arguments if argument != "--coverage"]
        options += ["--cov=api", "--cov=schema", "--cov-report=term:skip-covered", "--cov-report=html"]
    # Naming the folder selects what a plain `pytest` leaves out.
    paths = [] if any(argument.startswith("tests") for argument in arguments) else ["tests"]
    return become("-m", "pytest", *options, *paths, *arguments)


def check(_: Sequence[str]) -> int:
    """lint, formatting, spelling, imports between packages, and types"""
    prepare(DEVELOPMENT)
    passed = [
        ran(PYTHON, "-m", "ruff", "check"),
        ran(PYTHON, "-m", "ruff", "format", "--check"),
        ran(PYTHON, "-m", "codespell_lib"),
        ran(PYTHON, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
        ran(PYTHON, "-m", "mypy", "--strict", "api", "schema", "tests", "benchmarks", "dev.py"),
    ]
    return 0 if all(passed) else 1


def bench(arguments: Sequence[str]) -> int:
    """measure; further arguments are those of `python -m benchmarks`"""
    prepare(DEVELOPMENT)
    return become("-m", "benchmarks", *arguments)


def assets(arguments: Sequence[str]) -> int:
    """fetch what /docs, /redoc and /graphql show"""
    prepare(RUNTIME)
    return become("-m", "api.pages.assets", *arguments)


def audit(_: Sequence[str]) -> int:
    """ask whether anything that the service runs on has a known hole; needs a network"""
    prepare(DEVELOPMENT)
    options = ("--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off")
    asked = (PYTHON, "-m", "pip_audit", f"--requirement={RUNTIME}", *options)
    said = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False).stdout
    try:
        packages = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        raise Trouble("pip-audit could not ask for known holes: see above. It needs a network.") from None
    holes = [(it, hole) for it in packages for hole in it.get("vulns", ())]
    for it, hole in holes:
        print(
            f"{it['name']} {it['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version'}"
        )
    unknown = [it["name"] for it in packages if "skip_reason" in it]
    if unknown:
        raise Trouble(f"Of {len(unknown)} of {len(packages)} packages nothing could be learnt: is pypi.org in reach?")
    print(f"{len(holes) or 'No'} known holes in {len(packages)} packages.")
    return 1 if holes else 0


def sbom(arguments: Sequence[str]) -> int:
    """write the bill of materials (CycloneDX, JSON) of what the service runs on; to a file, if one is named"""
    prepare(DEVELOPMENT)
    wanted = ("--pyproject=pyproject.toml", "--output-reproducible", "--output-format=JSON")
    file = ("--output-file", *arguments) if arguments else ()
    return become("-W", "ignore", "-m", "cyclonedx_py", "requirements", *wanted, *file, RUNTIME)


def lock(arguments: Sequence[str]) -> int:
    """write both requirements files anew from pyproject.toml; `--upgrade` moves to the newest versions"""
    uv = shutil.which("uv") or shutil.which("uv", path=PYTHON.parent)
    if uv is None:
        raise Trouble("Locking needs uv: install it, for example with `pip install uv`, and start again.")
    resolve = [uv, "pip", "compile", "pyproject.toml", "--universal", "--python-version=3.11", "--generate-hashes"]
    resolve += ["--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet", *arguments]
    develop = [*resolve, "--group=dev", f"--output-file={DEVELOPMENT}"]
    runtime = [*resolve, f"--constraints={DEVELOPMENT}", f"--output-file={RUNTIME}"]
    return 0 if ran(*develop) and ran(*runtime) else 1


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    command.__name__: command for command in (run, api, test, check, bench, assets, audit, sbom, lock)
}


def main(arguments: Sequence[str]) -> int:
    os.chdir(ROOT)
    name, *rest = arguments or ["help"]
    if name in ("help", "-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        say(f"dev.py knows no {name!r}.\n\n{usage()}")
        return 2
    try:
        return COMMANDS[name](rest)
    except Trouble as trouble:
        say(str(trouble))
        return 1
    except KeyboardInterrupt:
        return 130


def usage() -> str:
    chores = "\n".join(f"  {name:<8}{command.__doc__}" for name, command in COMMANDS.items())
    return f"python3 dev.py COMMAND\n\n{chores}\n  help    this page"


def prepare(requirements: str) -> None:
    """See to it that .venv is whole and has `requirements` installed; a fraction of a second when it has."""
    with alone():
        wanted = digest(requirements)
        if stands() and STAMP.exists() and wanted in STAMP.read_text().split():
            return
        STAMP.unlink(missing_ok=True)
        if not any(install(requirements) for install in (install_with_uv, install_with_pip)):
            raise Trouble("The packages could not be installed: see above, put that right, and start again.")
        # Written last: half an installation is never taken for a whole one.
        STAMP.write_text("\n".join({wanted, digest(RUNTIME)} if requirements == DEVELOPMENT else {wanted}))


def digest(requirements: str) -> str:
    return hashlib.sha256(Path(requirements).read_bytes()).hexdigest()


def install_with_uv(requirements: str) -> bool:
    uv = shutil.which("uv")
    if uv is None:
        return False
    say(f"Installing {requirements} into .venv with uv, once.")
    made = stands() or (clear() and ran(uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT))
    install = (uv, "pip", "install", "--quiet", "--python", PYTHON, "--require-hashes", "-r", requirements)
    if made and ran(*install):
        return True
    say("uv could not do it, so venv and pip shall try.")
    return False


def install_with_pip(requirements: str) -> bool:
    say(f"Installing {requirements} into .venv with pip, once; it may take a minute.")
    if not stands("-m", "pip", "--version"):
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise Trouble("This Python cannot make .venv: `apt install python3-venv` (or install uv), and start again.")
        clear()
        ran(sys.executable, "-m", "venv", ENVIRONMENT)
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    return ran(PYTHON, "-m", "pip", "install", *options, "-r", requirements)


def stands(*also: str) -> bool:
    """Whether .venv has a Python that starts and is of the version that runs this."""
    version = ("-c", f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})")
    return all(ran(PYTHON, *proof, quiet=True) for proof in (version, also) if proof)


def clear() -> bool:
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    return True


def fetch_assets() -> None:
    """What /docs, /redoc and /graphql show; all else works without."""
    with alone():
        if not ran(PYTHON, "-m", "api.pages.assets"):
            say("The explorers' assets are not there: `python3 dev.py assets` fetches them, once the network allows.")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One at a time: of two that start at once, the second waits and finds the work done."""
    with open(".venv.lock", "w") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            # Inherited by children, so that a pip whose dev.py was killed is waited for too.
            os.set_inheritable(file.fileno(), True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ran(*command: str | Path, quiet: bool = False) -> bool:
    """Whether the command could be started and went well."""
    try:
        return subprocess.run(command, close_fds=False, capture_output=quiet, check=False).returncode == 0
    except OSError:
        return False


def become(*arguments: str) -> int:
    """Hand over to .venv's Python: as this very process where the system can, so that signals reach it."""
    if os.name != "nt":
        os.execv(PYTHON, (str(PYTHON), *arguments))
    return subprocess.call((PYTHON, *arguments))


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
