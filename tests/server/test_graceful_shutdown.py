"""Graceful shutdown: connected clients are served, connections are closed without a reset, the server exits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from schema.migrations import commands
from schema.migrations.revisions import newest
from tests.fixtures.raw_http import connected, read_response, request, send_raw

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither POSIX signals nor fork")

ROOT = Path(__file__).parents[2]
GET, POST = request("GET", "/"), request("POST", "/", b'{"some": "thing"}')
EXIT_SECONDS = 4


class Service:
    """`tests/fixtures/draining_app.py` as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.draining_app",
            *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def workers(self, count: int) -> set[int]:
        """The process ids of the workers, once `count` have answered."""
        seen: set[int] = set()
        until = time.monotonic() + 15
        while len(seen) < count and time.monotonic() < until:
            with contextlib.suppress(OSError, IndexError):
                seen.add(int(send_raw(self.port, GET)[0][2]))
            time.sleep(0.01)
        return seen


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[Service]:
    service = Service(*arguments)
    try:
        yield service
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGKILL)
        service.process.wait()
        assert service.process.stdout
        service.process.stdout.close()


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that serves."""
    with started("1") as service:
        service.workers(1)
        yield service


async def client(port: int, kept: bool, seen: Counter[str], stopping: asyncio.Event) -> None:
    """Send requests over one connection or a new one each time, and count the outcomes."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            if stopping.is_set():
                return
            raise
        try:
            closes = False
            while not closes:
                writer.write(POST)
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                seen["answered"] += 1
                closes = not kept or b"connection: close" in head.lower()
        except (asyncio.IncompleteReadError, OSError) as error:
            seen[f"{type(error).__name__}"] += 1
        finally:
            writer.close()


async def rush(service: Service) -> Counter[str]:
    """The outcomes of the requests of many clients while the service shuts down."""
    seen, stopping = Counter[str](), asyncio.Event()
    clients = [asyncio.create_task(client(service.port, n % 2 == 0, seen, stopping)) for n in range(32)]
    async with asyncio.timeout(15):
        while seen["answered"] < 200:  # noqa: ASYNC110 there is no event to wait for
            await asyncio.sleep(0.01)
    stopping.set()
    service.terminate()
    await asyncio.wait_for(asyncio.gather(*clients), 15)
    return seen


async def test_a_shutdown_under_load_loses_no_request(service):
    seen = await rush(service)

    assert seen["answered"] > 32
    assert set(seen) == {"answered"}


def test_queued_connections_are_served(service):
    holding = socket.create_connection(("127.0.0.1", service.port), timeout=10)
    holding.sendall(request("GET", "/block"))
    time.sleep(0.1)
    waiting = [socket.create_connection(("127.0.0.1", service.port), timeout=10) for _ in range(8)]
    for connection in waiting:
        connection.sendall(POST)

    service.terminate()
    responses = [read_response(connection.makefile("rb")) for connection in (holding, *waiting)]

    assert [response[0] for response in responses] == [200] * 9
    assert [response[1].get("connection") for response in responses[1:]] == ["close"] * 8
    for connection in (holding, *waiting):
        connection.close()


def test_an_active_request_is_finished(service):
    with connected(service.port) as connection:
        connection.sendall(request("GET", "/slow"))
        time.sleep(0.1)
        service.terminate()
        with connection.makefile("rb") as received:
            status, headers, _ = read_response(received)
            rest = received.read()

    assert (status, headers["connection"], rest) == (200, "close", b"")


def test_an_idle_connection_is_used_once_more_or_closed_without_a_reset(service):
    with connected(service.port) as used, connected(service.port) as idle:
        for connection in (used, idle):
            connection.sendall(GET)
            read_response(connection.makefile("rb"))
        service.terminate()
        time.sleep(0.5)
        used.sendall(GET)
        last = read_response(used.makefile("rb"))

        assert (last[0], last[1]["connection"]) == (200, "close")
        assert idle.recv(1) == b""


def test_a_websocket_is_closed_with_1012(service):
    with connect(f"ws://127.0.0.1:{service.port}/", proxy=None) as websocket:
        service.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(10)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


@pytest.mark.parametrize("held", [0, 20], ids=["no connection", "idle connections"])
def test_an_idle_server_exits_soon(service, held):
    idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(held)]
    started = time.monotonic()

    service.terminate()
    code = service.process.wait(10)

    assert time.monotonic() - started < EXIT_SECONDS
    assert code == 0
    for connection in idle:
        connection.close()


@pytest.mark.parametrize(
    "workers, path, expected",
    [("1", "/hang", 0), ("1", "/stick", 1), ("2", "/hang", 0), ("2", "/stick", 0)],
)
def test_a_blocked_event_loop_does_not_delay_the_exit(workers, path, expected):
    """If not even a signal handler runs, a watchdog thread ends the process with exit code 1."""
    with started(workers, "hasty") as service:
        service.workers(int(workers))
        with connected(service.port) as connection:
            connection.sendall(request("GET", path))
            time.sleep(0.3)
            service.terminate()
            code = service.process.wait(15)

    assert code == expected


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_the_server_at_once(workers):
    with started(workers) as service:
        service.workers(int(workers))
        with connected(service.port) as connection:
            connection.sendall(request("GET", "/endless"))
            time.sleep(0.3)
            service.terminate()
            time.sleep(0.4)
            lives = service.process.poll() is None
            service.terminate()
            code = service.process.wait(10)

    assert lives
    assert code == -signal.SIGTERM


def test_a_dead_worker_is_replaced_and_all_workers_exit_together():
    with started("2") as service:
        before = service.workers(2)
        with pytest.raises((OSError, IndexError)):
            send_raw(service.port, request("GET", "/die"))
        after = service.workers(2)
        service.terminate()
        code = service.process.wait(10)

        assert len(before) == len(after) == 2
        assert len(before & after) == 1
        assert code == 0
        assert not any(alive(worker) for worker in after)


async def test_a_shutdown_of_workers_loses_no_request():
    with started("2") as service:
        service.workers(2)

        seen = await rush(service)

    assert set(seen) == {"answered"}


def test_no_worker_outlives_its_supervisor():
    with started("2") as service:
        workers = service.workers(2)
        service.process.kill()
        until = time.monotonic() + EXIT_SECONDS
        while any(alive(worker) for worker in workers) and time.monotonic() < until:
            time.sleep(0.05)

        assert not any(alive(worker) for worker in workers)


def test_workers_that_cannot_start_are_not_restarted():
    with started("2", "broken") as service:
        assert service.process.wait(10) == 1


def alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The start


def test_the_newest_migration_is_known_without_alembic():
    assert newest() == commands.newest()


@pytest.mark.sqlite
def test_a_server_starts_without_libraries_that_it_does_not_need(database):
    code = """
import sys
sys.modules.update(dict.fromkeys(("typer", "rich", "alembic")))
sys.argv[1:] = ["serve", "--host", "127.0.0.1", "--port", "1"]
import api.server.startup
api.server.startup.listen = lambda *address: sys.exit(7)
import runpy
runpy.run_module("api", run_name="__main__")
"""
    environment = {**os.environ, "TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{database}"}

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (7, "")
