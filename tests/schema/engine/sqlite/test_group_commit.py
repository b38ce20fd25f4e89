"""Group commit on SQLite: waiting writes share a commit, and one that fails or is cancelled leaves the others."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from schema.engine.changes import Change, TransactionResult
from schema.engine.errors import Conflict, DatabaseUnavailable, Timeout, VersionMismatch
from schema.engine.operations.directory import Directory
from schema.engine.operations.idempotency import IdempotencyKey
from schema.engine.operations.records import create, delete, get, update
from schema.engine.query.selection import Scalar, Selection
from schema.engine.sql.record_lookup import RecordResult
from schema.engine.sqlite import writer
from tests.fixtures.clients import ADMIN, USER

pytestmark = pytest.mark.sqlite

SHORT = Selection((("age", Scalar("age")), ("version", Scalar("version"))))


@pytest.fixture
def unit_of_work(directory):
    return directory.unit_of_work(ADMIN)


async def make(unit_of_work, **fields):
    """Create a user, and return its id."""
    return (await create(unit_of_work, USER, {"first_name": "P", "age": 1, **fields}, SHORT))[0]


async def rows_of(directory, sql="SELECT count(*) FROM user"):
    ((rows,),) = [await directory.read([(sql, ())])]
    return rows


async def test_a_write_that_fails_in_a_group_fails_alone(directory, unit_of_work):
    outcomes = await asyncio.gather(
        *(make(unit_of_work, email=f"{number % 7}@example.com") for number in range(10)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [str] * 7 + [Conflict] * 3
    assert await rows_of(directory) == [(7,)]


async def test_a_write_that_fails_half_way_is_rolled_back(directory, unit_of_work):
    """Its queries share a savepoint: the effect of the first is undone when the second fails."""
    id = await make(unit_of_work)

    def transaction():
        yield "UPDATE user SET age = 99 WHERE id = ?", (id,)
        yield "UPDATE user SET age = 151 WHERE id = ?", (id,)
        return TransactionResult(None, (Change("User", id, "updated"),))

    outcomes = await asyncio.gather(directory.write(transaction), make(unit_of_work), return_exceptions=True)

    assert isinstance(outcomes[0], sqlite3.IntegrityError)
    assert isinstance(outcomes[1], str)
    assert await rows_of(directory, f"SELECT age FROM user WHERE id = '{id}'") == [(1,)]


async def test_a_write_gets_the_number_of_rows_that_it_changed(directory, unit_of_work):
    await asyncio.gather(make(unit_of_work), make(unit_of_work), make(unit_of_work, age=2))

    def transaction():
        changed = yield "UPDATE user SET age = 3 WHERE age = 1", ()
        none = yield "DELETE FROM user WHERE age = 1", ()
        return TransactionResult((changed, none))

    assert (await directory.write(transaction)).result == ([(), ()], [])


async def test_a_python_error_in_a_write_fails_alone(directory, unit_of_work):
    def transaction():
        yield "SELECT 1", ()
        raise KeyError("a mistake")

    outcomes = await asyncio.gather(
        make(unit_of_work), directory.write(transaction), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [str, KeyError, str]
    assert await rows_of(directory) == [(2,)]


async def test_a_write_whose_error_ends_the_transaction_fails_alone(directory, unit_of_work):
    changes: list[Change] = []
    directory.changes.listeners.append(changes.append)

    def transaction():
        yield "UPDATE user SET age = 99", ()
        yield "ROLLBACK", ()
        yield "SELECT * FROM no_such_table", ()

    outcomes = await asyncio.gather(
        make(unit_of_work), directory.write(transaction), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [str, DatabaseUnavailable, str]
    assert await rows_of(directory) == [(2,)]
    assert sorted(change.id for change in changes) == sorted(id for id in outcomes if isinstance(id, str))


async def test_two_writes_that_end_the_transaction_fail_alone(directory, unit_of_work):
    def transaction():
        yield "ROLLBACK", ()
        yield "SELECT * FROM no_such_table", ()

    outcomes = await asyncio.gather(
        directory.write(transaction),
        make(unit_of_work),
        directory.write(transaction),
        make(unit_of_work),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, str, DatabaseUnavailable, str]
    assert await rows_of(directory) == [(2,)]


async def test_a_failed_commit_fails_every_write_of_the_group(directory, unit_of_work):
    changes: list[Change] = []
    directory.changes.listeners.append(changes.append)

    def transaction():
        yield "PRAGMA defer_foreign_keys=ON", ()
        yield "INSERT INTO membership VALUES ('no group', 'nobody', 'member', '2026-01-01T00:00:00.000000Z')", ()
        return TransactionResult(None)

    outcomes = await asyncio.gather(
        make(unit_of_work), directory.write(transaction), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [Conflict] * 3
    assert await rows_of(directory) == [(0,)]
    assert changes == []
    assert isinstance(await make(unit_of_work), str)


async def test_a_write_sees_the_earlier_writes_of_its_group(unit_of_work):
    id = await make(unit_of_work)

    first, second, stale, third = await asyncio.gather(
        update(unit_of_work, USER, id, {"age": 2}, SHORT, versions=frozenset({1})),
        update(unit_of_work, USER, id, {"age": 3}, SHORT, versions=frozenset({2})),
        delete(unit_of_work, USER, id, versions=frozenset({2})),
        update(unit_of_work, USER, id, {"age": 4}, SHORT, versions=frozenset({3})),
        return_exceptions=True,
    )

    assert [record.version for record in (first, second, third) if isinstance(record, RecordResult)] == [2, 3, 4]
    assert isinstance(stale, VersionMismatch)


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_writes_leave_the_others_and_no_lock(directory, unit_of_work, turns):
    """Cancelled before, during or after its batch, a write is committed as a whole or not at all."""
    changes: list[Change] = []
    directory.changes.listeners.append(changes.append)
    tasks = [asyncio.create_task(make(unit_of_work, age=number)) for number in range(20)]
    for _ in range(turns):
        await asyncio.sleep(0)

    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    later = await asyncio.wait_for(make(unit_of_work, age=99), 5)

    stored = {id for (id,) in await rows_of(directory, "SELECT id FROM user")}
    assert all(isinstance(outcome, str) for outcome in outcomes[1::2])
    assert {*(outcome for outcome in outcomes if isinstance(outcome, str)), later} <= stored
    assert {change.id for change in changes} == stored
    assert len(changes) == len(stored)


async def test_a_running_write_whose_caller_is_cancelled_is_committed_and_published(directory, unit_of_work):
    changes: list[Change] = []
    started = asyncio.Event()
    directory.changes.listeners.append(changes.append)
    loop = asyncio.get_running_loop()

    def transaction():
        loop.call_soon_threadsafe(started.set)
        yield (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000) SELECT max(x) FROM n",
            (),
        )
        yield "INSERT INTO user (id, first_name, first_name_key, age, active, created_at, updated_at, version) " \
            "VALUES ('x', 'P', 'p', 1, 1, 'now', 'now', 1)", ()  # fmt: skip
        return TransactionResult(None, (Change("User", "x", "created"),))

    task = asyncio.create_task(directory.write(transaction))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await make(unit_of_work)

    assert await rows_of(directory) == [(2,)]
    assert changes[0] == Change("User", "x", "created")


@pytest.mark.slow
async def test_concurrent_updates_with_expected_versions_are_never_lost(unit_of_work):
    id = await make(unit_of_work, age=0)

    async def count_one():
        while True:
            record = await get(unit_of_work, USER, id, SHORT)
            fields = {"last_name": f"{record.version + 1}"}
            try:
                await update(unit_of_work, USER, id, fields, SHORT, versions=frozenset({record.version}))
            except VersionMismatch:
                continue
            return

    await asyncio.gather(*(count_one() for _ in range(200)))

    assert (await get(unit_of_work, USER, id, SHORT)).version == 201


async def test_closing_finishes_running_and_waiting_writes(database):
    directory = await Directory(str(database)).open()
    tasks = [asyncio.create_task(make(directory.unit_of_work(ADMIN))) for _ in range(5)]
    for _ in range(3):
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(make(directory.unit_of_work(ADMIN))) for _ in range(5)]
    await asyncio.sleep(0)

    await asyncio.wait_for(directory.close(), 10)

    assert all(isinstance(task.result(), str) for task in tasks)
    with pytest.raises(DatabaseUnavailable):
        await make(directory.unit_of_work(ADMIN))
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM user").fetchone() == (10,)
    connection.close()


async def test_a_write_during_closing_ends(database):
    directory = await Directory(str(database)).open()
    first = asyncio.create_task(make(directory.unit_of_work(ADMIN)))
    await asyncio.sleep(0)
    later = []
    first.add_done_callback(lambda _: later.append(asyncio.create_task(make(directory.unit_of_work(ADMIN)))))

    await directory.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*later, return_exceptions=True), 5)

    assert isinstance(outcomes[0], str | DatabaseUnavailable)


async def test_a_write_waits_for_the_lock_of_another_process(directory, unit_of_work, database):
    lock_holder = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    lock_holder.execute("BEGIN IMMEDIATE")

    task = asyncio.create_task(make(unit_of_work))
    await asyncio.sleep(0.05)
    assert not task.done()
    lock_holder.execute("COMMIT")
    lock_holder.close()

    assert isinstance(await task, str)


async def test_a_lock_that_another_process_keeps_is_an_error(directory, unit_of_work, database):
    """Writes succeed again afterwards."""
    await directory.write(lambda: _pragma("busy_timeout=20"))
    lock_holder = sqlite3.connect(database, isolation_level=None)
    lock_holder.execute("BEGIN IMMEDIATE")

    outcomes = await asyncio.gather(make(unit_of_work), make(unit_of_work), return_exceptions=True)
    lock_holder.execute("ROLLBACK")
    lock_holder.close()

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2
    assert isinstance(await make(unit_of_work), str)


def _pragma(text):
    yield f"PRAGMA {text}", ()
    return TransactionResult(None)


@pytest.mark.slow
async def test_writes_behind_a_lock_meet_their_deadline(database):
    """A waiting write times out; a running one ends with the lock's timeout."""
    async with Directory(str(database), deadline=0.1) as directory:
        await directory.write(lambda: _pragma("busy_timeout=1200"))
        lock_holder = sqlite3.connect(database, isolation_level=None)
        lock_holder.execute("BEGIN IMMEDIATE")
        running = asyncio.create_task(make(directory.unit_of_work(ADMIN)))
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(make(directory.unit_of_work(ADMIN)))
        outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        lock_holder.execute("ROLLBACK")
        lock_holder.close()

        assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, Timeout]
        assert isinstance(await make(directory.unit_of_work(ADMIN)), str)
        assert await rows_of(directory) == [(1,)]


@pytest.fixture
def no_time_limit(monkeypatch):
    """On a slow machine too, only the calls that arrive decide how long a group waits for more."""
    monkeypatch.setattr(writer, "REGROUP_SECONDS", 60.0)


async def test_callers_that_write_again_are_grouped_again(directory, unit_of_work, no_time_limit):
    async def write_repeatedly(turns_between):
        for number in range(5):
            await make(unit_of_work, age=number)
            for _ in range(turns_between):
                await asyncio.sleep(0)

    await asyncio.gather(*(write_repeatedly(number % 5) for number in range(20)))

    assert await rows_of(directory) == [(100,)]
    assert sum(directory.driver.commit_sizes.counts) == 5


@pytest.mark.slow
async def test_a_group_does_not_wait_for_the_end_of_a_stream_of_writes(unit_of_work, no_time_limit):
    commit_sizes = unit_of_work.directory.driver.commit_sizes
    await asyncio.gather(*(make(unit_of_work) for _ in range(10)))
    commits_before = sum(commit_sizes.counts)
    stream = [asyncio.create_task(make(unit_of_work))]

    # One write each turn, until the first is committed, or a slow disk has let as many wait as may.
    async with asyncio.timeout(60):
        while not stream[0].done():
            if len(stream) < 900:
                stream.append(asyncio.create_task(make(unit_of_work)))
            await asyncio.sleep(0)

    assert len(set(await asyncio.gather(*stream))) == len(stream)
    assert sum(commit_sizes.counts) - commits_before >= 2


async def test_the_writer_keeps_journals_and_changed_pages_in_memory_and_commits_durably(directory):

    def transaction():
        values = {}
        for pragma in ("temp_store", "cache_size", "synchronous"):
            ((values[pragma],),) = yield f"PRAGMA {pragma}", ()
        return TransactionResult(values)

    pragmas = await directory.write(transaction)

    assert pragmas.result == {"temp_store": 2, "cache_size": -8192, "synchronous": 2}


@pytest.mark.parametrize("repeat", [None, IdempotencyKey("a key", "a request")], ids=["plain", "under a key"])
async def test_a_deletion_keeps_its_journal_in_a_file(database, repeat):
    """It also deletes all that refer to the record, and the journal of a hundred thousand rows is 64 MiB."""
    statements: list[str] = []
    async with Directory(str(database), on_statement=statements.append) as directory:
        id = await make(directory.unit_of_work(ADMIN))
        statements.clear()

        await delete(directory.unit_of_work(ADMIN, repeat), USER, id)
        await make(directory.unit_of_work(ADMIN))

    control = [statement for statement in statements if statement.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    assert control[:4] == ["PRAGMA temp_store=FILE", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA temp_store=MEMORY"]
    assert control[4:] == ["BEGIN IMMEDIATE", "COMMIT"]
