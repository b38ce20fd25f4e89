"""Where a run takes place: the machine, the versions, the commit. Nothing that names the machine or its owner."""

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
from benchmarks.roster import Peer, System

IDLE = 0.4


def described(store: Mapping[str, str]) -> dict[str, str]:
    """The machine in a few words, and what is told of the databases."""
    return {
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": _memory(),
        "system": _system(),
        "Python": platform.python_version(),
        "Node": _said("node", "--version").removeprefix("v") or "none",
        "wrk": _wrk(),
        "pinned": "server and load on a core each" if shutil.which("taskset") else "not: taskset is missing",
        **store,
    }


def busy() -> str | None:
    """That something else runs here, as a sentence: figures taken meanwhile are not to be trusted."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"the machine was busy before it began: a load of {load:.1f}" if load > IDLE else None


def commit() -> str:
    """The commit that is measured, and whether anything was changed since."""
    short = _said("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = _said("git", "status", "--porcelain", "--untracked-files=no", "--", "api", "schema", "benchmarks")
    return f"{short}-changed" if changed else short


def made_of(peer: Peer, system: System) -> str:
    """The packages behind a peer, with their versions."""
    pinned = _pinned(peer)
    return ", ".join(f"{name} {pinned[name]}" for name in (*peer.made_of, peer.drivers.get(system)) if name in pinned)


def _pinned(peer: Peer) -> dict[str, str]:
    """The versions that are pinned beside a peer's code; of Tandem, those that are installed."""
    if peer.runtime == "tandem":
        return {name: found for name in (*peer.made_of, *peer.drivers.values()) if (found := _installed(name))}
    folder = HERE / "peers" / peer.folder
    if peer.runtime == "node":
        told = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        return dict(told["dependencies"])
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.partition(" ")[0].split("==") for line in lines if "==" in line and not line.startswith("#"))


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _said(*command: str) -> str:
    """What a program says, or nothing where it cannot be asked."""
    try:
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _wrk() -> str:
    """wrk tells its version, and then that it was called wrongly."""
    if not shutil.which("wrk"):
        return "none"
    done = subprocess.run(["wrk", "--version"], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(r"wrk (?:debian/)?(\d[\w.]*)", done.stdout + done.stderr)
    return found[1] if found else "unknown"


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", told.read_text()) if told.exists() else None
    return re.sub(r"\((R|TM)\)", "", found[1]).strip() if found else platform.processor() or "unknown processor"


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
