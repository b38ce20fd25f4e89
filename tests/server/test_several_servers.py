"""Several servers on one PostgreSQL: when a server or the database stops, no acknowledged write is lost or repeated."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from schema.migrations.commands import migrate
from schema.models import Key
from tests.fixtures import postgres
from tests.fixtures.raw_http import free_port

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(os.name == "nt", reason="Windows has neither signals nor forks")]

ROOT = Path(__file__).parents[2]
ADMIN = Actor(roles=frozenset({"admin"}), name="test")
ID = Selection((("id", Scalar("id")),))
CLIENTS = 12
UNNEEDED = ("typer", "rich", "alembic")


class Server:
    """`python -m api serve` in production, with this number of worker processes."""

    def __init__(self, url: str, workers: int = 1) -> None:
        self.port = free_port()
        environment = {
            "TANDEM_ENV": "production",
            "DATABASE_URL": url,
            "WEB_CONCURRENCY": str(workers),
            "LOG_LEVEL": "error",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--host", "127.0.0.1", "--port", str(self.port)],
            cwd=ROOT, env={**os.environ, **environment}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def request(self, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, dict[str, str], Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, dict(response.headers), json.loads(response.read() or b"null")
        finally:
            connection.close()

    def until(self, status: int, path: str, key: str = "", seconds: float = 15) -> float:
        """Wait for this status, and return how many seconds it took."""
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            with contextlib.suppress(OSError):
                if self.request("GET", path, key)[0] == status:
                    return time.monotonic() - started
            time.sleep(0.05)
        raise AssertionError(f"{path} was not {status} within {seconds} seconds")


@contextlib.contextmanager
def serving(*servers: Server) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


def new_key(url: str) -> tuple[str, str]:
    """Create an administrator's key, and return its id and its value."""

    async def create_key() -> tuple[str, str]:
        async with Directory(url) as directory:
            id, record = await create(
                directory.unit_of_work(ADMIN), resource_of(Key), {"name": "load", "role": "admin"}, ID
            )
            return id, str(record.shown_once)

    return asyncio.run(create_key())


@pytest.fixture
def url(migrated):
    """An empty database."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group", key, kept_answer')
    return migrated


@pytest.fixture
def two_servers(url):
    """Two servers on the database, the second with two workers."""
    servers = Server(url), Server(url, workers=2)
    with serving(*servers):
        for server in servers:
            server.until(200, "/health/ready")
        yield servers


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL that can be stopped and started, with durable commits."""
    with (
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder,
        postgres.Cluster(Path(folder), synchronous_commit="on") as cluster,
    ):
        migrate(cluster.url)
        yield cluster


@dataclass
class Load:
    """Clients that create users with idempotency keys; requests are counted by status or error."""

    ports: Sequence[int]
    credential: str
    outcomes: Counter[str] = field(default_factory=Counter)
    created: dict[str, str] = field(default_factory=dict)
    drops: float = 0  # the share of requests whose client disconnects before the response
    retries: int = 0
    stopped: bool = False
    created_at: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    async def http_client(self, number: int) -> None:
        at, count = number, 0
        lines: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.stopped:
            name, tries = f"P{number}x{count}", 0
            while name not in self.created:
                self.retries += tries > 0
                tries += 1
                assert tries < 400, (name, self.outcomes)
                try:
                    lines = lines or await asyncio.open_connection("127.0.0.1", self.ports[at % len(self.ports)])
                    status, closes, body = await self.send(lines, name)
                except (asyncio.IncompleteReadError, OSError) as error:
                    self.outcomes[type(error).__name__] += 1
                    at, closes = at + 1, True
                else:
                    self.outcomes[status] += 1
                    if status == "201":
                        self.created[name] = json.loads(body)["id"]
                        self.created_at.append(time.monotonic())
                    else:
                        await asyncio.sleep(0.02)
                if closes and lines:
                    lines[1].close()
                    lines = None
            count += 1
            await asyncio.sleep(0.005)
        if lines:
            lines[1].close()

    async def send(
        self, lines: tuple[asyncio.StreamReader, asyncio.StreamWriter], name: str
    ) -> tuple[str, bool, bytes]:
        reader, writer = lines
        body = b'{"first_name":"%s","age":1}' % name.encode()
        writer.write(
            f"POST /users HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {self.credential}\r\n"
            f"idempotency-key: {name}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if random.random() < self.drops:
            await asyncio.sleep(random.uniform(0, 0.02))
            raise ConnectionAbortedError
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        content = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        status = head.split()[1].decode()
        self.without_retry_after += status == "503" and b"\r\nretry-after: " not in head
        return status, b"connection: close" in head, content

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 there is no event to wait for
                await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self, after: float) -> AsyncIterator[None]:
        """Send requests while the block runs, and for `after` seconds more."""
        clients = [asyncio.create_task(self.http_client(number)) for number in range(CLIENTS)]
        try:
            await self.until(lambda: len(self.created) > 2 * CLIENTS)
            yield
            await asyncio.sleep(after)
        finally:
            self.stopped = True
            await asyncio.wait_for(asyncio.gather(*clients), 15)


def stored(url: str) -> dict[str, str]:
    """Return the ids of the stored users by name, after checking that no name is stored twice."""
    rows = postgres.run(url, 'SELECT first_name, id::text FROM "user"')
    assert len({name for name, _ in rows}) == len(rows)
    return dict(rows)


async def test_killed_servers_lose_and_repeat_no_acknowledged_write(two_servers, url):
    single, double = two_servers
    load = Load([server.port for server in two_servers], (await asyncio.to_thread(new_key, url))[1], drops=0.1)

    async with load.running(after=1.2):
        os.kill(random.choice(double.workers()), signal.SIGKILL)
        await asyncio.sleep(random.uniform(0.1, 0.5))
        single.process.kill()
        await load.until(lambda: load.retries)

    assert load.retries > 0
    assert {status for status in load.outcomes if status.isdecimal()} <= {"201", "409"}
    assert load.created == stored(url)


async def test_a_graceful_shutdown_under_load_fails_no_request(two_servers, url):
    load = Load([server.port for server in two_servers], (await asyncio.to_thread(new_key, url))[1])

    async with load.running(after=0.3):
        two_servers[1].process.terminate()
        await asyncio.to_thread(two_servers[1].process.wait, 10)
        await load.until(lambda: load.outcomes["ConnectionRefusedError"])

    assert set(load.outcomes) <= {"201", "ConnectionRefusedError"}
    assert load.outcomes["ConnectionRefusedError"] > 0
    assert load.created == stored(url)


def test_a_revoked_key_is_refused_by_every_server_within_five_seconds(two_servers, url):
    (id, key), (_, second_key) = new_key(url), new_key(url)
    for server in (*two_servers, two_servers[1], two_servers[1]):
        assert server.request("GET", "/users", key)[0] == 200

    assert two_servers[0].request("POST", f"/keys/{id}/revoke", second_key, {})[0] == 200

    assert two_servers[0].request("GET", "/users", key)[0] == 401
    time.sleep(5)
    # The kernel decides which worker gets a connection; 40 requests reach both.
    assert {two_servers[1].request("GET", "/users", key)[0] for _ in range(40)} == {401}


async def test_a_database_restarted_under_load_loses_no_acknowledged_write(cluster):
    server = Server(cluster.url)
    load = Load([server.port], (await asyncio.to_thread(new_key, cluster.url))[1])

    with serving(server):
        await asyncio.to_thread(server.until, 200, "/health/ready")
        async with load.running(after=1.2):
            await asyncio.to_thread(cluster.stop, "immediate")
            await load.until(lambda: load.outcomes["503"])
            await asyncio.to_thread(cluster.start)
            back = time.monotonic()
            await load.until(lambda: load.created_at[-1] > back)

    assert set(load.outcomes) <= {"201", "503", "409"}
    assert load.outcomes["503"] > 0
    assert load.without_retry_after == 0
    assert any(moment > back for moment in load.created_at)  # without a restart of the server
    assert load.created == stored(cluster.url)


def test_a_server_starts_without_its_database_and_serves_once_it_is_up(cluster):
    key = new_key(cluster.url)[1]
    cluster.stop()
    server = Server(cluster.url)

    with serving(server):
        server.until(200, "/health/live")
        responses = [server.request("GET", path, key) for path in ("/health/ready", "/users")]
        cluster.start()
        seconds = server.until(200, "/users", key), server.until(200, "/health/ready")

    assert [(status, "retry-after" in headers) for status, headers, _ in responses] == [(503, True)] * 2
    assert sum(seconds) < 10


def test_a_server_on_postgresql_starts_without_optional_libraries(url):
    code = f"""
import sys
sys.modules.update(dict.fromkeys({UNNEEDED}))
sys.argv[1:] = ["serve", "--host", "127.0.0.1", "--port", "1"]
import api.server.startup
api.server.startup.listen = lambda *address: sys.exit(7)
import runpy
runpy.run_module("api", run_name="__main__")
"""
    environment = {**os.environ, "TANDEM_ENV": "production", "DATABASE_URL": url}

    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert (process.returncode, process.stderr) == (7, "")
