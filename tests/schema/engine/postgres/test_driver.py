"""A PostgreSQL that fails, stops or is slow causes 503 responses only, and none once it is back."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from schema.engine.changes import TransactionResult
from schema.engine.database_url import display_name, postgres_address
from schema.engine.errors import (
    Conflict,
    DatabaseMisconfigured,
    DatabaseUnavailable,
    NotFound,
    Timeout,
    VersionMismatch,
)
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create, find, get, update
from schema.engine.postgres import driver
from schema.engine.postgres.driver import OUTCOME_UNKNOWN
from schema.engine.postgres.session import connect
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from schema.engine.sql.record_lookup import RecordResult
from schema.migrations.commands import migrate
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, EDITOR, USER

pytestmark = pytest.mark.postgres
SHORT = Selection((("age", Scalar("age")), ("version", Scalar("version"))))
LIST = ListSelection((("items", Items(SHORT)),), Page("size"))
UNKNOWN_ID = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"


@pytest.fixture
def url(migrated):
    """An empty database."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    return migrated


@pytest.fixture
async def traced_directory(url):
    statements: list[str] = []
    async with Directory(url, deadline=5, on_statement=statements.append) as directory:
        statements.clear()
        yield directory, statements


async def make(unit_of_work, **fields):
    return (await create(unit_of_work, USER, {"first_name": "P", "age": 1, **fields}, SHORT))[0]


async def end_sessions(url):
    """End all sessions of Tandem with this database."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'tandem' AND datname = current_database()"
    )
    await connection.close()


def first_words(statements):
    return [sql.split()[0] for sql in statements]


async def test_a_session_has_timeouts_and_a_name(url):
    connection = await connect(postgres_address(url), 7.0)
    try:
        shown = [await connection.fetchval(f"SHOW {name}") for name in (
            "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "application_name",
        )]  # fmt: skip
    finally:
        await connection.close()

    assert shown == ["7s", "1400ms", "12s", "tandem"]


async def test_records_read_at_the_same_moment_are_one_statement(traced_directory):
    directory, statements = traced_directory
    unit_of_work = directory.unit_of_work(ADMIN)
    ids = [await make(unit_of_work, age=age) for age in range(10)]
    for _ in range(20):  # until it is known to be short, however busy the machine is
        await get(unit_of_work, USER, ids[0], SHORT)
    statements.clear()

    results = await asyncio.gather(
        *(get(unit_of_work, USER, id, SHORT) for id in [*ids, UNKNOWN_ID, *ids]), return_exceptions=True
    )

    assert first_words(statements) == ["SELECT"]
    ages = list(range(10))
    assert [result.json for result in results if isinstance(result, RecordResult)] == [
        b'{"age":%d,"version":1}' % age for age in ages * 2
    ]
    assert isinstance(results[10], NotFound)


async def test_records_created_at_the_same_moment_are_one_transaction(traced_directory):
    directory, statements = traced_directory
    unit_of_work = directory.unit_of_work(ADMIN)

    ids = await asyncio.gather(*(make(unit_of_work, age=age) for age in range(20)))

    assert len(set(ids)) == 20
    assert first_words(statements) == ["WITH"]


async def test_a_creation_that_fails_in_a_batch_fails_alone(traced_directory):
    unit_of_work = traced_directory[0].unit_of_work(ADMIN)

    results = await asyncio.gather(
        *(make(unit_of_work, email=f"{n % 7}@example.com") for n in range(10)), return_exceptions=True
    )

    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 3 + ["str"] * 7
    conflict = next(result for result in results if isinstance(result, Conflict))
    assert conflict.field_errors[0].path == ("email",)
    assert len({id for id in results if isinstance(id, str)}) == 7


async def test_several_statements_of_one_read_see_one_snapshot(traced_directory):
    directory, statements = traced_directory
    count = ('SELECT count(*) FROM "user"', ())
    slow = ("SELECT pg_sleep(0.3)", ())

    reading = asyncio.create_task(directory.read([count, slow, count]))
    await asyncio.sleep(0.1)
    await make(directory.unit_of_work(ADMIN))
    first, _, last = await reading

    assert [tuple(row) for row in first] == [tuple(row) for row in last] == [(0,)]
    assert statements[0].startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


async def test_concurrent_updates_with_expected_versions_are_never_lost(traced_directory):
    unit_of_work = traced_directory[0].unit_of_work(ADMIN)
    id = await make(unit_of_work, age=0)

    async def count_one():
        while True:
            record = await get(unit_of_work, USER, id, SHORT)
            try:
                changes = {"last_name": f"{record.version + 1}"}
                await update(unit_of_work, USER, id, changes, SHORT, versions=frozenset({record.version}))
            except VersionMismatch:
                continue
            return

    await asyncio.gather(*(count_one() for _ in range(40)))

    assert (await get(unit_of_work, USER, id, SHORT)).version == 41


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_a_transaction_is_retried_after_a_conflict(traced_directory, code):
    directory, statements = traced_directory
    attempts = []

    def transaction():
        attempts.append(1)
        if len(attempts) < 4:
            yield f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$", ()
        yield "SELECT 1", ()
        return TransactionResult("done")

    assert (await directory.write(transaction)).result == "done"
    assert first_words(statements).count("BEGIN") == 4
    assert first_words(statements).count("COMMIT") == 1


async def test_a_lock_that_another_session_keeps_is_a_503(url):
    async with Directory(url, deadline=1) as directory:
        unit_of_work = directory.unit_of_work(ADMIN)
        id = await make(unit_of_work)
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute('SELECT 1 FROM "user" FOR UPDATE')

            with pytest.raises(DatabaseUnavailable):
                await update(unit_of_work, USER, id, {"age": 2}, SHORT)
        await connection.close()

        assert (await update(unit_of_work, USER, id, {"age": 3}, SHORT)).version == 2


async def test_a_read_past_its_deadline_is_cancelled_and_the_connection_reused(url):
    async with Directory(url, deadline=0.3, pool=1) as directory:
        started = time.monotonic()

        with pytest.raises(Timeout):
            await directory.read([("SELECT pg_sleep(30)", ())])

        assert time.monotonic() - started < 15
        assert [tuple(row) for row in (await directory.read([("SELECT 1", ())]))[0]] == [(1,)]


async def test_a_cancelled_read_returns_its_connection(url):
    async with Directory(url, deadline=20, pool=1) as directory:
        cancelled = asyncio.create_task(directory.read([("SELECT pg_sleep(30)", ())]))
        await asyncio.sleep(0.1)

        cancelled.cancel()
        await asyncio.wait_for(directory.read([("SELECT 1", ())]), 15)

        assert cancelled.cancelled()


async def test_a_lost_connection_is_replaced(traced_directory, url):
    directory, _ = traced_directory
    unit_of_work = directory.unit_of_work(ADMIN)
    id = await make(unit_of_work)
    await end_sessions(url)

    assert (await get(unit_of_work, USER, id, SHORT)).version == 1
    await end_sessions(url)
    assert (await find(unit_of_work, USER, LIST, {"size": 5})).json == b'{"items":[{"age":1,"version":1}]}'
    await end_sessions(url)
    assert (await update(unit_of_work, USER, id, {"age": 2}, SHORT)).version == 2


async def test_a_read_runs_again_when_its_connection_is_lost(traced_directory, url):
    directory, statements = traced_directory
    reading = asyncio.create_task(directory.read([("SELECT pg_sleep(2)", ())]))
    await asyncio.sleep(0.2)

    await end_sessions(url)

    assert len((await reading)[0]) == 1
    assert len(statements) == 2


async def test_a_connection_lost_during_a_commit_leaves_the_outcome_unknown(traced_directory, monkeypatch):
    unit_of_work = traced_directory[0].unit_of_work(ADMIN)
    id = await make(unit_of_work)
    execute = asyncpg.Connection.execute

    async def lose_at_commit(connection, sql, *args, **options):
        if sql == "COMMIT":
            connection.terminate()
        return await execute(connection, sql, *args, **options)

    monkeypatch.setattr(asyncpg.Connection, "execute", lose_at_commit)

    with pytest.raises(DatabaseUnavailable, match=OUTCOME_UNKNOWN):
        await update(unit_of_work, USER, id, {"age": 2}, SHORT)


@pytest.mark.parametrize("server_reports", [True, False])
async def test_a_creation_is_retried_only_if_the_server_reports_that_it_ended_the_session(
    url, monkeypatch, server_reports
):
    opened = []

    async def recorded(*args):
        opened.append(await connect(*args))
        return opened[-1]

    monkeypatch.setattr(driver, "connect", recorded)
    async with Directory(url, deadline=5) as directory:
        unit_of_work = directory.unit_of_work(ADMIN)
        await make(unit_of_work)
        connection = await asyncpg.connect(url)
        lock = connection.transaction()
        await lock.start()
        await connection.execute('LOCK TABLE "user" IN SHARE MODE')
        tasks = [asyncio.create_task(make(unit_of_work)) for _ in range(3)]
        await asyncio.sleep(0.2)

        if server_reports:
            await end_sessions(url)
        else:
            [connection.terminate() for connection in opened]
        await asyncio.sleep(0.2)
        await lock.rollback()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        rows = await connection.fetchval('SELECT count(*) FROM "user"')
        await connection.close()

    if server_reports:
        assert (len({str(outcome) for outcome in outcomes}), rows) == (3, 4)
    else:
        assert [str(outcome) for outcome in outcomes] == [OUTCOME_UNKNOWN] * 3


async def test_a_write_that_lost_its_connection_before_the_commit_runs_again(traced_directory, url):
    directory, _ = traced_directory
    killed: list[int] = []

    def transaction():
        yield 'INSERT INTO "group" (id, created_at, updated_at, version, name, active, name_key)' \
            " VALUES ('1', '', '', 1, 'a', true, 'a')", ()  # fmt: skip
        if not killed:
            killed.append(1)
            yield "SELECT pg_terminate_backend(pg_backend_pid())", ()
        return TransactionResult("done")

    assert (await directory.write(transaction)).result == "done"
    assert [tuple(row) for row in (await directory.read([('SELECT count(*) FROM "group"', ())]))[0]] == [(1,)]


async def test_the_text_of_a_database_error_is_not_exposed(traced_directory):
    with pytest.raises(DatabaseUnavailable, match=r"^the database is not available$"):
        await traced_directory[0].read([("SELECT * FROM no_such_table", ())])


async def test_requests_succeed_again_when_the_database_is_back():
    """It is down at the start, up, down again while the directory is open, and up once more."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        cluster = postgres.Cluster(Path(folder), fsync="on", synchronous_commit="on", full_page_writes="on")
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(migrate, cluster.url)
        await asyncio.to_thread(cluster.stop)
        async with Directory(cluster.url, deadline=5) as directory:
            unit_of_work = directory.unit_of_work(ADMIN)
            with pytest.raises(DatabaseUnavailable):
                await find(unit_of_work, USER, LIST, {"size": 5})
            await asyncio.to_thread(cluster.start)
            id = await make(unit_of_work)

            await asyncio.to_thread(cluster.stop, "immediate")
            for request in (
                find(unit_of_work, USER, LIST, {"size": 5}),
                get(unit_of_work, USER, id, SHORT),
                make(unit_of_work),
            ):
                with pytest.raises(DatabaseUnavailable):
                    await asyncio.wait_for(request, 6)
            await asyncio.to_thread(cluster.start)

            assert (await get(unit_of_work, USER, id, SHORT)).version == 1
        await asyncio.to_thread(cluster.stop)


async def test_a_database_that_does_not_exist_fails_the_start(url):
    with pytest.raises(DatabaseMisconfigured, match="does not exist"):
        await Directory(postgres.database_url(url, "nowhere")).open()


async def test_the_pool_size_limits_the_connections(url):
    async with Directory(url, deadline=10, pool=3) as directory:
        count = "SELECT pg_sleep(0.05), (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tandem')"
        rows = await asyncio.gather(*(directory.read([(count, ())]) for _ in range(20)))

    assert max(row[0][0][1] for row in rows) <= 3


async def test_an_actor_who_has_written_reads_from_the_primary_and_others_from_the_replica(url, postgres_server):
    """An empty database takes the place of a replica that is far behind."""
    postgres.run(postgres_server, "DROP DATABASE IF EXISTS behind")
    postgres.run(postgres_server, "CREATE DATABASE behind")
    behind = postgres.database_url(url, "behind")
    await asyncio.to_thread(migrate, behind)
    async with Directory(url, replica=behind) as directory:
        id = await make(directory.unit_of_work(ADMIN))

        assert (await get(directory.unit_of_work(ADMIN), USER, id, SHORT)).version == 1
        with pytest.raises(NotFound):
            await get(directory.unit_of_work(EDITOR), USER, id, SHORT)


async def test_behind_pgbouncer_reads_return_the_same(url):
    async with Directory(f"{url}&pgbouncer=true") as directory:
        unit_of_work = directory.unit_of_work(ADMIN)
        id = await make(unit_of_work)

        results = await asyncio.gather(*(get(unit_of_work, USER, id, SHORT) for _ in range(5)))

        assert {result.json for result in results} == {b'{"age":1,"version":1}'}


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="signals need a server of our own")
async def test_behind_pgbouncer_a_read_cancelled_before_it_begins_returns_its_connection(url):
    """The backend is stopped for a while, so that BEGIN takes long."""
    async with Directory(f"{url}&pgbouncer=true", pool=1) as directory:
        ((pid,),) = (await directory.read([("SELECT pg_backend_pid()", ())]))[0]
        os.kill(pid, signal.SIGSTOP)
        cancelled = asyncio.create_task(directory.read([("SELECT 1", ())]))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGCONT)

        for number in range(3):
            assert [tuple(row) for row in (await directory.read([(f"SELECT {number}", ())]))[0]] == [(number,)]


async def test_an_undeclared_pooler_fails_the_start(url, monkeypatch):
    """Behind a pooler, the backend has another process id than the one that it reported at the start."""
    monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda connection: 1)

    with pytest.raises(DatabaseMisconfigured, match="leads to a connection pooler: add pgbouncer=true"):
        await Directory(url).open()
    for declared in ("true", "false"):
        async with Directory(f"{url}&pgbouncer={declared}") as directory:
            await directory.driver.check()


async def test_behind_pgbouncer_a_failed_read_leaves_the_connection_usable(url):
    async with Directory(f"{url}&pgbouncer=true", pool=1) as directory:
        with pytest.raises(DatabaseUnavailable):
            await directory.read([("SELECT * FROM no_such_table", ())])

        assert [tuple(row) for row in (await directory.read([("SELECT 2", ())]))[0]] == [(2,)]


@pytest.mark.parametrize(
    "text, url, pooled",
    [
        ("postgres://a:b@h/d", "postgresql://a:b@h/d", False),
        ("postgresql://h/d", "postgresql://h/d", False),
        ("postgresql+asyncpg://h:5433/d?sslmode=require", "postgresql://h:5433/d?sslmode=require", False),
        ("postgres://h/d?pgbouncer=true&sslmode=verify-full", "postgresql://h/d?sslmode=verify-full", True),
        ("postgresql:///d?host=/run/pg", "postgresql:///d?host=%2Frun%2Fpg", False),
    ],
)
def test_a_url_is_accepted_as_hosts_spell_it(text, url, pooled):
    assert (postgres_address(text).url, postgres_address(text).pooled) == (url, pooled)


@pytest.mark.parametrize("text", ["postgres://", "postgres://h", "postgresql:///d", "mysql://h/d", "postgres://h:x/d"])
def test_an_invalid_url_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        postgres_address(text)


def test_the_display_name_has_no_password():
    assert display_name("postgres://ada:secret@h/d?password=secret") == "postgresql://h/d"
