"""Reads from PostgreSQL that arrive at the same moment run in batches, and each caller gets its own rows in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schema.engine.driver import ListQuery, RowQuery
from schema.engine.model.resource import Resource
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create, find, get
from schema.engine.postgres.statement_timing import MAX_EXECUTIONS, SHORT, TARGET_SECONDS, StatementTiming
from schema.engine.query.planner import plan_record
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, GROUP, USER

pytestmark = pytest.mark.postgres
NAME = Selection((("first_name", Scalar("first_name")),))
AGE = Selection((("age", Scalar("age")),))
LIST = ListSelection((("items", Items(NAME)),), Page("size"))
TRANSACTION_TIME = "SELECT transaction_timestamp()::text || $1"
SLEEP = "SELECT $1::float8::text || pg_sleep($1::float8)::text"
UNKNOWN_ID = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"


@pytest.fixture
async def traced_directory(migrated):
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    statements: list[str] = []
    async with Directory(migrated, deadline=5, on_statement=statements.append) as directory:
        yield directory, statements


@pytest.fixture
def directory(traced_directory):
    return traced_directory[0]


async def people(directory, *names):
    """Create users with these names, and return their ids."""
    created = [create(directory.unit_of_work(ADMIN), USER, {"first_name": name, "age": 1}, NAME) for name in names]
    return [id for id, _ in await asyncio.gather(*created)]


def record_query(unit_of_work, id, selection):
    """The query for these fields of one user."""
    return unit_of_work.record_query(unit_of_work.plan(plan_record, USER, selection), id, {})


async def fetch(directory, sql, *parameters):
    """Run a list query, and return its value."""
    (rows,) = await directory.read([ListQuery(sql, parameters)])
    return rows[0][0] if rows else None


async def warm_up(directory, sql, parameter):
    """Run a statement until it is known to be short: the first times include preparing it."""
    for _ in range(20):
        await fetch(directory, sql, parameter)


async def fetch_all(directory, sql, parameters):
    """Run a list query with several parameters at the same moment, and return the values or errors."""
    return await asyncio.gather(*(fetch(directory, sql, each) for each in parameters), return_exceptions=True)


async def test_lists_with_the_same_sql_share_a_round_trip_once_it_is_known_to_be_short(directory):
    await warm_up(directory, TRANSACTION_TIME, "")

    values = await fetch_all(directory, TRANSACTION_TIME, ["x"] * 40)

    assert len(set(values)) < 20  # each batch is a transaction with a time of its own


async def test_lists_in_a_batch_return_their_own_pages(directory):
    await people(directory, *"abcdefgh")
    unit_of_work = directory.unit_of_work(ADMIN)
    sizes = [size % 9 for size in range(50)]
    separate = [(await find(unit_of_work, USER, LIST, {"size": size})).json for size in sizes]

    together = await asyncio.gather(*(find(unit_of_work, USER, LIST, {"size": size}) for size in sizes))

    assert [page.json for page in together] == separate


async def test_a_slow_list_does_not_delay_others(directory):
    await warm_up(directory, SLEEP, 0.0)
    slow = asyncio.create_task(fetch(directory, SLEEP, 2.0))

    quick = await fetch_all(directory, SLEEP, [0.0] * 30)

    assert quick == ["0"] * 30
    assert not slow.done()
    assert await slow == "2"


async def test_a_list_that_fails_in_a_batch_fails_alone(directory):
    divide = "SELECT (6 / $1::int)::text"
    await warm_up(directory, divide, 1)

    values = await fetch_all(directory, divide, [1, 2, 0, 3, "no number", 6] * 5)

    expected = ["6", "3", "error", "2", "error", "1"] * 5
    assert [value if isinstance(value, str) else "error" for value in values] == expected


async def test_a_parameter_with_a_nul_matches_nothing(directory):
    echo = "SELECT $1::text"
    await warm_up(directory, echo, "a")

    assert await fetch_all(directory, echo, ["a", "b\0", "c"]) == ["a", None, "c"]


async def test_cancelled_reads_do_not_affect_others_of_their_batch(directory):
    await warm_up(directory, TRANSACTION_TIME, "")
    cancelled = [asyncio.create_task(fetch(directory, TRANSACTION_TIME, "cancelled")) for _ in range(5)]
    others = asyncio.create_task(fetch_all(directory, TRANSACTION_TIME, ["other"] * 20))
    await asyncio.sleep(0)

    for task in cancelled:
        task.cancel()

    assert all(value.endswith("other") for value in await others)


async def test_lists_and_records_of_one_read_are_one_statement(traced_directory):
    directory, statements = traced_directory
    ids = await people(directory, "Ada", "Bob")
    unit_of_work = directory.unit_of_work(ADMIN)
    records = [
        record_query(unit_of_work, id, selection) for id in (ids[1], UNKNOWN_ID, ids[0]) for selection in (NAME, AGE)
    ]
    lists = [ListQuery("SELECT $2::text || $1::text", ("1", "2")), ListQuery("SELECT $1::text", ("3",))]
    statements.clear()

    results = await directory.read([lists[0], *records, lists[1], lists[0]])

    assert len(statements) == 1
    assert [[row[0] for row in rows] for rows in results] == [
        ["21"], [b'{"first_name":"Bob"}'], [b'{"age":1}'], [], [], [b'{"first_name":"Ada"}'], [b'{"age":1}'],
        ["3"], ["21"],
    ]  # fmt: skip


async def test_lists_and_records_of_one_read_see_one_snapshot(directory):
    count = ListQuery('SELECT count(*)::text FROM "user"', ())
    task = asyncio.create_task(directory.read([count, ListQuery(SLEEP, (0.5,)), count]))
    await asyncio.sleep(0.2)

    await people(directory, "New")

    first, _, last = await task
    assert [*map(tuple, first)] == [*map(tuple, last)] == [("0",)]


@pytest.mark.parametrize("numbers", [range(9), [0, 3, 99, 3, 5], [99], []])
async def test_row_queries_with_the_same_sql_return_their_own_rows(traced_directory, numbers):
    directory, statements = traced_directory
    sql = "SELECT $1::int * 10 WHERE $1::int < 50"
    statements.clear()

    results = await directory.read([RowQuery(sql, (number,)) for number in numbers])

    expected = [[(number * 10,)] if number < 50 else [] for number in numbers]
    assert [[tuple(row) for row in rows] for rows in results] == expected
    if len(numbers) == 9:
        assert [sql.split()[0] for sql in statements] == ["BEGIN", *["SELECT"] * 9, "COMMIT"]


async def test_row_queries_with_the_same_sql_see_one_snapshot(directory):
    sql = 'SELECT (SELECT count(*) FROM "user") WHERE pg_sleep($1::float8) IS NOT NULL'
    task = asyncio.create_task(directory.read([RowQuery(sql, (seconds,)) for seconds in (0.0, 0.5, 0.0)]))
    await asyncio.sleep(0.2)

    await people(directory, "New")

    assert [tuple(rows[0]) for rows in await task] == [(0,)] * 3


async def test_record_queries_of_several_reads_run_in_one_batch(traced_directory):
    directory, statements = traced_directory
    ids = await people(directory, *"abcdefghij")
    unit_of_work = directory.unit_of_work(ADMIN)
    several = [directory.read([record_query(unit_of_work, id, NAME) for id in reversed(ids)]) for _ in range(10)]
    for _ in range(20):  # until it is known to be short, however busy the machine is
        await get(unit_of_work, USER, ids[0], NAME)
    statements.clear()

    results, single = await asyncio.gather(asyncio.gather(*several), get(unit_of_work, USER, ids[3], NAME))

    assert len(statements) <= 2
    assert [rows[0][0] for rows in results[0]] == [b'{"first_name":"%c"}' % letter for letter in b"jihgfedcba"]
    assert results == [results[0]] * 10
    assert single.json == b'{"first_name":"d"}'


async def test_records_of_several_models_created_in_a_batch_are_returned_as_they_are_read(directory):
    unit_of_work = directory.unit_of_work(ADMIN)
    data: list[tuple[Resource, dict[str, Any]]] = [
        (USER, {"first_name": f'{number} "\\é', "age": number}) for number in range(9)
    ]
    data += [(GROUP, {"name": f"Group {number}"}) for number in range(9)]
    selections = {
        resource: Selection(tuple((field.name, Scalar(field.name)) for field in resource.readable_fields))
        for resource in (USER, GROUP)
    }

    created = await asyncio.gather(
        *(create(unit_of_work, resource, fields, selections[resource]) for resource, fields in data)
    )

    read = [
        await get(unit_of_work, resource, id, selections[resource])
        for (resource, _), (id, _) in zip(data, created, strict=True)
    ]
    assert [record for _, record in created] == read


@pytest.mark.parametrize(
    "durations, batch_size",
    [
        ([], 1),
        ([TARGET_SECONDS / 1000], MAX_EXECUTIONS),
        ([TARGET_SECONDS / 4], 4),
        ([SHORT * 0.9], 2),
        ([SHORT * 1.1], 1),
        ([TARGET_SECONDS / 100] * 9 + [SHORT * 5], 7),  # once long, because the machine was busy
        ([TARGET_SECONDS / 100] + [SHORT * 5] * 30, 1),  # has become long
        ([1.0] * 9 + [TARGET_SECONDS / 100] * 20, MAX_EXECUTIONS),  # has become short
    ],
)
def test_a_batch_holds_as_many_statements_as_stay_short(durations, batch_size):
    timing = StatementTiming()
    for seconds in durations:
        timing.observe("SELECT 1", 1, seconds)

    assert timing.batch_size("SELECT 1") == batch_size


def test_a_statement_runs_separately_for_a_while_after_a_slow_batch(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("schema.engine.postgres.statement_timing.monotonic", lambda: now[0])
    timing = StatementTiming()
    timing.run_separately("SELECT 1")
    timing.observe("SELECT 1", 16, 0.001)
    timing.observe("SELECT 2", 16, 0.001)

    assert (timing.batch_size("SELECT 1"), timing.batch_size("SELECT 2")) == (1, MAX_EXECUTIONS)

    now[0] += 11

    assert timing.batch_size("SELECT 1") == MAX_EXECUTIONS
