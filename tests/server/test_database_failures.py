"""Failures of a SQLite database: acknowledged writes are kept, clients get a 503, and service resumes.

Servers are real processes; limits of SQLite and of the operating system simulate a full disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from schema.engine.changes import TransactionResult
from schema.engine.errors import DISK_FAILURE, DatabaseCorrupt, DatabaseUnavailable
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from schema.engine.sqlite import connection, writer
from schema.engine.sqlite.database_file import exclusive_lock, wal_size
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.raw_http import free_port

pytestmark = pytest.mark.sqlite

ROOT = Path(__file__).parents[2]
SHORT = Selection((("id", Scalar("id")),))


def environment(database: Path, **more: str) -> dict[str, str]:
    """The environment of a server in development."""
    defaults = {"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{database}"}
    return {**os.environ, "PYTHONPATH": str(ROOT), **defaults, **more}


@contextmanager
def server(database: Path, *wrapped: str, **more: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """Run a server process over a database, and return it with a client."""
    port = free_port()
    command = [*(wrapped or [sys.executable, "-m", "api"]), "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment(database, **more), stdout=subprocess.PIPE, text=True)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http_client:
            wait_until(lambda: is_healthy(http_client))
            yield process, http_client
    finally:
        process.kill()
        process.communicate(timeout=30)


def is_healthy(http_client: httpx2.Client) -> bool:
    try:
        return http_client.get("/health").status_code == 200
    except httpx2.HTTPError:
        return False


def goes_unready(http_client: httpx2.Client) -> bool:
    """Write, then check: only a recent failure makes the health check fail."""
    http_client.post("/users", json={"first_name": "P", "last_name": "x" * 100, "age": 1})
    return not is_healthy(http_client)


def wait_until(holds: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def value_of(database: Path, sql: str) -> Any:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchone()[0]


def check_unavailable(response: httpx2.Response) -> None:
    """Check that it is a 503 problem document with a Retry-After header and no internals."""
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"] == "1"
    assert response.json()["code"] in ("DB_UNAVAILABLE", "TIMEOUT")
    assert "Traceback" not in response.text
    assert "sqlite" not in response.text


async def make(directory: Directory, **fields: Any) -> str:
    return (await create(directory.unit_of_work(ADMIN), USER, {"first_name": "P", "age": 1, **fields}, SHORT))[0]


# The process


def test_a_killed_server_loses_no_acknowledged_write(database):
    """Four threads create users, with idempotency keys, and memberships until the server is killed."""
    acknowledged: list[tuple[str, str]] = []
    created: dict[str, str] = {}

    def write(number: int, base: str) -> None:
        with httpx2.Client(base_url=base, trust_env=False, timeout=10) as http_client:
            group = http_client.post("/groups", json={"name": f"G{number}"}).json()["id"]
            for count in range(100_000):
                key = f"{number}-{count}"
                person = {"first_name": key, "age": 1, "email": f"{key}@Example.com"}
                try:
                    id = http_client.post("/users", json=person, headers={"idempotency-key": key}).json()["id"]
                    acknowledged.append(("user", id))
                    created[key] = id
                    http_client.put(f"/groups/{group}/members/{id}").raise_for_status()
                    acknowledged.append(("membership", id))
                except (httpx2.HTTPError, json.JSONDecodeError):
                    return

    with server(database) as (process, http_client):
        base = str(http_client.base_url)
        threads = [threading.Thread(target=write, args=(number, base)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 200)
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()

    with closing(sqlite3.connect(database)) as connection:
        users = {id for (id,) in connection.execute("SELECT id FROM user")}
        members = {id for (id,) in connection.execute("SELECT user_id FROM membership")}
        kept = dict(connection.execute("SELECT key, id FROM kept_answer"))
        keys = connection.execute("SELECT count(*) FROM user WHERE email_key IS NOT lower(email)").fetchone()
        verdict = connection.execute("PRAGMA integrity_check").fetchone()
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    assert (verdict, orphans, keys) == (("ok",), [], (0,))
    assert {id for table, id in acknowledged if table == "user"} <= users
    assert {id for table, id in acknowledged if table == "membership"} <= members
    assert kept.items() >= created.items()
    assert set(kept.values()) == users


def test_a_second_server_on_the_same_file_is_refused(database):
    with server(database) as (process, _):
        second = subprocess.run(
            [sys.executable, "-m", "api", "serve", "--port", str(free_port())],
            env=environment(database), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        others = [
            subprocess.run([sys.executable, "-m", "api", *arguments], env=environment(database), capture_output=True)
            for arguments in (["migrate"], ["export", "-", "--kind", "users"], ["doctor"])
        ]

        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr == f"{database} is in use: process {process.pid} is serving it\n"
        assert [other.returncode for other in others] == [0, 0, 0]

    with exclusive_lock(str(database), "serving"):
        pass


# Locks


def test_a_lock_held_by_another_process_is_a_503_until_it_is_released(database):
    with server(database, TANDEM_REQUEST_TIMEOUT="1.5") as (_, http_client):
        with closing(sqlite3.connect(database, isolation_level=None)) as lock_holder:
            lock_holder.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            refused = http_client.post("/users", json={"first_name": "Ada", "age": 36})
            seconds = time.monotonic() - started
            wait_until(lambda: not is_healthy(http_client), 5)
            live, listed = http_client.get("/health/live"), http_client.get("/users")
        created = http_client.post("/users", json={"first_name": "Ada", "age": 36})

        check_unavailable(refused)
        assert seconds < 4
        assert (live.status_code, listed.status_code, created.status_code) == (200, 200, 201)
        wait_until(lambda: is_healthy(http_client), 5)


async def test_writes_queued_behind_a_lock_fail_in_time(database):
    async with Directory(str(database), deadline=0.9) as directory:
        with closing(sqlite3.connect(database, isolation_level=None)) as lock_holder:
            lock_holder.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            first = asyncio.create_task(make(directory))
            await asyncio.sleep(0.05)
            outcomes = await asyncio.gather(first, make(directory), return_exceptions=True)
            seconds = time.monotonic() - started

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2
    assert seconds < 4


# The file


async def test_a_moved_file_is_not_written_to_until_it_is_back(database, tmp_path):
    async with Directory(str(database)) as directory:
        kept = await make(directory)
        database.rename(tmp_path / "away.db")
        await asyncio.sleep(0.12)

        for attempt in (make(directory), directory.read([("SELECT 1", ())]), directory.driver.check()):
            with pytest.raises(DatabaseUnavailable, match="does not exist any more"):
                await attempt
        assert not database.exists()
        (tmp_path / "away.db").rename(database)

        await directory.driver.check()
        await make(directory)
        assert await directory.read([("SELECT count(*) FROM user", ())]) == [[(2,)]]
        assert await directory.read([("SELECT min(id) FROM user", ())]) == [[(kept,)]]


async def test_a_replaced_file_is_opened(database, template, tmp_path):
    async with Directory(str(database)) as directory:
        await make(directory)
        database.rename(tmp_path / "old.db")
        for leftover in (database.with_name("tandem.db-wal"), database.with_name("tandem.db-shm")):
            leftover.unlink()
        database.write_bytes(template.read_bytes())
        await asyncio.sleep(0.12)

        counts = [await directory.read([("SELECT count(*) FROM user", ())]) for _ in range(4)]
        id = await make(directory)
        again = [await directory.read([("SELECT id FROM user", ())]) for _ in range(4)]

    assert counts == [[[(0,)]]] * 4
    assert again == [[[(id,)]]] * 4
    assert value_of(database, "SELECT id FROM user") == id


async def test_a_corrupt_page_is_reported_until_it_is_repaired(database):
    with closing(sqlite3.connect(database)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'user'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xde\xad\xbe\xef" * (size // 4))

    async with Directory(str(database)) as directory:
        await directory.driver.check()
        for attempt in (make(directory), directory.read([("SELECT id, first_name, last_name, email FROM user", ())])):
            with pytest.raises(DatabaseCorrupt):
                await attempt
        with pytest.raises(DatabaseCorrupt):
            await directory.driver.check()
        assert await directory.read([("SELECT count(*) FROM membership", ())]) == [[(0,)]]


def test_a_missing_database_is_a_503_in_both_apis_and_in_health(database):
    with server(database) as (_, http_client):
        http_client.post("/users", json={"first_name": "Ada", "age": 36})
        database.rename(f"{database}.away")
        time.sleep(0.15)

        for response in (http_client.get("/users"), http_client.post("/users", json={"first_name": "Ada", "age": 36})):
            check_unavailable(response)
        response = http_client.post("/graphql", json={"query": "{ users { nodes { id } } }"})
        assert response.json()["errors"][0]["extensions"]["code"] == "DB_UNAVAILABLE"
        wait_until(lambda: not is_healthy(http_client), 5)
        assert http_client.get("/health/live").status_code == 200

        Path(f"{database}.away").rename(database)
        time.sleep(0.15)
        wait_until(lambda: is_healthy(http_client), 5)
        assert len(http_client.get("/users").json()["items"]) == 1


# The disk


def pragma(text: str) -> Any:
    def transaction() -> Any:
        yield f"PRAGMA {text}", ()
        return TransactionResult(None)

    return transaction


async def test_a_full_database_refuses_writes(directory, database):
    """`max_page_count` makes SQLite fail as on a full disk."""
    await directory.write(pragma(f"max_page_count={value_of(database, 'PRAGMA page_count')}"))
    filled = 0
    refused: list[Any] = []
    while not refused:
        outcomes = await asyncio.gather(
            *(make(directory, last_name="x" * 100) for _ in range(20)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        filled += 20 - len(refused)

    assert {(type(error), error.detail) for error in refused} == {(DatabaseUnavailable, DISK_FAILURE)}
    with pytest.raises(DatabaseUnavailable):
        await directory.driver.check()
    assert await directory.read([("SELECT count(*) FROM user", ())]) == [[(filled,)]]
    await directory.write(pragma("max_page_count=1000000"))
    await make(directory)
    await directory.driver.check()  # A later success outweighs the failure.
    assert value_of(database, "PRAGMA integrity_check") == "ok"


LIMITED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
from api.__main__ import app
app(prog_name="python -m api")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_file_that_cannot_grow_loses_no_acknowledged_write(database, tmp_path):
    """The operating system limits the size of files, so writing fails where SQLite does not expect it."""
    limit = max(database.stat().st_size, 300_000) + 100_000
    script = tmp_path / "limited.py"
    script.write_text(LIMITED.format(limit=limit))
    acknowledged = []

    with server(database, sys.executable, str(script)) as (process, http_client):
        for number in range(2000):
            response = http_client.post("/users", json={"first_name": f"P{number}", "last_name": "x" * 100, "age": 1})
            if response.status_code != 201:
                break
            acknowledged.append(response.json()["id"])
        check_unavailable(response)
        assert http_client.get("/users").status_code == 200
        wait_until(lambda: goes_unready(http_client), 5)
        resource = pytest.importorskip("resource")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: is_healthy(http_client), 5)
        created = http_client.post("/users", json={"first_name": "Last", "age": 1})
        assert created.status_code == 201

    with closing(sqlite3.connect(database)) as connection:
        ids = {id for (id,) in connection.execute("SELECT id FROM user")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert ids >= {*acknowledged, created.json()["id"]}


# The write-ahead log


@pytest.fixture
def small_log(monkeypatch):
    """A write-ahead log with a low limit, so that tests need not write gigabytes."""
    smaller = {"wal_autocheckpoint": 50, "journal_size_limit": 400_000}
    pragmas = [
        f"{name}={smaller.get(name, value)}" for name, value in (pragma.split("=") for pragma in connection.PRAGMAS)
    ]
    monkeypatch.setattr(connection, "PRAGMAS", tuple(pragmas))
    monkeypatch.setattr(writer, "WAL_LIMIT", 400_000)
    monkeypatch.setattr(writer, "CHECKPOINT_INTERVAL", 0.0)


async def test_after_a_long_read_the_log_is_truncated(small_log, database):
    async with Directory(str(database)) as directory:
        with closing(sqlite3.connect(database, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM user").fetchall()
            for _ in range(30):
                await asyncio.gather(*(make(directory, last_name="x" * 100) for _ in range(20)))
            grown = wal_size(str(database))
        await make(directory)

        assert grown > 500_000
        assert wal_size(str(database)) <= 400_000


async def test_overlapping_reads_do_not_let_the_log_grow(small_log, database):
    """At every moment a short read is running."""
    finished, sizes = threading.Event(), []

    def read(delay: float) -> None:
        time.sleep(delay)
        with closing(sqlite3.connect(database, isolation_level=None)) as reader:
            while not finished.is_set():
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM user").fetchall()
                time.sleep(0.006)
                reader.execute("ROLLBACK")

    threads = [threading.Thread(target=read, args=(number / 1000,)) for number in (0, 2, 4)]
    async with Directory(str(database)) as directory:
        for thread in threads:
            thread.start()
        for _ in range(60):
            await asyncio.gather(*(make(directory, last_name="x" * 100) for _ in range(10)))
            sizes.append(wal_size(str(database)))
        finished.set()
        for thread in threads:
            thread.join()

    assert max(sizes) < 1_200_000
