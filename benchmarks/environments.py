"""An environment for each peer: uv, or venv and pip, for Python; npm for Node.

Environments are kept in a folder that git ignores. The packages are pinned beside the peer's code. A peer that cannot
be set up is left out, and the others are measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer import Peer

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"
INSTALL_TIMEOUT = 900  # seconds


class Unavailable(Exception):
    """A peer or a program is not available; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The working folder of a peer, and the Python that runs it."""

    folder: Path
    python: Path


def prepare(peer: Peer) -> Environment:
    """The peer's environment, created if it is missing.

    Raises:
        Unavailable: it cannot be created.
    """
    if peer.runtime == "tandem":
        return Environment(HERE.parent, Path(sys.executable))
    code = HERE / "peers" / peer.folder
    requirements = code / ("package.json" if peer.runtime == "node" else "requirements.txt")
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = ENVIRONMENTS / f"{peer.folder}-{digest[:12]}"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"Setting up {peer.title} (only once).", flush=True)
        install = _install_node if peer.runtime == "node" else _install_python
        install(folder, requirements)
        (folder / "installed").touch()
    if peer.runtime == "node":
        for file in code.glob("*.js"):
            shutil.copy(file, folder)
        return Environment(folder, Path(sys.executable))
    return Environment(code, _python_of(folder))


def find_program(name: str, remedy: str) -> str:
    """The path of a program; raises `Unavailable` where it is missing."""
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is missing: {remedy}")
    return path


def _install_python(folder: Path, requirements: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    python = str(_python_of(folder))
    if uv:
        _run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements))
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(python, "-m", "pip", "install", "--quiet", "-r", str(requirements))


def _install_node(folder: Path, requirements: Path) -> None:
    find_program("node", "install Node.js 20 or newer")
    npm = find_program("npm", "it comes with Node.js")
    shutil.copy(requirements, folder)
    _run(npm, "install", "--omit=dev", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)


def _run(*command: str, cwd: Path | None = None) -> None:
    name = Path(command[0]).name
    try:
        process = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{name} did not finish: {error}") from error
    if process.returncode != 0:
        last_lines = "; ".join((process.stderr or process.stdout).strip().splitlines()[-3:])
        raise Unavailable(f"{name} failed: {last_lines}")


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
