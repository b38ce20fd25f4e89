"""`python3 dev.py` works in a fresh clone, with and without uv; an error is one sentence.

A temporary folder stands in for the clone, with a uv, a venv and a pip that only log their arguments.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A Python that finds what stands in for venv, pip and pytest, and so needs nothing installed.
FAKE_PYTHON = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
FAKE_MAKE = f"""
import pathlib
python = pathlib.Path(".venv/bin/python")
python.parent.mkdir(parents=True, exist_ok=True)
python.write_text({FAKE_PYTHON!r})
python.chmod(0o755)
"""
FAKE_NOTE = "import os, sys; open('log', 'a').write(f'{} {{sys.argv[1]}} {{sys.argv[-1]}}\\n')\n"
FAKE_UV = (
    f"#!{sys.executable}\n" + FAKE_NOTE.format("uv") + "if sys.argv[1] == 'venv':\n" + FAKE_MAKE.replace("\n", "\n ")
)
FAILING = "raise SystemExit('no network')\n"

FILES = {
    "requirements.txt": "starlette",
    "requirements-dev.txt": "starlette and pytest",
    "api/pages/assets.py": "",
    "api/__main__.py": "import os, sys; print(os.getpid(), os.environ['TANDEM_ENV'], *sys.argv[1:])",
    "fakes/venv.py": FAKE_NOTE.format("venv") + FAKE_MAKE,
    "fakes/pip.py": "import sys; '--version' in sys.argv and sys.exit()\n" + FAKE_NOTE.format("pip"),
    "fakes/pytest.py": "import sys; print(*sys.argv[1:]); sys.exit(3)",
}


class Clone:
    """A fresh clone on a machine with the programs that a test adds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("dev.py", (ROOT / "dev.py").read_text(encoding="utf-8"))
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")
        (self.root / name).chmod(0o755)

    def start(self, *arguments: str, python: tuple[str, ...] = ("dev.py",)) -> subprocess.Popen[str]:
        (self.root / "bin").mkdir(exist_ok=True)
        environ = {"PATH": f"{self.root}/bin", "PYTHONPATH": f"{self.root}/fakes", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *python, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=environ, stdout=pipe, stderr=pipe, text=True)

    def call(self, *arguments: str, python: tuple[str, ...] = ("dev.py",)) -> tuple[int, str, str]:
        process = self.start(*arguments, python=python)
        stdout, stderr = process.communicate(timeout=30)
        return process.returncode, stdout, stderr

    def log(self) -> list[str]:
        """The arguments of uv, venv and pip since the last call."""
        path = self.root / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.replace(str(self.root), ".") for line in lines]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.mark.slow
def test_uv_creates_the_environment_if_it_is_installed(clone):
    clone.write("bin/uv", FAKE_UV)

    code, stdout, _ = clone.call("run", "--port", "1")

    assert (code, stdout.split()[1:]) == (0, ["development", "serve", "--port", "1"])
    assert clone.log() == ["uv venv ./.venv", "uv pip requirements.txt"]


@pytest.mark.slow
def test_without_uv_venv_and_pip_create_it(clone):
    code, stdout, _ = clone.call("run")

    assert (code, stdout.split()[1:]) == (0, ["development", "serve"])
    assert clone.log() == ["venv ./.venv ./.venv", "pip install requirements.txt"]


@pytest.mark.slow
def test_when_uv_fails_venv_and_pip_are_used(clone):
    clone.write("bin/uv", "#!/bin/sh\nexit 2\n")

    code, _, stderr = clone.call("run")

    assert code == 0
    assert "uv failed" in stderr
    assert clone.log() == ["venv ./.venv ./.venv", "pip install requirements.txt"]


def test_without_uv_and_venv_the_error_says_what_to_install(clone):
    lame = "import runpy, sys; sys.modules['ensurepip'] = None; runpy.run_path('dev.py', run_name='__main__')"

    code, _, stderr = clone.call("run", python=("-c", lame))

    assert code == 1
    assert "`apt install python3-venv`" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_what_is_installed_is_not_installed_again(clone):
    clone.call("test")
    assert clone.log() == ["venv ./.venv ./.venv", "pip install requirements-dev.txt"]

    codes = [clone.call("test")[0], clone.call("run")[0]]

    assert codes == [3, 0]
    assert clone.log() == []


@pytest.mark.slow
def test_a_changed_lock_is_installed(clone):
    clone.call("run")
    clone.write("requirements.txt", "starlette and uvicorn")
    assert clone.log()

    clone.call("run")

    assert clone.log() == ["pip install requirements.txt"]


@pytest.mark.slow
def test_an_interrupted_installation_is_repeated(clone):
    clone.call("run")
    clone.write("requirements.txt", "starlette and uvicorn")
    clone.write("fakes/pip.py", "import sys; sys.exit('--version' not in sys.argv)")
    code, _, stderr = clone.call("run")
    assert (code, stderr.splitlines()[-1][:35]) == (1, "The packages could not be installed")

    clone.write("requirements.txt", "starlette")
    clone.write("fakes/pip.py", FILES["fakes/pip.py"])
    code, _, _ = clone.call("run")

    assert code == 0
    assert clone.log()[-1] == "pip install requirements.txt"


@pytest.mark.slow
def test_an_environment_of_another_python_is_replaced(clone):
    clone.call("run")
    clone.write(".venv/bin/python", "#!/bin/sh\nexit 1\n")
    clone.write(".venv/of_the_old_one", "")
    assert clone.log()

    code, _, _ = clone.call("run")

    assert code == 0
    assert clone.log() == ["venv ./.venv ./.venv", "pip install requirements.txt"]
    assert not (clone.root / ".venv/of_the_old_one").exists()


@pytest.mark.slow
def test_of_two_concurrent_starts_one_installs(clone):
    clone.write("fakes/pip.py", f"import time; time.sleep(0.2)\n{FILES['fakes/pip.py']}")

    starts = [clone.start("run"), clone.start("run")]
    stdout = [process.communicate(timeout=30)[0] for process in starts]

    assert all("development serve" in answer for answer in stdout)
    assert clone.log() == ["venv ./.venv ./.venv", "pip install requirements.txt"]


@pytest.mark.slow
def test_run_replaces_the_process_by_the_server(clone):
    process = clone.start("run")

    stdout, _ = process.communicate(timeout=30)

    assert stdout.split()[0] == str(process.pid)


@pytest.mark.slow
def test_missing_explorer_assets_do_not_prevent_a_start(clone):
    clone.write("api/pages/assets.py", FAILING)

    code, stdout, stderr = clone.call("run")

    assert (code, stdout.split()[1:]) == (0, ["development", "serve"])
    assert "`python3 dev.py assets` downloads them" in stderr.splitlines()[-1]


@pytest.mark.slow
def test_test_passes_on_arguments_and_exit_code(clone):
    code, stdout, _ = clone.call("test", "-k", "filters")

    assert (code, stdout.split()) == (3, ["-nauto", "--database=both", "tests", "-k", "filters"])


@pytest.mark.slow
def test_test_names_a_folder_only_where_none_is_given_and_measures_coverage(clone):
    code, stdout, _ = clone.call("test", "tests/api", "--coverage", "-n2", "--database=sqlite")

    coverage = ["--cov=api", "--cov=schema", "--cov-report=term:skip-covered", "--cov-report=html"]
    assert (code, stdout.split()) == (3, [*coverage, "tests/api", "-n2", "--database=sqlite"])


def test_an_unknown_command_lists_the_commands(clone):
    code, _, stderr = clone.call("serve")

    assert code == 2
    assert all(f"\n  {name} " in stderr for name in ("run", "test", "check", "bench", "assets", "lock", "help"))


def test_an_older_python_gets_an_error_message(clone):
    old = "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path('dev.py', run_name='__main__')"

    code, _, stderr = clone.call("run", python=("-c", old))

    assert code == 1
    assert stderr.startswith("Tandem needs Python 3.11 or newer")


def test_an_older_python_can_parse_the_file():
    ast.parse((ROOT / "dev.py").read_text(encoding="utf-8"), feature_version=(3, 7))


def test_locking_requires_uv(clone):
    code, _, stderr = clone.call("lock")

    assert code == 1
    assert stderr.startswith("Locking needs uv: install it")
    assert stderr.count("\n") == 1


def pins(name: str) -> dict[str, str]:
    return dict(hashed(name))


def hashed(name: str) -> list[tuple[str, str]]:
    """Name and version of all that the lock holds with a hash; one name may have a version for each Python."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return list(re.findall(r"^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==(\S+).*\\\n    --hash=sha256:", text, re.MULTILINE))


def test_one_installation_of_the_development_lock_is_enough():
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")

    assert runtime.items() <= development.items()
    assert {"pytest", "mypy", "ruff"} <= development.keys() - runtime.keys()


def test_the_locks_have_all_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = project["project"]["dependencies"], project["dependency-groups"]["dev"]

    names = [{re.split(r"[^\w-]", line)[0] for line in lines} for lines in requirements]

    assert names[0] <= pins("requirements.txt").keys()
    assert names[1] <= pins("requirements-dev.txt").keys()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_has_hashes_and_no_urls(name):
    text = (ROOT / name).read_text(encoding="utf-8")

    assert not re.findall(r"://|^-|@", text, re.MULTILINE)
    assert len(hashed(name)) == len(re.findall("==.*\\\\$", text, re.MULTILINE))


def test_the_ci_script_is_executable():
    assert os.access(ROOT / ".ci/run", os.X_OK)


def audited(*packages):
    return f"import json; print(json.dumps({{'dependencies': {list(packages)!r}}}))"


CLEAN = {"name": "sound", "version": "1", "vulns": []}
VULNERABLE = {"name": "holed", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
LOST = {"name": "worse", "version": "2", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}


@pytest.mark.parametrize(
    "fake, code, sentence",
    [
        (audited(CLEAN, CLEAN), 0, "No known vulnerabilities in 2 packages.\n"),
        (audited(CLEAN, VULNERABLE), 1, "holed 2: PYSEC-1, fixed in 3\n1 known vulnerabilities in 2 packages.\n"),
        (audited(LOST), 1, "worse 2: PYSEC-2, fixed in no version\n1 known vulnerabilities in 1 packages.\n"),
        (audited(CLEAN, {"name": "x", "skip_reason": "?"}), 1, "1 of 2 packages were not checked: is pypi"),
        ("raise SystemExit('no network')", 1, "pip-audit failed: see the errors above. It needs a network"),
    ],
    ids=["sound", "holed", "lost", "unknown", "unreachable"],
)
def test_the_audit_reports_vulnerabilities_and_failures(clone, fake, code, sentence):
    clone.write("bin/uv", FAKE_UV)
    clone.write("fakes/pip_audit.py", fake)

    returncode, stdout, stderr = clone.call("audit")

    assert returncode == code
    assert sentence in stdout + stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("file", [(), ("bom.json",)])
def test_the_bill_of_materials_has_the_runtime_requirements(clone, file):
    clone.write("bin/uv", FAKE_UV)
    clone.write("fakes/cyclonedx_py.py", "import sys; print(*sys.argv[1:])")

    code, stdout, _ = clone.call("sbom", *file)

    assert code == 0
    assert stdout.split()[0] == "requirements"
    assert stdout.split()[-1] == "requirements.txt"
    assert stdout.split()[4:-1] == (["--output-file", "bom.json"] if file else [])
