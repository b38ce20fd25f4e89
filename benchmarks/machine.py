"""The environment of a run: hardware, versions, commit. Names neither the machine nor its owner."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.environments import HERE
from benchmarks.peer import Peer, System

MAX_IDLE_LOAD = 0.4


def description(database_description: Mapping[str, str]) -> dict[str, str]:
    """The machine, with the description of the database server."""
    return {
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": _memory(),
        "system": _system(),
        "Python": platform.python_version(),
        "Node": _output("node", "--version").removeprefix("v") or "none",
        "wrk": _wrk(),
        "pinned": "server and load generator on a core each" if shutil.which("taskset") else "no: taskset is missing",
        **database_description,
    }


def load_warning() -> str | None:
    """A warning if something else runs on the machine: results would not be reliable."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"the machine was busy before it began: a load of {load:.1f}" if load > MAX_IDLE_LOAD else None


def commit() -> str:
    """The commit, with `-changed` if the code differs from it."""
    short = _output("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", "api", "schema", "benchmarks")
    return f"{short}-changed" if changed else short


def package_versions(peer: Peer, system: System) -> str:
    """The packages of a peer with their versions."""
    pinned = _pinned(peer)
    return ", ".join(f"{name} {pinned[name]}" for name in (*peer.packages, peer.drivers.get(system)) if name in pinned)


def _pinned(peer: Peer) -> dict[str, str]:
    """The versions pinned beside a peer's code; for Tandem the installed ones."""
    if peer.runtime == "tandem":
        return {name: number for name in (*peer.packages, *peer.drivers.values()) if (number := _installed(name))}
    folder = HERE / "peers" / peer.folder
    if peer.runtime == "node":
        package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        return dict(package["dependencies"])
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.partition(" ")[0].split("==") for line in lines if "==" in line and not line.startswith("#"))


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _output(*command: str) -> str:
    """The output of a program, or nothing if it fails."""
    try:
        process = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip() if process.returncode == 0 else ""


def _wrk() -> str:
    """wrk prints its version, and then fails for lack of arguments."""
    if not shutil.which("wrk"):
        return "none"
    process = subprocess.run(["wrk", "--version"], capture_output=True, text=True, timeout=20, check=False)
    match = re.search(r"wrk (?:debian/)?(\d[\w.]*)", process.stdout + process.stderr)
    return match[1] if match else "unknown"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.+)", file.read_text()) if file.exists() else None
    return re.sub(r"\((R|TM)\)", "", match[1]).strip() if match else platform.processor() or "unknown processor"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()
