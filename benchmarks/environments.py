"""An environment for each peer, below a folder that git ignores: uv or venv and pip for Python, npm for Node.

What a peer is made of is pinned beside its code. One that cannot be set up is left out by name, and the others go on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.roster import Peer

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / ".environments"
LONGEST = 900


class Unavailable(Exception):
    """Why a peer or a tool is not to be had, as a sentence."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a peer runs: its folder, and the Python that runs it."""

    folder: Path
    python: Path


def prepare(peer: Peer) -> Home:
    """The peer's environment, made unless it is there; `Unavailable` where it cannot be made."""
    if peer.runtime == "tandem":
        return Home(HERE.parent, Path(sys.executable))
    code = HERE / "peers" / peer.folder
    pinned = code / ("package.json" if peer.runtime == "node" else "requirements.txt")
    told = hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()
    folder = ENVIRONMENTS / f"{peer.folder}-{told[:12]}"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"Setting up {peer.title}: once.", flush=True)
        install = _install_node if peer.runtime == "node" else _install_python
        install(folder, pinned)
        (folder / "installed").touch()
    if peer.runtime == "node":
        for file in code.glob("*.js"):
            shutil.copy(file, folder)
        return Home(folder, Path(sys.executable))
    return Home(code, _python_of(folder))


def tool(name: str, remedy: str) -> str:
    """The path of a program; `Unavailable` where there is none."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is missing: {remedy}")
    return found


def _install_python(folder: Path, pinned: Path) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    python = str(_python_of(folder))
    if uv:
        _run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", python, "-r", str(pinned))
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(python, "-m", "pip", "install", "--quiet", "-r", str(pinned))


def _install_node(folder: Path, pinned: Path) -> None:
    tool("node", "install Node.js 20 or newer")
    npm = tool("npm", "it comes with Node.js")
    shutil.copy(pinned, folder)
    _run(npm, "install", "--omit=dev", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LONGEST, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(command[0]).name} did not finish: {error}") from error
    if done.returncode != 0:
        last = "; ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise Unavailable(f"{Path(command[0]).name} failed: {last}")


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
