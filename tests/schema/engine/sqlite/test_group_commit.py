"""Writes that wait together are committed together; one that fails fails alone, and who leaves takes nobody along."""

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
    """A user's id."""
    return (await create(unit_of_work, USER, {"first_name": "P", "age": 1, **fields}, SHORT))[0]


async def rows_of(directory, sql="SELECT count(*) FROM user"):
    ((rows,),) = [await directory.read([(sql, ())])]
    return rows


async def test_one_that_fails_fails_alone(directory, unit_of_work):
    outcomes = await asyncio.gather(
        *(make(unit_of_work, email=f"{number % 7}@example.com") for number in range(10)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [str] * 7 + [Conflict] * 3
    assert await rows_of(directory) == [(7,)]


async def test_a_write_that_fails_half_way_leaves_nothing_of_it(directory, unit_of_work):
    """A job's steps are one savepoint: what the first has done goes when the second is refused."""
    id = await make(unit_of_work)

    def job():
        yield "UPDATE user SET age = 99 WHERE id = ?", (id,)
        yield "UPDATE user SET age = 151 WHERE id = ?", (id,)
        return TransactionResult(None, (Change("User", id, "updated"),))

    outcomes = await asyncio.gather(directory.write(job), make(unit_of_work), return_exceptions=True)

    assert isinstance(outcomes[0], sqlite3.IntegrityError)
    assert isinstance(outcomes[1], str)
    assert await rows_of(directory, f"SELECT age FROM user WHERE id = '{id}'") == [(1,)]


async def test_a_job_learns_how_many_rows_it_has_changed(directory, unit_of_work):
    await asyncio.gather(make(unit_of_work), make(unit_of_work), make(unit_of_work, age=2))

    def job():
        changed = yield "UPDATE user SET age = 3 WHERE age = 1", ()
        none = yield "DELETE FROM user WHERE age = 1", ()
        return TransactionResult((changed, none))

    assert (await directory.write(job)).result == ([(), ()], [])


async def test_an_error_of_our_own_fails_alone_too(directory, unit_of_work):
    def job():
        yield "SELECT 1", ()
        raise KeyError("a mistake")

    outcomes = await asyncio.gather(
        make(unit_of_work), directory.write(job), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [str, KeyError, str]
    assert await rows_of(directory) == [(2,)]


async def test_a_job_whose_error_ends_the_transaction_fails_alone(directory, unit_of_work):
    told: list[Change] = []
    directory.feed.listeners.append(told.append)

    def job():
        yield "UPDATE user SET age = 99", ()
        yield "ROLLBACK", ()
        yield "SELECT * FROM no_such_table", ()

    outcomes = await asyncio.gather(
        make(unit_of_work), directory.write(job), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [str, DatabaseUnavailable, str]
    assert await rows_of(directory) == [(2,)]
    assert sorted(change.id for change in told) == sorted(id for id in outcomes if isinstance(id, str))


async def test_two_jobs_that_end_the_transaction_fail_alone(directory, unit_of_work):
    def job():
        yield "ROLLBACK", ()
        yield "SELECT * FROM no_such_table", ()

    outcomes = await asyncio.gather(
        directory.write(job), make(unit_of_work), directory.write(job), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, str, DatabaseUnavailable, str]
    assert await rows_of(directory) == [(2,)]


async def test_a_commit_that_fails_fails_everybody(directory, unit_of_work):
    told: list[Change] = []
    directory.feed.listeners.append(told.append)

    def job():
        yield "PRAGMA defer_foreign_keys=ON", ()
        yield "INSERT INTO membership VALUES ('no group', 'nobody', 'member', '2026-01-01T00:00:00.000000Z')", ()
        return TransactionResult(None)

    outcomes = await asyncio.gather(
        make(unit_of_work), directory.write(job), make(unit_of_work), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [Conflict] * 3
    assert await rows_of(directory) == [(0,)]
    assert told == []
    assert isinstance(await make(unit_of_work), str)


async def test_a_later_job_sees_what_an_earlier_one_did(unit_of_work):
    id = await make(unit_of_work)

    first, second, gone, third = await asyncio.gather(
        update(unit_of_work, USER, id, {"age": 2}, SHORT, versions=frozenset({1})),
        update(unit_of_work, USER, id, {"age": 3}, SHORT, versions=frozenset({2})),
        delete(unit_of_work, USER, id, versions=frozenset({2})),
        update(unit_of_work, USER, id, {"age": 4}, SHORT, versions=frozenset({3})),
        return_exceptions=True,
    )

    assert [found.version for found in (first, second, third) if isinstance(found, RecordResult)] == [2, 3, 4]
    assert isinstance(gone, VersionMismatch)


@pytest.mark.parametrize("moments", range(6))
async def test_who_goes_away_takes_nobody_along_and_leaves_no_lock(directory, unit_of_work, moments):
    """Cancelled before it departs, while it runs, or after: all or nothing of it is there, and all of the others."""
    told: list[Change] = []
    directory.feed.listeners.append(told.append)
    tasks = [asyncio.create_task(make(unit_of_work, age=number)) for number in range(20)]
    for _ in range(moments):
        await asyncio.sleep(0)

    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    later = await asyncio.wait_for(make(unit_of_work, age=99), 5)

    there = {id for (id,) in await rows_of(directory, "SELECT id FROM user")}
    assert all(isinstance(outcome, str) for outcome in outcomes[1::2])
    assert {*(outcome for outcome in outcomes if isinstance(outcome, str)), later} <= there
    assert {change.id for change in told} == there
    assert len(told) == len(there)


async def test_a_write_whose_caller_has_gone_is_committed_and_told_if_it_had_begun(directory, unit_of_work):
    told: list[Change] = []
    begun = asyncio.Event()
    directory.feed.listeners.append(told.append)
    loop = asyncio.get_running_loop()

    def job():
        loop.call_soon_threadsafe(begun.set)
        yield (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000) SELECT max(x) FROM n",
            (),
        )
        yield "INSERT INTO user (id, first_name, first_name_key, age, active, created_at, updated_at, version) " \
            "VALUES ('x', 'P', 'p', 1, 1, 'now', 'now', 1)", ()  # fmt: skip
        return TransactionResult(None, (Change("User", "x", "created"),))

    task = asyncio.create_task(directory.write(job))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await make(unit_of_work)

    assert await rows_of(directory) == [(2,)]
    assert told[0] == Change("User", "x", "created")


async def test_of_two_hundred_who_read_change_and_write_none_is_lost(unit_of_work):
    id = await make(unit_of_work, age=0)

    async def count_one():
        while True:
            found = await get(unit_of_work, USER, id, SHORT)
            with_one_more = {"last_name": f"{found.version + 1}"}
            try:
                await update(unit_of_work, USER, id, with_one_more, SHORT, versions=frozenset({found.version}))
            except VersionMismatch:
                continue
            return

    await asyncio.gather(*(count_one() for _ in range(200)))

    assert (await get(unit_of_work, USER, id, SHORT)).version == 201


async def test_closing_finishes_what_is_under_way(database):
    """Those who travel, and those who wait for the next trip."""
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


async def test_who_comes_while_it_closes_is_told_so_and_does_not_hang(database):
    directory = await Directory(str(database)).open()
    first = asyncio.create_task(make(directory.unit_of_work(ADMIN)))
    await asyncio.sleep(0)
    later = []
    first.add_done_callback(lambda _: later.append(asyncio.create_task(make(directory.unit_of_work(ADMIN)))))

    await directory.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*later, return_exceptions=True), 5)

    assert isinstance(outcomes[0], str | DatabaseUnavailable)


async def test_another_process_that_holds_the_lock_is_waited_for(directory, unit_of_work, database):
    other = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    task = asyncio.create_task(make(unit_of_work))
    await asyncio.sleep(0.05)
    assert not task.done()
    other.execute("COMMIT")
    other.close()

    assert isinstance(await task, str)


async def test_a_lock_that_is_never_given_up_is_told_as_such(directory, unit_of_work, database):
    """Nothing of the wait is left behind."""
    await directory.write(lambda: _pragma("busy_timeout=20"))
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    outcomes = await asyncio.gather(make(unit_of_work), make(unit_of_work), return_exceptions=True)
    other.execute("ROLLBACK")
    other.close()

    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2
    assert isinstance(await make(unit_of_work), str)


def _pragma(words):
    yield f"PRAGMA {words}", ()
    return TransactionResult(None)


async def test_a_group_of_writes_under_a_lock_comes_to_its_deadline(database):
    """A write waits in the queue under a deadline; one that is under way is let be."""
    async with Directory(str(database), deadline=0.1) as directory:
        await directory.write(lambda: _pragma("busy_timeout=1200"))
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        travelling = asyncio.create_task(make(directory.unit_of_work(ADMIN)))
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(make(directory.unit_of_work(ADMIN)))
        outcomes = await asyncio.gather(travelling, waiting, return_exceptions=True)
        other.execute("ROLLBACK")
        other.close()

        assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, Timeout]
        assert isinstance(await make(directory.unit_of_work(ADMIN)), str)
        assert await rows_of(directory) == [(1,)]


@pytest.fixture
def patient(monkeypatch):
    """However slow the machine is: what ends a wait is what the loop brings."""
    monkeypatch.setattr(writer, "REGROUP_SECONDS", 60.0)


async def test_those_who_come_back_one_by_one_are_committed_together_again(directory, unit_of_work, patient):
    async def come_back(late):
        for number in range(5):
            await make(unit_of_work, age=number)
            for _ in range(late):
                await asyncio.sleep(0)

    await asyncio.gather(*(come_back(number % 5) for number in range(20)))

    assert await rows_of(directory) == [(100,)]
    assert sum(directory.commit_sizes.counts) == 5


async def test_a_stream_of_writes_is_not_waited_for_to_its_end(unit_of_work, patient):
    await asyncio.gather(*(make(unit_of_work) for _ in range(10)))
    first = asyncio.create_task(make(unit_of_work))
    stream = [first]

    async with asyncio.timeout(10):
        while not first.done():
            stream.append(asyncio.create_task(make(unit_of_work)))
            await asyncio.sleep(0)

    assert len(set(await asyncio.gather(*stream))) == len(stream)


async def test_what_a_savepoint_puts_back_and_what_a_group_changes_stays_in_memory(directory):
    """Neither in a file of its own nor, before its time, in the log; and a commit is on the disk when it is told of."""

    def job():
        found = {}
        for pragma in ("temp_store", "cache_size", "synchronous"):
            ((found[pragma],),) = yield f"PRAGMA {pragma}", ()
        return TransactionResult(found)

    written = await directory.write(job)

    assert written.result == {"temp_store": 2, "cache_size": -8192, "synchronous": 2}


@pytest.mark.parametrize("repeat", [None, IdempotencyKey("a key", "a request")], ids=["plain", "under a key"])
async def test_what_a_deletion_would_put_back_is_kept_in_a_file(database, repeat):
    """All that refer to a record go with it, and what is put back of a hundred thousand rows is 64 MiB."""
    said: list[str] = []
    async with Directory(str(database), on_statement=said.append) as directory:
        id = await make(directory.unit_of_work(ADMIN))
        said.clear()

        await delete(directory.unit_of_work(ADMIN, repeat), USER, id)
        await make(directory.unit_of_work(ADMIN))

    told = [it for it in said if it.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    assert told[:4] == ["PRAGMA temp_store=FILE", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA temp_store=MEMORY"]
    assert told[4:] == ["BEGIN IMMEDIATE", "COMMIT"]
