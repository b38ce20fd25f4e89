"""Who waits is answered by the deadline: a late read is interrupted, and only it; a write that waits is given up."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import text

from api.middleware.response import request_limit
from schema.engine.changes import TransactionResult
from schema.engine.errors import Overloaded, QueryTimeout, Timeout
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create, find, get
from schema.engine.query.planner import Plan
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from schema.engine.sql.record_lookup import RecordResult
from schema.engine.sql.statement import Statement
from schema.engine.sqlite.inline_reader import InlineReader
from tests.conftest import over
from tests.fixtures.clients import ADMIN, USER, Refused

pytestmark = pytest.mark.sqlite

SHORT = Selection((("id", Scalar("id")),))
LIST = ListSelection((("items", Items(SHORT)),), Page("size"))
FOREVER = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
A_WHILE = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 6000000) SELECT count(*) FROM n"
DEADLINE = 0.8


@pytest.fixture(autouse=True)
def _lanes_alone(monkeypatch):
    """What is read at a glance has no deadline of this kind: `test_glance.py` is about that."""
    monkeypatch.setattr(InlineReader, "read", lambda self, queries, share_snapshot: None)


@pytest.fixture
async def hasty(database, monkeypatch):
    """A directory with little patience and a single reader, so that all have to share it."""
    monkeypatch.setattr("schema.engine.sqlite.driver.READERS", 1)
    async with Directory(str(database), deadline=DEADLINE) as directory:
        yield directory


async def timed(waiting):
    """What came of it, and after how many seconds."""
    began = time.monotonic()
    try:
        outcome = await waiting
    except Exception as error:
        outcome = error
    return outcome, time.monotonic() - began


async def test_a_late_read_is_interrupted(hasty):
    outcome, seconds = await timed(hasty.read([(FOREVER, ())]))

    assert isinstance(outcome, Timeout)
    assert DEADLINE <= seconds < DEADLINE + 3


async def test_those_behind_a_late_read_wait_no_longer_than_it(hasty):
    """They came a little later, so they have a little time left when it is interrupted."""
    late = asyncio.create_task(timed(hasty.read([(FOREVER, ())])))
    await asyncio.sleep(DEADLINE / 2)
    others = [asyncio.create_task(timed(hasty.read([(f"SELECT {number}", ())]))) for number in range(20)]

    assert isinstance((await late)[0], QueryTimeout)
    assert [(await other)[0] for other in others] == [[[(number,)]] for number in range(20)]


async def test_who_merely_waited_is_not_told_that_the_query_took_too_long(hasty):
    steps = [FOREVER, "SELECT 1"]

    late, waited = await asyncio.gather(*(timed(hasty.read([(step, ())])) for step in steps))

    assert isinstance(late[0], QueryTimeout)
    assert type(waited[0]) is Timeout or waited[0] == [[(1,)]]


async def test_an_interrupt_that_hits_another_makes_it_run_again(directory):
    """The interrupt is aimed while the late one runs, and may arrive when the next one has begun."""
    readers = directory.database._readers
    task = asyncio.create_task(directory.read([(A_WHILE, ())]))
    for _ in range(3):
        await asyncio.sleep(0.01)
        for reader in readers._readers:
            reader._connection.interrupt_now()

    assert not task.done()
    assert await task == [[(6000000,)]]


async def test_a_read_of_several_steps_that_is_interrupted_leaves_no_transaction(hasty):
    outcome, _ = await timed(hasty.read([("SELECT 1", ()), (FOREVER, ())]))
    again, _ = await timed(hasty.read([("SELECT 1", ()), ("SELECT 2", ())]))

    assert isinstance(outcome, Timeout)
    assert again == [[(1,)], [(2,)]]


async def test_a_read_that_nobody_waits_for_any_more_ends(database, monkeypatch):
    """The caller has gone away; the reader is free for others long before any deadline."""
    monkeypatch.setattr("schema.engine.sqlite.driver.READERS", 1)
    async with Directory(str(database), deadline=60) as directory:
        gone = asyncio.create_task(directory.read([(FOREVER, ())]))
        await asyncio.sleep(0.05)

        gone.cancel()

        assert await asyncio.wait_for(directory.read([("SELECT 1", ())]), 10) == [[(1,)]]


async def test_a_read_that_has_gone_before_it_began_is_not_run(watched):
    directory, statements = watched
    statements.clear()
    task = asyncio.create_task(directory.read([("SELECT 'gone'", ())]))
    await asyncio.sleep(0)

    task.cancel()
    await directory.read([("SELECT 'here'", ())])
    await directory.read([("SELECT 'here'", ())])

    assert not [statement for statement in statements if "gone" in statement]


def slow_job():
    yield A_WHILE, ()
    return TransactionResult("slow but sure")


async def test_a_write_under_way_is_let_be_and_one_that_waits_is_given_up(hasty, monkeypatch):
    monkeypatch.setattr(hasty.database._writer, "_deadline", 0.05)
    under_way = asyncio.create_task(timed(hasty.write(slow_job)))
    await asyncio.sleep(0.02)
    outcome, _ = await timed(create(hasty.unit_of_work(ADMIN), USER, {"first_name": "P", "age": 1}, SHORT))

    assert isinstance(outcome, Timeout)
    assert not under_way.done()
    assert (await under_way)[0] == TransactionResult("slow but sure")
    assert (await hasty.read([("SELECT count(*) FROM user", ())])) == [[(0,)]]


async def test_a_write_that_was_given_up_is_never_made(hasty, monkeypatch):
    """Its caller has been told so; nobody may find it there later."""
    monkeypatch.setattr(hasty.database._writer, "_deadline", 0.05)
    slow = asyncio.create_task(hasty.write(slow_job))
    await asyncio.sleep(0.02)
    with pytest.raises(Timeout):
        await create(hasty.unit_of_work(ADMIN), USER, {"first_name": "P", "age": 1}, SHORT)
    await slow

    id, _ = await create(hasty.unit_of_work(ADMIN), USER, {"first_name": "Q", "age": 1}, SHORT)

    assert await hasty.read([("SELECT id FROM user", ())]) == [[(id,)]]


async def test_records_looked_up_together_are_answered_though_one_has_gone(hasty):
    unit_of_work = hasty.unit_of_work(ADMIN)
    ids = [(await create(unit_of_work, USER, {"first_name": "P", "age": number}, SHORT))[0] for number in range(4)]
    tasks = [asyncio.create_task(get(unit_of_work, USER, id, SHORT)) for id in ids]
    await asyncio.sleep(0)

    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert [outcome.json.decode() for outcome in outcomes if isinstance(outcome, RecordResult)] == [
        f'{{"id":"{id}"}}' for id in (ids[0], *ids[2:])
    ]


async def test_too_many_who_wait_are_sent_away(hasty, monkeypatch):
    monkeypatch.setattr(hasty.database._readers, "_limit", request_limit(1))

    outcomes = await asyncio.gather(
        *(find(hasty.unit_of_work(ADMIN), USER, LIST, {"size": 1}) for _ in range(8)), return_exceptions=True
    )

    assert sum(isinstance(outcome, Overloaded) for outcome in outcomes) == 5


ENDLESS = Plan(Statement(text(FOREVER)), lambda raw, values, signer: raw)


def test_both_doors_say_that_the_time_is_up(client, service, database, monkeypatch):
    monkeypatch.setattr("schema.engine.operations.directory.plan_list", lambda *_: ENDLESS)

    with over(service, Directory(str(database), deadline=0.1)), pytest.raises(Refused, match="TIMEOUT"):
        client.find("user")


UNBOUNDED = Plan(Statement(text(FOREVER)), lambda raw, values, signer: raw, counts=True)


def test_a_total_that_cannot_be_counted_in_time_is_too_complex(client, service, database, monkeypatch):
    monkeypatch.setattr("schema.engine.operations.directory.plan_list", lambda *_: UNBOUNDED)

    with over(service, Directory(str(database), deadline=0.1)), pytest.raises(Refused, match="QUERY_TOO_COMPLEX"):
        client.find("user")


def test_who_is_too_late_is_told_when_to_come_back(rest, service, database, monkeypatch):
    monkeypatch.setattr("schema.engine.operations.directory.plan_list", lambda *_: ENDLESS)

    with over(service, Directory(str(database), deadline=0.1)):
        answer = rest.http_client.get("/users")

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
