"""Deadlines on SQLite: only the late read is interrupted, and a write fails only while it waits."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import text

from schema.engine.changes import TransactionResult
from schema.engine.errors import Overloaded, QueryTimeout, Timeout
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create, find, get
from schema.engine.query.planner import Plan
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from schema.engine.sql.record_lookup import RecordResult
from schema.engine.sql.statement import Statement
from schema.engine.sqlite.inline_reader import InlineReader
from tests.conftest import using_directory
from tests.fixtures.clients import ADMIN, USER, ApiError

pytestmark = pytest.mark.sqlite

SHORT = Selection((("id", Scalar("id")),))
LIST = ListSelection((("items", Items(SHORT)),), Page("size"))
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
SLOW = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 6000000) SELECT count(*) FROM n"
DEADLINE = 0.8


@pytest.fixture(autouse=True)
def _no_inline_reads(monkeypatch):
    """Inline reads have no deadline of this kind; see `test_inline_reader.py`."""
    monkeypatch.setattr(InlineReader, "read", lambda self, queries, share_snapshot: None)


@pytest.fixture
async def hasty(database, monkeypatch):
    """A directory with a short deadline and a single reader."""
    monkeypatch.setattr("schema.engine.sqlite.driver.READERS", 1)
    async with Directory(str(database), deadline=DEADLINE) as directory:
        yield directory


async def timed(call):
    """Return the result or the error, and the seconds it took."""
    started = time.monotonic()
    try:
        outcome = await call
    except Exception as error:
        outcome = error
    return outcome, time.monotonic() - started


@pytest.mark.slow
async def test_a_late_read_is_interrupted(hasty):
    outcome, seconds = await timed(hasty.read([(ENDLESS, ())]))

    assert isinstance(outcome, Timeout)
    assert DEADLINE <= seconds < DEADLINE + 3


@pytest.mark.slow
async def test_reads_queued_behind_a_late_read_are_served_after_it(hasty):
    """They arrived a little later, so they have a little time left when it is interrupted."""
    late = asyncio.create_task(timed(hasty.read([(ENDLESS, ())])))
    await asyncio.sleep(DEADLINE / 2)
    others = [asyncio.create_task(timed(hasty.read([(f"SELECT {number}", ())]))) for number in range(20)]

    assert isinstance((await late)[0], QueryTimeout)
    assert [(await other)[0] for other in others] == [[[(number,)]] for number in range(20)]


@pytest.mark.slow
async def test_a_read_that_only_waited_is_no_query_timeout(hasty):
    statements = [ENDLESS, "SELECT 1"]

    late, waited = await asyncio.gather(*(timed(hasty.read([(sql, ())])) for sql in statements))

    assert isinstance(late[0], QueryTimeout)
    assert type(waited[0]) is Timeout or waited[0] == [[(1,)]]


@pytest.mark.slow
async def test_a_read_hit_by_the_interrupt_of_another_runs_again(directory):
    """An interrupt is sent while the late read runs, and may arrive when the next one has begun."""
    readers = directory.driver._readers
    task = asyncio.create_task(directory.read([(SLOW, ())]))
    for _ in range(3):
        await asyncio.sleep(0.01)
        for reader in readers._readers:
            reader._connection.interrupt_now()

    assert not task.done()
    assert await task == [[(6000000,)]]


@pytest.mark.slow
async def test_an_interrupted_read_of_several_queries_leaves_no_transaction(hasty):
    outcome, _ = await timed(hasty.read([("SELECT 1", ()), (ENDLESS, ())]))
    again, _ = await timed(hasty.read([("SELECT 1", ()), ("SELECT 2", ())]))

    assert isinstance(outcome, Timeout)
    assert again == [[(1,)], [(2,)]]


async def test_a_cancelled_read_is_interrupted(database, monkeypatch):
    """The reader is free for others long before the deadline."""
    monkeypatch.setattr("schema.engine.sqlite.driver.READERS", 1)
    async with Directory(str(database), deadline=60) as directory:
        cancelled = asyncio.create_task(directory.read([(ENDLESS, ())]))
        await asyncio.sleep(0.05)

        cancelled.cancel()

        assert await asyncio.wait_for(directory.read([("SELECT 1", ())]), 10) == [[(1,)]]


async def test_a_read_cancelled_before_it_began_is_not_run(traced_directory):
    directory, statements = traced_directory
    statements.clear()
    task = asyncio.create_task(directory.read([("SELECT 'cancelled'", ())]))
    await asyncio.sleep(0)

    task.cancel()
    await directory.read([("SELECT 'other'", ())])
    await directory.read([("SELECT 'other'", ())])

    assert not [statement for statement in statements if "cancelled" in statement]


def slow_transaction():
    yield SLOW, ()
    return TransactionResult("committed")


@pytest.mark.slow
async def test_a_running_write_goes_on_and_a_waiting_one_fails(database, directory):
    async with Directory(str(database), deadline=0.05) as hasty:
        running = asyncio.create_task(timed(hasty.write(slow_transaction)))
        await asyncio.sleep(0.02)

        outcome, _ = await timed(create(hasty.unit_of_work(ADMIN), USER, {"first_name": "P", "age": 1}, SHORT))

        assert isinstance(outcome, Timeout)
        assert not running.done()
        assert (await running)[0] == TransactionResult("committed")
    assert (await directory.read([("SELECT count(*) FROM user", ())])) == [[(0,)]]


@pytest.mark.slow
async def test_a_write_that_timed_out_is_never_made(database, directory):
    """Its caller has an error already."""
    async with Directory(str(database), deadline=0.05) as hasty:
        slow = asyncio.create_task(hasty.write(slow_transaction))
        await asyncio.sleep(0.02)
        with pytest.raises(Timeout):
            await create(hasty.unit_of_work(ADMIN), USER, {"first_name": "P", "age": 1}, SHORT)
        await slow

    id, _ = await create(directory.unit_of_work(ADMIN), USER, {"first_name": "Q", "age": 1}, SHORT)

    assert await directory.read([("SELECT id FROM user", ())]) == [[(id,)]]


async def test_cancelling_one_of_several_reads_leaves_the_others(hasty):
    unit_of_work = hasty.unit_of_work(ADMIN)
    ids = [(await create(unit_of_work, USER, {"first_name": "P", "age": number}, SHORT))[0] for number in range(4)]
    tasks = [asyncio.create_task(get(unit_of_work, USER, id, SHORT)) for id in ids]
    await asyncio.sleep(0)

    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [outcome.json.decode() for outcome in outcomes if isinstance(outcome, RecordResult)] == [
        f'{{"id":"{id}"}}' for id in (ids[0], *ids[2:])
    ]


async def test_reads_beyond_the_waiting_queue_are_refused(database, monkeypatch):
    monkeypatch.setattr("schema.engine.sqlite.driver.READERS", 1)
    monkeypatch.setattr("schema.engine.sqlite.readers.MAX_WAITING", 2)
    async with Directory(str(database)) as directory:
        outcomes = await asyncio.gather(
            *(find(directory.unit_of_work(ADMIN), USER, LIST, {"size": 1}) for _ in range(8)), return_exceptions=True
        )

    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 5


def plan_every_list(monkeypatch, plan):
    """Make both APIs run this plan for every list."""
    for module in ("schema.engine.operations.records", "schema.graphql.execution.root_fields"):
        monkeypatch.setattr(f"{module}.plan_list", lambda *_: plan)


ENDLESS_PLAN = Plan(Statement(text(ENDLESS)), lambda raw, values, signer: raw)


@pytest.mark.slow
def test_both_apis_report_a_timeout(client, service, database, monkeypatch):
    plan_every_list(monkeypatch, ENDLESS_PLAN)

    with using_directory(service, Directory(str(database), deadline=0.1)), pytest.raises(ApiError, match="TIMEOUT"):
        client.find("user")


COUNTING_PLAN = Plan(Statement(text(ENDLESS)), lambda raw, values, signer: raw, counts=True)


@pytest.mark.slow
def test_a_total_that_times_out_is_too_complex(client, service, database, monkeypatch):
    plan_every_list(monkeypatch, COUNTING_PLAN)

    with (
        using_directory(service, Directory(str(database), deadline=0.1)),
        pytest.raises(ApiError, match="QUERY_TOO_COMPLEX"),
    ):
        client.find("user")


@pytest.mark.slow
def test_a_timeout_has_a_retry_after_header(rest, service, database, monkeypatch):
    plan_every_list(monkeypatch, ENDLESS_PLAN)

    with using_directory(service, Directory(str(database), deadline=0.1)):
        response = rest.http_client.get("/users")

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
