"""A PostgreSQL that errs, stops, or is late makes no difference but a 503, and none at all once it is back."""

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
async def watched(url):
    said: list[str] = []
    async with Directory(url, deadline=5, on_statement=said.append) as directory:
        said.clear()
        yield directory, said


async def make(unit_of_work, **fields):
    return (await create(unit_of_work, USER, {"first_name": "P", "age": 1, **fields}, SHORT))[0]


async def kill(url, pid=None):
    """End all sessions of the service's with this database."""
    other = await asyncpg.connect(url)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'tandem' AND datname = current_database()"
    )
    await other.close()


def words(said):
    return [sql.split()[0] for sql in said]


async def test_a_session_has_its_limits_and_its_name(url):
    connection = await connect(postgres_address(url), 7.0)
    try:
        shown = [await connection.fetchval(f"SHOW {name}") for name in (
            "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "application_name",
        )]  # fmt: skip
    finally:
        await connection.close()

    assert shown == ["7s", "1400ms", "12s", "tandem"]


async def test_records_looked_up_at_the_same_moment_are_one_statement(watched):
    directory, said = watched
    unit_of_work = directory.unit_of_work(ADMIN)
    ids = [await make(unit_of_work, age=age) for age in range(10)]
    for _ in range(20):  # after which it is known to be short, however busy the machine is
        await get(unit_of_work, USER, ids[0], SHORT)
    said.clear()

    found = await asyncio.gather(
        *(get(unit_of_work, USER, id, SHORT) for id in [*ids, UNKNOWN_ID, *ids]), return_exceptions=True
    )

    assert words(said) == ["SELECT"]
    ages = list(range(10))
    assert [it.json for it in found if isinstance(it, RecordResult)] == [
        b'{"age":%d,"version":1}' % age for age in ages * 2
    ]
    assert isinstance(found[10], NotFound)


async def test_new_records_made_at_the_same_moment_are_one_transaction(watched):
    directory, said = watched
    unit_of_work = directory.unit_of_work(ADMIN)

    ids = await asyncio.gather(*(make(unit_of_work, age=age) for age in range(20)))

    assert len(set(ids)) == 20
    assert words(said) == ["WITH"]


async def test_of_new_records_one_that_fails_fails_alone(watched):
    unit_of_work = watched[0].unit_of_work(ADMIN)

    made = await asyncio.gather(
        *(make(unit_of_work, email=f"{n % 7}@example.com") for n in range(10)), return_exceptions=True
    )

    assert sorted(type(it).__name__ for it in made) == ["Conflict"] * 3 + ["str"] * 7
    assert next(it for it in made if isinstance(it, Conflict)).field_errors[0].path == ("email",)
    assert len({id for id in made if isinstance(id, str)}) == 7


async def test_several_statements_of_one_read_see_one_moment(watched):
    directory, said = watched
    before = ('SELECT count(*) FROM "user"', ())
    slow = ("SELECT pg_sleep(0.3)", ())

    under_way = asyncio.create_task(directory.read([before, slow, before]))
    await asyncio.sleep(0.1)
    await make(directory.unit_of_work(ADMIN))
    first, _, last = await under_way

    assert [tuple(row) for row in first] == [tuple(row) for row in last] == [(0,)]
    assert said[0].startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


async def test_of_many_who_read_change_and_write_none_is_lost(watched):
    unit_of_work = watched[0].unit_of_work(ADMIN)
    id = await make(unit_of_work, age=0)

    async def count_one():
        while True:
            found = await get(unit_of_work, USER, id, SHORT)
            try:
                more = {"last_name": f"{found.version + 1}"}
                await update(unit_of_work, USER, id, more, SHORT, versions=frozenset({found.version}))
            except VersionMismatch:
                continue
            return

    await asyncio.gather(*(count_one() for _ in range(40)))

    assert (await get(unit_of_work, USER, id, SHORT)).version == 41


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_a_transaction_is_tried_again_where_that_helps(watched, code):
    directory, said = watched
    tries = []

    def job():
        tries.append(1)
        if len(tries) < 4:
            yield f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$", ()
        yield "SELECT 1", ()
        return TransactionResult("done")

    assert (await directory.write(job)).result == "done"
    assert words(said).count("BEGIN") == 4
    assert words(said).count("COMMIT") == 1


async def test_a_lock_that_does_not_come_free_is_a_503(url):
    async with Directory(url, deadline=1) as directory:
        unit_of_work = directory.unit_of_work(ADMIN)
        id = await make(unit_of_work)
        other = await asyncpg.connect(url)
        async with other.transaction():
            await other.execute('SELECT 1 FROM "user" FOR UPDATE')

            with pytest.raises(DatabaseUnavailable):
                await update(unit_of_work, USER, id, {"age": 2}, SHORT)
        await other.close()

        assert (await update(unit_of_work, USER, id, {"age": 3}, SHORT)).version == 2


async def test_what_takes_too_long_is_broken_off_and_harms_nobody(url):
    async with Directory(url, deadline=0.3, pool=1) as directory:
        started = time.monotonic()

        with pytest.raises(Timeout):
            await directory.read([("SELECT pg_sleep(30)", ())])

        assert time.monotonic() - started < 15
        assert [tuple(row) for row in (await directory.read([("SELECT 1", ())]))[0]] == [(1,)]


async def test_who_goes_away_while_reading_gives_the_connection_back(url):
    async with Directory(url, deadline=20, pool=1) as directory:
        gone = asyncio.create_task(directory.read([("SELECT pg_sleep(30)", ())]))
        await asyncio.sleep(0.1)

        gone.cancel()
        await asyncio.wait_for(directory.read([("SELECT 1", ())]), 15)

        assert gone.cancelled()


async def test_a_read_survives_the_loss_of_its_connection(watched, url):
    directory, _ = watched
    unit_of_work = directory.unit_of_work(ADMIN)
    id = await make(unit_of_work)
    await kill(url)

    assert (await get(unit_of_work, USER, id, SHORT)).version == 1
    await kill(url)
    assert (await find(unit_of_work, USER, LIST, {"size": 5})).json == b'{"items":[{"age":1,"version":1}]}'
    await kill(url)
    assert (await update(unit_of_work, USER, id, {"age": 2}, SHORT)).version == 2


async def test_a_read_is_repeated_once_when_its_connection_is_lost_in_the_midst(watched, url):
    directory, said = watched
    under_way = asyncio.create_task(directory.read([("SELECT pg_sleep(2)", ())]))
    await asyncio.sleep(0.2)

    await kill(url)

    assert len((await under_way)[0]) == 1
    assert len(said) == 2


async def test_a_connection_lost_during_a_commit_leaves_the_outcome_unknown(watched, monkeypatch):
    unit_of_work = watched[0].unit_of_work(ADMIN)
    id = await make(unit_of_work)
    execute = asyncpg.Connection.execute

    async def lose_at_commit(connection, sql, *args, **options):
        if sql == "COMMIT":
            connection.terminate()
        return await execute(connection, sql, *args, **options)

    monkeypatch.setattr(asyncpg.Connection, "execute", lose_at_commit)

    with pytest.raises(DatabaseUnavailable, match=OUTCOME_UNKNOWN):
        await update(unit_of_work, USER, id, {"age": 2}, SHORT)


@pytest.mark.parametrize("told", [True, False])
async def test_a_creation_is_begun_anew_only_where_the_database_said_that_it_was_not_done(url, monkeypatch, told):
    opened = []

    async def noted(*given):
        opened.append(await connect(*given))
        return opened[-1]

    monkeypatch.setattr(driver, "connect", noted)
    async with Directory(url, deadline=5) as directory:
        unit_of_work = directory.unit_of_work(ADMIN)
        await make(unit_of_work)
        other = await asyncpg.connect(url)
        held = other.transaction()
        await held.start()
        await other.execute('LOCK TABLE "user" IN SHARE MODE')
        under_way = [asyncio.create_task(make(unit_of_work)) for _ in range(3)]
        await asyncio.sleep(0.2)

        if told:
            await kill(url)
        else:
            [connection.terminate() for connection in opened]
        await asyncio.sleep(0.2)
        await held.rollback()
        outcomes = await asyncio.gather(*under_way, return_exceptions=True)
        rows = await other.fetchval('SELECT count(*) FROM "user"')
        await other.close()

    if told:
        assert (len({str(it) for it in outcomes}), rows) == (3, 4)
    else:
        assert [str(it) for it in outcomes] == [OUTCOME_UNKNOWN] * 3


async def test_a_write_that_lost_its_connection_before_the_commit_is_done_once(watched, url):
    directory, _ = watched
    killed: list[int] = []

    def job():
        yield 'INSERT INTO "group" (id, created_at, updated_at, version, name, active, name_key)' \
            " VALUES ('1', '', '', 1, 'a', true, 'a')", ()  # fmt: skip
        if not killed:
            killed.append(1)
            yield "SELECT pg_terminate_backend(pg_backend_pid())", ()
        return TransactionResult("done")

    assert (await directory.write(job)).result == "done"
    assert [tuple(row) for row in (await directory.read([('SELECT count(*) FROM "group"', ())]))[0]] == [(1,)]


async def test_what_the_driver_says_is_never_repeated(watched):
    with pytest.raises(DatabaseUnavailable, match=r"^the database is not available$"):
        await watched[0].read([("SELECT * FROM no_such_table", ())])


async def test_the_service_comes_back_with_the_database():
    """Down at the start, up, down again under way, and up once more."""
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
            for doing in (
                find(unit_of_work, USER, LIST, {"size": 5}),
                get(unit_of_work, USER, id, SHORT),
                make(unit_of_work),
            ):
                with pytest.raises(DatabaseUnavailable):
                    await asyncio.wait_for(doing, 6)
            await asyncio.to_thread(cluster.start)

            assert (await get(unit_of_work, USER, id, SHORT)).version == 1
        await asyncio.to_thread(cluster.stop)


async def test_a_database_that_is_not_there_is_told_at_the_start(url):
    with pytest.raises(DatabaseMisconfigured, match="does not exist"):
        await Directory(postgres.named(url, "nowhere")).open()


async def test_no_more_connections_than_there_may_be(url):
    async with Directory(url, deadline=10, pool=3) as directory:
        counting = "SELECT pg_sleep(0.05), (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tandem')"
        rows = await asyncio.gather(*(directory.read([(counting, ())]) for _ in range(20)))

    assert max(row[0][0][1] for row in rows) <= 3


async def test_who_has_written_reads_where_it_was_written_and_others_from_the_replica(url, postgres_server):
    """The other database stands for a replica that is far behind."""
    postgres.run(postgres_server, "DROP DATABASE IF EXISTS behind")
    postgres.run(postgres_server, "CREATE DATABASE behind")
    behind = postgres.named(url, "behind")
    await asyncio.to_thread(migrate, behind)
    async with Directory(url, replica=behind) as directory:
        id = await make(directory.unit_of_work(ADMIN))

        assert (await get(directory.unit_of_work(ADMIN), USER, id, SHORT)).version == 1
        with pytest.raises(NotFound):
            await get(directory.unit_of_work(EDITOR), USER, id, SHORT)


async def test_without_prepared_statements_the_answers_are_the_same(url):
    async with Directory(f"{url}&pgbouncer=true") as directory:
        unit_of_work = directory.unit_of_work(ADMIN)
        id = await make(unit_of_work)

        found = await asyncio.gather(*(get(unit_of_work, USER, id, SHORT) for _ in range(5)))

        assert {it.json for it in found} == {b'{"age":1,"version":1}'}


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="its processes are none of ours")
async def test_behind_a_pooler_too_who_goes_away_before_a_read_begins_gives_the_connection_back(url):
    """Whoever serves the connection is stopped for a while, so that BEGIN takes its time."""
    async with Directory(f"{url}&pgbouncer=true", pool=1) as directory:
        ((pid,),) = (await directory.read([("SELECT pg_backend_pid()", ())]))[0]
        os.kill(pid, signal.SIGSTOP)
        gone = asyncio.create_task(directory.read([("SELECT 1", ())]))
        await asyncio.sleep(0.1)
        gone.cancel()
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGCONT)

        for number in range(3):
            assert [tuple(row) for row in (await directory.read([(f"SELECT {number}", ())]))[0]] == [(number,)]


async def test_a_pooler_that_nobody_mentioned_is_told_at_the_start(url, monkeypatch):
    """Behind one, who says to serve the connection is another than who serves it."""
    monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda connection: 1)

    with pytest.raises(DatabaseMisconfigured, match="leads to a connection pooler: add pgbouncer=true"):
        await Directory(url).open()
    for declared in ("true", "false"):
        async with Directory(f"{url}&pgbouncer={declared}") as directory:
            await directory.check()


async def test_behind_a_pooler_too_a_look_up_that_fails_fails_alone(url):
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
def test_a_url_is_taken_as_hosts_spell_it(text, url, pooled):
    assert (postgres_address(text).url, postgres_address(text).pooled) == (url, pooled)


@pytest.mark.parametrize("text", ["postgres://", "postgres://h", "postgresql:///d", "mysql://h/d", "postgres://h:x/d"])
def test_what_is_no_url_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        postgres_address(text)


def test_nobody_reads_the_password():
    assert display_name("postgres://ada:secret@h/d?password=secret") == "postgresql://h/d"
