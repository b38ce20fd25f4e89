"""A peer's server as a child process, pinned to one core: started, observed and ended."""

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

from benchmarks.data import dataset
from benchmarks.environments import Environment, Unavailable
from benchmarks.peer import Peer
from schema.engine.database_url import is_postgres

SERVER_CORE, LOAD_CORE = 0, 1
START_TIMEOUT = 60.0
MAX_LOG_LENGTH = 2**20
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `start` is the time to its first response in seconds."""

    peer: Peer
    process: subprocess.Popen[bytes]
    port: int
    start: float

    def cpu(self) -> float:
        """The processor time that it has used, in seconds; 0 where the system does not report it."""
        processes = (stat(process) for process in _members(self.process.pid))
        return sum(int(fields[11]) + int(fields[12]) for fields in processes if fields) / TICKS

    def memory(self) -> int:
        """The resident memory of its largest process in bytes; 0 where the system does not report it."""
        return max((_resident(process) for process in _members(self.process.pid)), default=0)


@contextmanager
def running_server(peer: Peer, environment: Environment, database: str) -> Iterator[Server]:
    """Run a peer on a database at a path or URL.

    Raises:
        Unavailable: it exits, or does not respond in time.
    """
    port, on_postgres = _free_port(), is_postgres(database)
    module = peer.postgres_module if on_postgres else "app"
    command = [part.format(python=environment.python, port=port, app=module) for part in peer.command]
    url = database if on_postgres else f"sqlite:///{database}"
    variables = {"PORT": str(port), "DATABASE": database, "DATABASE_URL": url}
    passed = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    with TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*pin_command(SERVER_CORE), *command],
            cwd=environment.folder,
            env={**passed, **variables, **peer.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await_response(peer, process, port, log.fileno())
            yield Server(peer, process, port, time.perf_counter() - started)
        finally:
            _end(process)


def pin_command(core: int) -> Sequence[str]:
    """The command prefix that pins a process to a core; empty where that is not possible."""
    taskset = shutil.which("taskset")
    return [taskset, "-c", str(core)] if taskset and (os.cpu_count() or 1) > core else []


def _await_response(peer: Peer, process: subprocess.Popen[bytes], port: int, log: int) -> None:
    path, until = f"/users/{dataset.user_id(0)}", time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, HTTPException), closing(connection):
            connection.request("GET", path, headers=dict(peer.headers))
            if connection.getresponse().status == 200:
                return
        time.sleep(0.005)
    last_lines = "; ".join(os.pread(log, MAX_LOG_LENGTH, 0).decode(errors="replace").strip().splitlines()[-3:])
    raise Unavailable(f"{peer.name} does not respond: {last_lines or 'no output'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, which are a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _members(session: int) -> list[Path]:
    """The processes of a session."""
    return [path for path in Path("/proc").glob("[0-9]*") if (fields := stat(path)) and int(fields[3]) == session]


def stat(process: Path) -> list[str]:
    """The fields of `/proc/<pid>/stat` after the process name; none if the process has ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _resident(process: Path) -> int:
    try:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
