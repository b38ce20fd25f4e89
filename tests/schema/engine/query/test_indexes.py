"""An index serves every sort and filter: SQLite sorts nothing in memory and scans no table from end to end."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api.rest.list_parameters import list_selection, sort_options
from schema.engine.query import access_paths
from schema.engine.query.cursors import Signer
from schema.engine.query.planner import plan_list
from schema.engine.query.search import parse_words
from tests.fixtures.clients import ADMIN, GROUP, RESOURCES, USER
from tests.fixtures.people import GROUPS, PEOPLE, TIMES, insert_records, sort_parameters

pytestmark = [pytest.mark.usefixtures("populated_database"), pytest.mark.sqlite]

ADA = next(row for row in PEOPLE if row["last_name"] and row["email"] and row["external_id"])
ENGINE = GROUPS[0]["id"]
SIGNER = Signer(b"of the tests")


@pytest.fixture
def plan(statements, database):
    """A function that returns the lines of SQLite's query plans for the statements of an operation."""

    def explain(operation):
        statements.clear()
        operation()
        with closing(sqlite3.connect(database)) as connection:
            return [
                line
                for statement in list(statements)
                if re.match("SELECT|WITH|INSERT|UPDATE|DELETE", statement) and "'main'." not in statement  # FTS5's own
                for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            ]

    return explain


def scans(lines):
    """The lines that read a whole table or index."""
    return [line for line in lines if re.match(r"SCAN (user|group|membership)(_\d+)?( |$)", line)]


def sorted_in_memory(lines):
    return [line for line in lines if "TEMP B-TREE" in line]


@pytest.mark.parametrize("sort", sort_parameters())
def test_every_sort_follows_an_index_both_ways(client, plan, sort):
    first = plan(lambda: client.find("user", sort=sort, size=5))
    page = client.find("user", sort=sort, size=5)
    later = plan(lambda: client.find("user", sort=sort, size=5, after=page.next))
    back = plan(lambda: client.find("user", sort=sort, size=5, before=page.next))

    assert not sorted_in_memory([*first, *later, *back])
    assert [
        line for line in first if re.fullmatch(r"SCAN user_1( USING (COVERING )?INDEX ix_user_\w+)?", line)
    ] == scans(first)
    assert "SCAN user_1" not in first or sort in ("id", "-id")  # the table itself is stored in the order of its key
    for lines in (later, back):
        assert not scans(lines)
        assert [line for line in lines if re.match(r"SEARCH user_1 USING .*\(.*[<>]", line)]


def is_constant(field, operator):
    """Whether a comparison needs no row: nothing is null in a column that is NOT NULL."""
    return operator == "isnull" and not field.nullable


def comparisons():
    for resource, row in ((USER, ADA), (GROUP, GROUPS[0])):
        for field in resource.filterable_fields:
            for operator in sorted({*field.operators} - {"contains"}):  # measured by cost below
                for value in [True, False] if operator == "isnull" else [row[field.name]]:
                    yield pytest.param(
                        resource, field, operator, value, id=f"{resource.name}-{field.name}-{operator}-{value is False}"
                    )


COMPARISONS = list(comparisons())


@pytest.mark.parametrize("resource, field, operator, value", COMPARISONS)
def test_every_filter_finds_its_rows_by_an_index(client, plan, resource, field, operator, value):
    arguments = {
        f"{field.name}__{operator}" if operator != "eq" else field.name: [value] if operator == "in" else value
    }
    if (field.name,) in resource.sorts:
        arguments["sort"] = field.name

    lines = plan(lambda: client.find(resource.singular, **arguments))

    assert not scans(lines) or is_constant(field, operator)
    if operator not in ("startswith", "in") and not field.ignore_case:
        assert not sorted_in_memory(lines)


@pytest.mark.parametrize(
    "resource, field, operator, value", [case for case in COMPARISONS if case.values[2] in ("eq", "in", "startswith")]
)
def test_equality_is_served_by_an_index_in_any_order(client, plan, resource, field, operator, value):
    arguments = {
        f"{field.name}__{operator}" if operator != "eq" else field.name: [value] if operator == "in" else value
    }

    lines = plan(lambda: client.find(resource.singular, **arguments))

    assert not scans(lines)
    assert operator != "eq" or not sorted_in_memory(lines)


@pytest.mark.parametrize(
    "read",
    [
        lambda client: client.get("user", ADA["id"]),
        lambda client: client.find("user", ("groups", ADA["id"]), size=5),
        lambda client: client.find("group", ("members", ENGINE), size=5),
        lambda client: client.find("group", ("members", ENGINE), size=5, count="exact", id=ADA["id"]),
        lambda client: client.everything("group", ("members", ENGINE), size=20),
    ],
    ids=["a record", "groups of one", "members of one", "one member", "more members"],
)  # fmt: skip
def test_a_list_below_a_record_is_found_by_key(client, plan, read):
    lines = plan(lambda: read(client))

    assert not scans(lines)
    assert not sorted_in_memory(lines)


def test_nested_lists_are_found_by_key(graphql, plan):
    query = """{ users(first: 3) { nodes { groups(first: 2) { nodes { members(first: 2, filter: {active: {eq: true}}) {
        totalCount nodes { firstName } pageInfo { hasNextPage } } } } } } }"""

    lines = plan(lambda: graphql.execute(query))

    assert [line for line in scans(lines) if not re.fullmatch(r"SCAN user_\d", line)] == []
    assert len(scans(lines)) == 1  # the outermost list, in the order of its key
    assert not sorted_in_memory(lines)


@pytest.mark.parametrize(
    "write",
    [
        lambda client: client.create("user", first_name="P", age=1, email="p@example.com", external_id="p"),
        lambda client: client.update("user", ADA["id"], if_version=1, age=2, email="q@example.com"),
        lambda client: client.delete("user", ADA["id"], if_version=1),
        lambda client: client.delete("group", ENGINE),
        lambda client: client.link("group", ENGINE, "members", ADA["id"], role="owner"),
        lambda client: client.unlink("group", ENGINE, "members", ADA["id"]),
    ],
    ids=["create", "update", "delete user", "delete group", "link", "unlink"],
)  # fmt: skip
def test_writes_find_their_records_by_key(client, plan, write):
    lines = plan(lambda: write(client))

    assert not scans(lines)


def test_each_foreign_key_of_a_link_leads_an_index(database):
    with closing(sqlite3.connect(database)) as connection:
        for name in ("group_id", "user_id"):
            ((*_, line),) = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM membership WHERE {name} = 'x'")
            assert line.startswith("SEARCH")


def test_all_resources_and_sorts_are_covered():
    assert set(RESOURCES) == {"user", "group", "key"}
    assert len(sort_parameters()) == 18


SMALL, LARGE = 2_000, 20_000


@pytest.fixture(scope="module")
def sizes(template, tmp_path_factory):
    """A small database and one ten times as large, with similar users."""
    databases = {}
    for size in (SMALL, LARGE):
        path = Path(shutil.copy(template, tmp_path_factory.mktemp("growth") / f"{size}.db"))
        insert_records(path, map(user, range(size)))
        databases[size] = path
    return databases


@pytest.fixture
def low_thresholds(monkeypatch):
    """Thresholds below both sizes, so that the databases take the paths of large ones."""
    monkeypatch.setattr(access_paths, "FEW_ROWS", 50)
    monkeypatch.setattr(access_paths, "SCAN_ROWS", 500)


def user(number):
    """One in ten is called Ada; ten in each database Zuse; none zzqxj."""
    return {
        "id": f"{number:08x}-0000-7000-8000-000000000000",
        "first_name": "Ada" if number % 10 == 7 else f"Person {number % 50}",
        "last_name": "Zuse" if number % (SMALL // 10) == 0 and number < SMALL else None,
        "age": number * 7 % 90,
        "email": f"person.{number * 7919 % LARGE}@example.com",
        "external_id": f"x{number}" if number < 5 else None,
        "active": number % 10 != 3,
        "created_at": f"2026-01-01T00:00:00.{number:06}Z",
        "updated_at": TIMES[number % 3],
        "version": 1,
    }


def cost(path, query, *, after=None, before=None):
    """The instructions that SQLite runs for a page, to within ten, and the page."""
    arguments = {"limit": 20, **query, **({"after": after} if after else {}), **({"before": before} if before else {})}
    selection, values = list_selection(USER, None, arguments, SIGNER)
    values = {**values, "actor": None}
    plan = plan_list(USER, selection, ADMIN.profile)
    calls = 0

    def count():
        nonlocal calls
        calls += 1
        return 0

    with closing(sqlite3.connect(path)) as connection:
        connection.set_progress_handler(count, 10)
        ((text,),) = connection.execute(plan.statement.sql, plan.statement.bind(values)).fetchall()
    return calls * 10, json.loads(plan.encode(text, values, SIGNER))


def single_comparisons():
    """Each comparison alone, with a value that many rows have, few, and none."""
    for field in USER.filterable_fields:
        for operator in field.operators:
            rows = [user(3), user(7), user(200)]
            crowd = [row[field.name] for row in rows if row[field.name] is not None and row["id"][7] != "3"]
            crowd = crowd or [user(3)[field.name]]
            special: dict[str, list[Any]] = {
                "isnull": [True, False],
                "in": [crowd, list(crowd[:1])],
                "startswith": [str(crowd[0])[:2], "zzqxj"],
                "contains": [str(crowd[0])[:3], "zuse", "zzqxj"],
            }
            moments: list[Any] = ["0001-01-01T00:00:00.000000Z", "9999-01-01T00:00:00.000000Z"]
            ends: dict[str, list[Any]] = {"integer": [0, 150, -1], "time": moments}
            for value in special.get(operator) or [*crowd, *ends.get(field.kind, [])]:
                name = field.name if operator == "eq" else f"{field.name}__{operator}"
                yield {name: value}


SEARCHES = ["ada", "zuse", "zzqxj", "ada zuse", "person", "person 11"]


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize(
    "query",
    list(
        {str(case): case for case in [*single_comparisons(), *({"q": parse_words(word)} for word in SEARCHES)]}.values()
    ),
    ids=str,
)
@pytest.mark.slow
def test_the_cost_of_a_filter_does_not_grow_with_the_table(sizes, query):
    check_flat(sizes, query)


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("sort", sorted(sort_options(USER)))
@pytest.mark.parametrize("search", [None, "zuse", "zzqxj"])
@pytest.mark.slow
def test_the_cost_of_a_sort_does_not_grow_with_the_table(sizes, sort, search):
    check_flat(sizes, {"sort": sort_options(USER)[sort], **({"q": parse_words(search)} if search else {})})


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("sort", ["id", "-id", "created_at", "-created_at", "email", "-email"])
@pytest.mark.slow
def test_the_cost_of_many_hits_does_not_grow_with_the_table(sizes, sort):
    check_flat(sizes, {"sort": sort_options(USER)[sort], "q": parse_words("ada")})


@pytest.mark.usefixtures("low_thresholds")
@pytest.mark.parametrize("sort", ["id", "-id", "email", "-email", "last_name", "-last_name", "-created_at"])
@pytest.mark.parametrize(
    "filter",
    [
        {"active": True},
        {"active": False},
        {"active__in": [False]},
        {"first_name": "Ada"},
        {"first_name__in": ["Ada", "Person 4"]},
        {"first_name__startswith": "a"},
        {"last_name": "Zuse"},
        {"external_id__isnull": True},
        {"external_id__isnull": False},
        {"created_at__lt": "2026-01-01T00:00:00.000030Z"},
        {"first_name": "Ada", "active": True},
    ],
    ids=str,
)
@pytest.mark.slow
def test_the_cost_of_a_filter_in_another_order_does_not_grow(sizes, filter, sort):
    check_flat(sizes, {**filter, "sort": sort_options(USER)[sort]})


@pytest.mark.parametrize("down", ["", "-"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"first_name": "Ada"},
        {"first_name__startswith": "p"},
        {"first_name__startswith": "PERSON 4"},
        {"email__startswith": "person"},
        {"first_name__in": ["Ada", "Person 4", "nobody"]},
        {"age__in": [7, 36]},
        {"last_name__isnull": True},
    ],
    ids=str,
)
def test_the_cost_of_a_filter_in_its_own_order_does_not_grow(sizes, arguments, down):
    ((name, _),) = arguments.items()

    check_flat(sizes, {**arguments, "sort": sort_options(USER)[f"{down}{name.partition('__')[0]}"]})


def check_flat(sizes, query):
    """A first page, a deep one and the one before it cost about as much in a database ten times as large."""
    costs = {}
    for size, path in sizes.items():
        first, page = cost(path, query)
        costs[size] = [first]
        deep = dict(query)
        for _ in range(5):
            if page["next"]:
                cursor = page["next"]
                costs[size][1:] = [cost(path, deep, after=cursor)[0], cost(path, deep, before=cursor)[0]]
                page = cost(path, {**deep, "limit": 100}, after=cursor)[1]

    for small, large in zip(costs[SMALL], costs[LARGE], strict=False):
        assert large <= 2 * small + MARGIN, costs


MARGIN = 3_000
