#!/usr/bin/env python3
"""Development commands: in a fresh clone, `python3 dev.py run` is enough.

Each command creates .venv and installs the hash-locked requirements first, with uv if it is on PATH, otherwise with
venv and pip. Needs nothing but Python. The service does not import this file.
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

# This file uses only syntax that older Pythons can parse, so that they get to this message.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("Tandem needs Python 3.11 or newer: start dev.py with one, for example `python3.13 dev.py run`.")

from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = ENVIRONMENT / "installed"
RUNTIME = "requirements.txt"
DEVELOPMENT = "requirements-dev.txt"  # includes the runtime requirements


class CommandFailed(Exception):
    """A sentence that says what failed and what to do."""


def run(arguments: Sequence[str]) -> int:
    """start the server for development; takes the arguments of `python -m api serve`"""
    prepare(RUNTIME)
    fetch_assets()
    os.environ.setdefault("TANDEM_ENV", "development")
    return exec_python("-m", "api", "serve", *arguments)


def api(arguments: Sequence[str]) -> int:
    """run a command of `python -m api` with the development database: `api import users.csv`, `api settings`, …"""
    prepare(RUNTIME)
    os.environ.setdefault("TANDEM_ENV", "development")
    return exec_python("-m", "api", *arguments)


def test(arguments: Sequence[str]) -> int:
    """run all tests on both databases and all cores; takes pytest's arguments, `--database=sqlite` and `--coverage`"""
    prepare(DEVELOPMENT)
    fetch_assets()
    defaults = {"-n": "-nauto", "--database": "--database=both"}
    options = [
        default for name, default in defaults.items() if not any(argument.startswith(name) for argument in arguments)
    ]
    if "--coverage" in arguments:
        arguments = [argument for argument in arguments if argument != "--coverage"]
        options += ["--cov=api", "--cov=schema", "--cov-report=term:skip-covered", "--cov-report=html"]
    # Naming the folder selects what a plain `pytest` leaves out.
    paths = [] if any(argument.startswith("tests") for argument in arguments) else ["tests"]
    return exec_python("-m", "pytest", *options, *paths, *arguments)


def check(_: Sequence[str]) -> int:
    """lint, formatting, spelling, imports between packages, and types"""
    prepare(DEVELOPMENT)
    passed = [
        run_succeeds(PYTHON, "-m", "ruff", "check"),
        run_succeeds(PYTHON, "-m", "ruff", "format", "--check"),
        run_succeeds(PYTHON, "-m", "codespell_lib"),
        run_succeeds(PYTHON, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"),
        run_succeeds(PYTHON, "-m", "mypy", "--strict", "api", "schema", "tests", "benchmarks", "dev.py"),
    ]
    return 0 if all(passed) else 1


def bench(arguments: Sequence[str]) -> int:
    """run the benchmarks; takes the arguments of `python -m benchmarks`"""
    prepare(DEVELOPMENT)
    return exec_python("-m", "benchmarks", *arguments)


def assets(arguments: Sequence[str]) -> int:
    """download the assets of /docs, /redoc and /graphql"""
    prepare(RUNTIME)
    return exec_python("-m", "api.pages.assets", *arguments)


def audit(_: Sequence[str]) -> int:
    """check the runtime requirements for known vulnerabilities; needs a network"""
    prepare(DEVELOPMENT)
    options = ("--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off")
    command = (PYTHON, "-m", "pip_audit", f"--requirement={RUNTIME}", *options)
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        raise CommandFailed("pip-audit failed: see the errors above. It needs a network.") from None
    vulnerabilities = [(package, entry) for package in packages for entry in package.get("vulns", ())]
    for package, entry in vulnerabilities:
        fixes = ", ".join(entry["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {entry['id']}, fixed in {fixes}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        raise CommandFailed(f"{len(skipped)} of {len(packages)} packages were not checked: is pypi.org reachable?")
    print(f"{len(vulnerabilities) or 'No'} known vulnerabilities in {len(packages)} packages.")
    return 1 if vulnerabilities else 0


def sbom(arguments: Sequence[str]) -> int:
    """print the bill of materials of the runtime requirements (CycloneDX, JSON), or write it to a file"""
    prepare(DEVELOPMENT)
    options = ("--pyproject=pyproject.toml", "--output-reproducible", "--output-format=JSON")
    file = ("--output-file", *arguments) if arguments else ()
    return exec_python("-W", "ignore", "-m", "cyclonedx_py", "requirements", *options, *file, RUNTIME)


def lock(arguments: Sequence[str]) -> int:
    """lock the requirements of pyproject.toml in both files; `--upgrade` moves to the newest versions"""
    uv = shutil.which("uv") or shutil.which("uv", path=PYTHON.parent)
    if uv is None:
        raise CommandFailed("Locking needs uv: install it, for example with `pip install uv`, and try again.")
    resolve = [uv, "pip", "compile", "pyproject.toml", "--universal", "--python-version=3.11", "--generate-hashes"]
    resolve += ["--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet", *arguments]
    develop = [*resolve, "--group=dev", f"--output-file={DEVELOPMENT}"]
    runtime = [*resolve, f"--constraints={DEVELOPMENT}", f"--output-file={RUNTIME}"]
    return 0 if run_succeeds(*develop) and run_succeeds(*runtime) else 1


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
        print_to_stderr(f"dev.py has no command {name!r}.\n\n{usage()}")
        return 2
    try:
        return COMMANDS[name](rest)
    except CommandFailed as error:
        print_to_stderr(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def usage() -> str:
    commands = "\n".join(f"  {name:<8}{command.__doc__}" for name, command in COMMANDS.items())
    return f"python3 dev.py COMMAND\n\n{commands}\n  help    show this help"


def prepare(requirements: str) -> None:
    """Create .venv and install `requirements`, unless that is done; then it takes a fraction of a second."""
    with lock_held():
        current = digest(requirements)
        if has_working_python() and STAMP.exists() and current in STAMP.read_text().split():
            return
        STAMP.unlink(missing_ok=True)
        if not any(install(requirements) for install in (install_with_uv, install_with_pip)):
            raise CommandFailed("The packages could not be installed: see the errors above, and try again.")
        # Written last, so that an interrupted installation is repeated.
        STAMP.write_text("\n".join({current, digest(RUNTIME)} if requirements == DEVELOPMENT else {current}))


def digest(requirements: str) -> str:
    return hashlib.sha256(Path(requirements).read_bytes()).hexdigest()


def install_with_uv(requirements: str) -> bool:
    uv = shutil.which("uv")
    if uv is None:
        return False
    print_to_stderr(f"Installing {requirements} into .venv with uv.")
    has_environment = has_working_python() or (
        clear() and run_succeeds(uv, "venv", "--quiet", "--python", sys.executable, ENVIRONMENT)
    )
    install = (uv, "pip", "install", "--quiet", "--python", PYTHON, "--require-hashes", "-r", requirements)
    if has_environment and run_succeeds(*install):
        return True
    print_to_stderr("uv failed; trying venv and pip.")
    return False


def install_with_pip(requirements: str) -> bool:
    print_to_stderr(f"Installing {requirements} into .venv with pip; this may take a minute.")
    if not has_working_python("-m", "pip", "--version"):
        if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise CommandFailed(
                "This Python cannot create .venv: `apt install python3-venv` (or install uv), and try again."
            )
        clear()
        run_succeeds(sys.executable, "-m", "venv", ENVIRONMENT)
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    return run_succeeds(PYTHON, "-m", "pip", "install", *options, "-r", requirements)


def has_working_python(*also: str) -> bool:
    """Whether .venv's Python starts, has the version that runs this, and runs `also`, if given."""
    version = ("-c", f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})")
    return all(run_succeeds(PYTHON, *proof, quiet=True) for proof in (version, also) if proof)


def clear() -> bool:
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    return True


def fetch_assets() -> None:
    """Download the explorers' assets; a failure is no error, since everything else works without them."""
    with lock_held():
        if not run_succeeds(PYTHON, "-m", "api.pages.assets"):
            print_to_stderr(
                "The explorers' assets are missing: `python3 dev.py assets` downloads them when there is a network."
            )


@contextlib.contextmanager
def lock_held() -> Iterator[None]:
    """Hold a lock on the environment: a second process waits, and finds it installed."""
    with open(".venv.lock", "w") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            # Inherited by child processes: the lock outlives a killed dev.py while its pip runs.
            os.set_inheritable(file.fileno(), True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_succeeds(*command: str | Path, quiet: bool = False) -> bool:
    """Run a command; return whether it succeeded."""
    try:
        return subprocess.run(command, close_fds=False, capture_output=quiet, check=False).returncode == 0
    except OSError:
        return False


def exec_python(*arguments: str) -> int:
    """Replace this process by .venv's Python where the system can, so that signals reach it."""
    if os.name != "nt":
        os.execv(PYTHON, (str(PYTHON), *arguments))
    return subprocess.call((PYTHON, *arguments))


def print_to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
