"""Of several servers on one PostgreSQL one may die or leave, or the database may: no answer given was wrong."""

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

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(os.name == "nt", reason="there are neither signals nor forks")]

ROOT = Path(__file__).parents[2]
ANYBODY = Actor(roles=frozenset({"admin"}), name="test")
ID = Selection((("id", Scalar("id")),))
CLIENTS = 12
UNNEEDED = ("typer", "rich", "alembic")


class Server:
    """`python -m api serve` in production, in so many processes."""

    def __init__(self, url: str, workers: int = 1) -> None:
        self.port = free_port()
        told = {"TANDEM_ENV": "production", "DATABASE_URL": url, "WEB_CONCURRENCY": str(workers), "LOG_LEVEL": "error"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--host", "127.0.0.1", "--port", str(self.port)],
            cwd=ROOT, env={**os.environ, **told}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def workers(self) -> list[int]:
        """The processes that answer, where there are several."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def ask(self, method: str, path: str, key: str = "", body: Any = None) -> tuple[int, dict[str, str], Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def until(self, status: int, path: str, key: str = "", seconds: float = 15) -> float:
        """How long it took until it answered so."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            with contextlib.suppress(OSError):
                if self.ask("GET", path, key)[0] == status:
                    return time.monotonic() - began
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
    """The id and the value of an administrator's key."""

    async def made() -> tuple[str, str]:
        async with Directory(url) as directory:
            id, found = await create(
                directory.unit_of_work(ANYBODY), resource_of(Key), {"name": "load", "role": "admin"}, ID
            )
            return id, str(found.shown_once)

    return asyncio.run(made())


@pytest.fixture
def url(migrated):
    """An empty database."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group", key, kept_answer')
    return migrated


@pytest.fixture
def two(url):
    """Two servers on it, the second of two processes."""
    servers = Server(url), Server(url, workers=2)
    with serving(*servers):
        for server in servers:
            server.until(200, "/health/ready")
        yield servers


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL of our own, to be stopped and started. What it has acknowledged outlives it."""
    with (
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder,
        postgres.Cluster(Path(folder), synchronous_commit="on") as cluster,
    ):
        migrate(cluster.url)
        yield cluster


@dataclass
class Load:
    """Clients that make people, each under a key; what becomes of a request is counted by its status or its error."""

    ports: Sequence[int]
    credential: str
    seen: Counter[str] = field(default_factory=Counter)
    made: dict[str, str] = field(default_factory=dict)
    drops: float = 0  # how often a client hangs up before it has its answer
    sent_again: int = 0
    stopped: bool = False
    when: list[float] = field(default_factory=list)
    bare: int = 0

    async def http_client(self, number: int) -> None:
        at, count = number, 0
        lines: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.stopped:
            name, tries = f"P{number}x{count}", 0
            while name not in self.made:
                self.sent_again += tries > 0
                tries += 1
                assert tries < 400, (name, self.seen)
                try:
                    lines = lines or await asyncio.open_connection("127.0.0.1", self.ports[at % len(self.ports)])
                    status, closes, body = await self.send(lines, name)
                except (asyncio.IncompleteReadError, OSError) as error:
                    self.seen[type(error).__name__] += 1
                    at, closes = at + 1, True
                else:
                    self.seen[status] += 1
                    if status == "201":
                        self.made[name] = json.loads(body)["id"]
                        self.when.append(time.monotonic())
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
        answer = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
        status = head.split()[1].decode()
        self.bare += status == "503" and b"\r\nretry-after: " not in head
        return status, b"connection: close" in head, answer

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 what is waited for tells nobody
                await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self, after: float) -> AsyncIterator[None]:
        """Load while the block runs, and for so long after it."""
        clients = [asyncio.create_task(self.http_client(number)) for number in range(CLIENTS)]
        try:
            await self.until(lambda: len(self.made) > 2 * CLIENTS)
            yield
            await asyncio.sleep(after)
        finally:
            self.stopped = True
            await asyncio.wait_for(asyncio.gather(*clients), 15)


def there(url: str) -> dict[str, str]:
    """Who is in the database, by name; nobody is there twice."""
    rows = postgres.run(url, 'SELECT first_name, id::text FROM "user"')
    assert len({name for name, _ in rows}) == len(rows)
    return dict(rows)


async def test_of_processes_killed_under_load_nothing_is_lost_or_done_twice(two, url):
    single, double = two
    load = Load([server.port for server in two], (await asyncio.to_thread(new_key, url))[1], drops=0.1)

    async with load.running(after=1.2):
        os.kill(random.choice(double.workers()), signal.SIGKILL)
        await asyncio.sleep(random.uniform(0.1, 0.5))
        single.process.kill()
        await load.until(lambda: load.sent_again)

    assert load.sent_again > 0
    assert {status for status in load.seen if status.isdecimal()} <= {"201", "409"}
    assert load.made == there(url)


async def test_of_a_server_that_leaves_under_load_not_one_request_is_lost(two, url):
    load = Load([server.port for server in two], (await asyncio.to_thread(new_key, url))[1])

    async with load.running(after=0.3):
        two[1].process.terminate()
        await asyncio.to_thread(two[1].process.wait, 10)
        await load.until(lambda: load.seen["ConnectionRefusedError"])

    assert set(load.seen) <= {"201", "ConnectionRefusedError"}
    assert load.seen["ConnectionRefusedError"] > 0
    assert load.made == there(url)


def test_a_key_revoked_through_one_server_is_refused_by_the_other_within_five_seconds(two, url):
    (id, key), (_, other) = new_key(url), new_key(url)
    for server in (*two, two[1], two[1]):
        assert server.ask("GET", "/users", key)[0] == 200

    assert two[0].ask("POST", f"/keys/{id}/revoke", other, {})[0] == 200

    assert two[0].ask("GET", "/users", key)[0] == 401
    time.sleep(5)
    # Which process a connection comes to is the kernel's to say: so many are asked that both are.
    assert {two[1].ask("GET", "/users", key)[0] for _ in range(40)} == {401}


async def test_a_database_restarted_under_load_loses_nothing_that_it_acknowledged(cluster):
    server = Server(cluster.url)
    load = Load([server.port], (await asyncio.to_thread(new_key, cluster.url))[1])

    with serving(server):
        await asyncio.to_thread(server.until, 200, "/health/ready")
        async with load.running(after=1.2):
            await asyncio.to_thread(cluster.stop, "immediate")
            await load.until(lambda: load.seen["503"])
            await asyncio.to_thread(cluster.start)
            back = time.monotonic()
            await load.until(lambda: load.when[-1] > back)

    assert set(load.seen) <= {"201", "503", "409"}
    assert load.seen["503"] > 0
    assert load.bare == 0
    assert any(when > back for when in load.when)  # and nobody had to start it again
    assert load.made == there(cluster.url)


def test_a_server_starts_without_its_database_and_serves_when_it_is_there(cluster):
    key = new_key(cluster.url)[1]
    cluster.stop()
    server = Server(cluster.url)

    with serving(server):
        server.until(200, "/health/live")
        answers = [server.ask("GET", path, key) for path in ("/health/ready", "/users")]
        cluster.start()
        took = server.until(200, "/users", key), server.until(200, "/health/ready")

    assert [(status, "retry-after" in headers) for status, headers, _ in answers] == [(503, True)] * 2
    assert sum(took) < 10


def test_a_server_on_postgresql_is_started_without_what_it_does_not_need(url):
    code = f"""
import sys
sys.modules.update(dict.fromkeys({UNNEEDED}))
sys.argv[1:] = ["serve", "--host", "127.0.0.1", "--port", "1"]
import api.server.startup
api.server.startup.listen = lambda *address: sys.exit(7)
import runpy
runpy.run_module("api", run_name="__main__")
"""
    told = {**os.environ, "TANDEM_ENV": "production", "DATABASE_URL": url}

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=told, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (7, "")
