"""What is read from PostgreSQL at the same moment goes together, and nobody gets, or waits for, what is another's."""

from __future__ import annotations

import asyncio

import pytest

from schema.engine.driver import ListQuery, RowQuery
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
WHEN = "SELECT transaction_timestamp()::text || $1"
NAP = "SELECT $1::float8::text || pg_sleep($1::float8)::text"
UNKNOWN = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"


@pytest.fixture
async def watched(migrated):
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    said: list[str] = []
    async with Directory(migrated, deadline=5, on_statement=said.append) as directory:
        yield directory, said


@pytest.fixture
def directory(watched):
    return watched[0]


async def people(directory, *names):
    """The ids of new users with these names."""
    made = [create(directory.unit_of_work(ADMIN), USER, {"first_name": name, "age": 1}, NAME) for name in names]
    return [id for id, _ in await asyncio.gather(*made)]


def reading(unit_of_work, id, what):
    """The step that reads so much of one person."""
    return unit_of_work.record_query(unit_of_work.plan(plan_record, USER, what), id, {})


async def ask(directory, sql, *given):
    """The one value that a list's statement brings, or what went wrong."""
    (rows,) = await directory.read([ListQuery(sql, given)])
    return rows[0][0] if rows else None


async def know(directory, sql, given):
    """Ask until the statement is known to be short: the first times count what it takes to prepare it."""
    for _ in range(20):
        await ask(directory, sql, given)


async def ask_all(directory, sql, given):
    """The same of several at the same moment."""
    return await asyncio.gather(*(ask(directory, sql, it) for it in given), return_exceptions=True)


async def test_lists_by_the_same_statement_are_one_trip_once_it_is_known_to_be_short(directory):
    await know(directory, WHEN, "")

    found = await ask_all(directory, WHEN, ["x"] * 40)

    assert len(set(found)) < 20  # a trip is a transaction, and its time is its name


async def test_each_gets_the_page_that_they_asked_for(directory):
    await people(directory, *"abcdefgh")
    unit_of_work = directory.unit_of_work(ADMIN)
    sizes = [size % 9 for size in range(50)]
    alone = [(await find(unit_of_work, USER, LIST, {"size": size})).json for size in sizes]

    together = await asyncio.gather(*(find(unit_of_work, USER, LIST, {"size": size}) for size in sizes))

    assert [page.json for page in together] == alone


async def test_who_asks_for_what_takes_long_keeps_nobody_waiting(directory):
    await know(directory, NAP, 0.0)
    slow = asyncio.create_task(ask(directory, NAP, 2.0))

    quick = await ask_all(directory, NAP, [0.0] * 30)

    assert quick == ["0"] * 30
    assert not slow.done()
    assert await slow == "2"


async def test_what_fails_fails_alone(directory):
    divide = "SELECT (6 / $1::int)::text"
    await know(directory, divide, 1)

    found = await ask_all(directory, divide, [1, 2, 0, 3, "no number", 6] * 5)

    assert [it if isinstance(it, str) else "wrong" for it in found] == ["6", "3", "wrong", "2", "wrong", "1"] * 5


async def test_what_cannot_be_stored_is_not_found_and_the_others_are(directory):
    echo = "SELECT $1::text"
    await know(directory, echo, "a")

    assert await ask_all(directory, echo, ["a", "b\0", "c"]) == ["a", None, "c"]


async def test_who_has_gone_takes_nobody_along(directory):
    await know(directory, WHEN, "")
    gone = [asyncio.create_task(ask(directory, WHEN, "gone")) for _ in range(5)]
    here = asyncio.create_task(ask_all(directory, WHEN, ["here"] * 20))
    await asyncio.sleep(0)

    for task in gone:
        task.cancel()

    assert all(it.endswith("here") for it in await here)


async def test_lists_and_records_of_one_read_are_one_statement(watched):
    directory, said = watched
    ids = await people(directory, "Ada", "Bob")
    unit_of_work = directory.unit_of_work(ADMIN)
    records = [reading(unit_of_work, id, what) for id in (ids[1], UNKNOWN, ids[0]) for what in (NAME, AGE)]
    lists = [ListQuery("SELECT $2::text || $1::text", ("1", "2")), ListQuery("SELECT $1::text", ("3",))]
    said.clear()

    found = await directory.read([lists[0], *records, lists[1], lists[0]])

    assert len(said) == 1
    assert [[row[0] for row in rows] for rows in found] == [
        ["21"], [b'{"first_name":"Bob"}'], [b'{"age":1}'], [], [], [b'{"first_name":"Ada"}'], [b'{"age":1}'],
        ["3"], ["21"],
    ]  # fmt: skip


async def test_lists_and_records_of_one_read_see_one_moment(directory):
    count = ListQuery('SELECT count(*)::text FROM "user"', ())
    task = asyncio.create_task(directory.read([count, ListQuery(NAP, (0.5,)), count]))
    await asyncio.sleep(0.2)

    await people(directory, "New")

    first, _, last = await task
    assert [*map(tuple, first)] == [*map(tuple, last)] == [("0",)]


@pytest.mark.parametrize("asked", [range(9), [0, 3, 99, 3, 5], [99], []])
async def test_a_read_of_the_same_single_rows_brings_each_its_own(watched, asked):
    directory, said = watched
    row = "SELECT $1::int * 10 WHERE $1::int < 50"
    said.clear()

    found = await directory.read([RowQuery(row, (number,)) for number in asked])

    assert [[tuple(it) for it in rows] for rows in found] == [[(it * 10,)] if it < 50 else [] for it in asked]
    if len(asked) == 9:
        assert [sql.split()[0] for sql in said] == ["BEGIN", *["SELECT"] * 9, "COMMIT"]


async def test_the_same_single_rows_are_of_one_moment(directory):
    row = 'SELECT (SELECT count(*) FROM "user") WHERE pg_sleep($1::float8) IS NOT NULL'
    task = asyncio.create_task(directory.read([RowQuery(row, (nap,)) for nap in (0.0, 0.5, 0.0)]))
    await asyncio.sleep(0.2)

    await people(directory, "New")

    assert [tuple(rows[0]) for rows in await task] == [(0,)] * 3


async def test_records_of_one_read_go_along_with_those_of_others(watched):
    directory, said = watched
    ids = await people(directory, *"abcdefghij")
    unit_of_work = directory.unit_of_work(ADMIN)
    several = [directory.read([reading(unit_of_work, id, NAME) for id in reversed(ids)]) for _ in range(10)]
    for _ in range(20):  # after which it is known to be short, however busy the machine is
        await get(unit_of_work, USER, ids[0], NAME)
    said.clear()

    found, alone = await asyncio.gather(asyncio.gather(*several), get(unit_of_work, USER, ids[3], NAME))

    assert len(said) <= 2
    assert [rows[0][0] for rows in found[0]] == [b'{"first_name":"%c"}' % letter for letter in b"jihgfedcba"]
    assert found == [found[0]] * 10
    assert alone.json == b'{"first_name":"d"}'


async def test_new_records_of_several_kinds_made_at_the_same_moment_are_each_as_they_are_read(directory):
    unit_of_work = directory.unit_of_work(ADMIN)
    given = [(USER, {"first_name": f'{n} "\\é', "age": n}) for n in range(9)] + [
        (GROUP, {"name": f"Group {n}"}) for n in range(9)
    ]
    whole = {
        resource: Selection(tuple((it.name, Scalar(it.name)) for it in resource.readable_fields))
        for resource in (USER, GROUP)
    }

    resource = await asyncio.gather(*(create(unit_of_work, model, data, whole[model]) for model, data in given))

    read = [
        (await get(unit_of_work, model, id, whole[model])) for (model, _), (id, _) in zip(given, resource, strict=True)
    ]
    assert [answer for _, answer in resource] == read


@pytest.mark.parametrize(
    "took, together",
    [
        ([], 1),
        ([TARGET_SECONDS / 1000], MAX_EXECUTIONS),
        ([TARGET_SECONDS / 4], 4),
        ([SHORT * 0.9], 2),
        ([SHORT * 1.1], 1),
        ([TARGET_SECONDS / 100] * 9 + [SHORT * 5], 7),  # one that a busy machine held up
        ([TARGET_SECONDS / 100] + [SHORT * 5] * 30, 1),  # one that has become long
        ([1.0] * 9 + [TARGET_SECONDS / 100] * 20, MAX_EXECUTIONS),  # one that has become short
    ],
)
def test_those_go_together_that_make_a_short_trip(took, together):
    timing = StatementTiming()
    for seconds in took:
        timing.observe("SELECT 1", 1, seconds)

    assert timing.batch_size("SELECT 1") == together


def test_what_was_broken_off_goes_alone_for_a_while(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("schema.engine.postgres.statement_timing.monotonic", lambda: now[0])
    timing = StatementTiming()
    timing.run_separately("SELECT 1")
    timing.observe("SELECT 1", 16, 0.001)
    timing.observe("SELECT 2", 16, 0.001)

    assert (timing.batch_size("SELECT 1"), timing.batch_size("SELECT 2")) == (1, MAX_EXECUTIONS)

    now[0] += 11

    assert timing.batch_size("SELECT 1") == MAX_EXECUTIONS
