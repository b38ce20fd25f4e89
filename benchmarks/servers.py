"""A peer as a process of its own, pinned to one core: started, watched and ended; no process that is not ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks import people
from benchmarks.environments import Home, Unavailable
from benchmarks.roster import Peer
from schema.engine.database_url import is_postgres

SERVER_CORE, LOAD_CORE = 0, 1
SLOWEST_START = 60.0
MOST_SAID = 2**20
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Server:
    """A peer that answers. `start` is how many seconds its first answer took."""

    peer: Peer
    process: subprocess.Popen[bytes]
    port: int
    start: float

    def cpu(self) -> float:
        """The seconds of processor time that it has taken; 0 where the system does not tell."""
        fields = (stat(member) for member in _members(self.process.pid))
        return sum(int(it[11]) + int(it[12]) for it in fields if it) / TICKS

    def memory(self) -> int:
        """The bytes that its largest process holds in memory; 0 where the system does not tell."""
        return max((_resident(member) for member in _members(self.process.pid)), default=0)


@contextmanager
def running(peer: Peer, home: Home, database: str) -> Iterator[Server]:
    """The peer, over its own copy of a database, at a path or a URL; `Unavailable` if it does not come up."""
    port, on_postgres = _free_port(), is_postgres(database)
    module = peer.on_postgres if on_postgres else "app"
    command = [part.format(python=home.python, port=port, app=module) for part in peer.command]
    url = database if on_postgres else f"sqlite:///{database}"
    told = {"PORT": str(port), "DATABASE": database, "DATABASE_URL": url}
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    with TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*pinned(SERVER_CORE), *command],
            cwd=home.folder,
            env={**passed, **told, **peer.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await_answer(peer, process, port, log.fileno())
            yield Server(peer, process, port, time.perf_counter() - began)
        finally:
            _end(process)


def pinned(core: int) -> Sequence[str]:
    """What has to stand before a command to keep it on one core; nothing where that cannot be had."""
    taskset = shutil.which("taskset")
    return [taskset, "-c", str(core)] if taskset and (os.cpu_count() or 1) > core else []


def _await_answer(peer: Peer, process: subprocess.Popen[bytes], port: int, log: int) -> None:
    path, until = f"/users/{people.user_id(0)}", time.monotonic() + SLOWEST_START
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, HTTPException), closing(connection):
            connection.request("GET", path, headers=dict(peer.headers))
            if connection.getresponse().status == 200:
                return
        time.sleep(0.005)
    last = "; ".join(os.pread(log, MOST_SAID, 0).decode(errors="replace").strip().splitlines()[-3:])
    raise Unavailable(f"{peer.name} does not answer: {last or 'it said nothing'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children: they are a session of their own."""
    for word in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, word)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def _members(session: int) -> list[Path]:
    """The processes of a session."""
    return [path for path in Path("/proc").glob("[0-9]*") if (fields := stat(path)) and int(fields[3]) == session]


def stat(process: Path) -> list[str]:
    """The fields of a process's `stat` in `/proc` after its name, or none if it has gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
