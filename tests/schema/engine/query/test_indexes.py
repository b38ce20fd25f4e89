"""Whatever a list offers, an index stands behind it: nothing is sorted, and no table is walked from end to end."""

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
from tests.fixtures.people import GROUPS, PEOPLE, TIMES, fill, sorts

pytestmark = [pytest.mark.usefixtures("crowded"), pytest.mark.sqlite]

ADA = next(row for row in PEOPLE if row["last_name"] and row["email"] and row["external_id"])
ENGINE = GROUPS[0]["id"]
SIGNER = Signer(b"of the tests")


@pytest.fixture
def plan(statements, database):
    """How SQLite goes about the statements that a deed runs: what it does to each table, and whether it sorts."""

    def explain(deed):
        statements.clear()
        deed()
        with closing(sqlite3.connect(database)) as connection:
            return [
                step
                for statement in list(statements)
                if re.match("SELECT|WITH|INSERT|UPDATE|DELETE", statement) and "'main'." not in statement  # FTS5's own
                for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            ]

    return explain


def walks(steps):
    """The steps that go through a whole table or index."""
    return [step for step in steps if re.match(r"SCAN (user|group|membership)(_\d+)?( |$)", step)]


def sorted_in_memory(steps):
    return [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("sort", sorts())
def test_every_sort_follows_an_index_both_ways(client, plan, sort):
    first = plan(lambda: client.find("user", sort=sort, size=5))
    page = client.find("user", sort=sort, size=5)
    later = plan(lambda: client.find("user", sort=sort, size=5, after=page.next))
    back = plan(lambda: client.find("user", sort=sort, size=5, before=page.next))

    assert not sorted_in_memory([*first, *later, *back])
    assert [
        step for step in first if re.fullmatch(r"SCAN user_1( USING (COVERING )?INDEX ix_user_\w+)?", step)
    ] == walks(first)
    assert "SCAN user_1" not in first or sort in ("id", "-id")  # the table itself is kept in the order of its key
    for steps in (later, back):
        assert not walks(steps)
        assert [step for step in steps if re.match(r"SEARCH user_1 USING .*\(.*[<>]", step)]


def is_known_beforehand(field, operator):
    """Nothing is null in a column that may not be: SQLite does not look at a row to know that."""
    return operator == "isnull" and not field.nullable


def comparisons():
    for made, row in ((USER, ADA), (GROUP, GROUPS[0])):
        for field in made.filterable_fields:
            for operator in sorted({*field.operators} - {"contains"}):  # which goes by steps: see below
                for value in [True, False] if operator == "isnull" else [row[field.name]]:
                    yield pytest.param(
                        made, field, operator, value, id=f"{made.name}-{field.name}-{operator}-{value is False}"
                    )


COMPARISONS = list(comparisons())


@pytest.mark.parametrize("made, field, operator, value", COMPARISONS)
def test_every_filter_finds_its_rows_by_an_index(client, plan, made, field, operator, value):
    asked = {f"{field.name}__{operator}" if operator != "eq" else field.name: [value] if operator == "in" else value}
    if (field.name,) in made.sorts:
        asked["sort"] = field.name

    steps = plan(lambda: client.find(made.singular, **asked))

    assert not walks(steps) or is_known_beforehand(field, operator)
    if operator not in ("startswith", "in") and not field.ignore_case:
        assert not sorted_in_memory(steps)


@pytest.mark.parametrize(
    "made, field, operator, value", [it for it in COMPARISONS if it.values[2] in ("eq", "in", "startswith")]
)
def test_what_is_found_by_a_value_is_found_by_an_index_in_any_order(client, plan, made, field, operator, value):
    asked = {f"{field.name}__{operator}" if operator != "eq" else field.name: [value] if operator == "in" else value}

    steps = plan(lambda: client.find(made.singular, **asked))

    assert not walks(steps)
    assert operator != "eq" or not sorted_in_memory(steps)


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
def test_what_is_below_a_record_is_found_by_its_key(client, plan, read):
    steps = plan(lambda: read(client))

    assert not walks(steps)
    assert not sorted_in_memory(steps)


def test_lists_inside_lists_are_found_by_their_keys(graphql, plan):
    query = """{ users(first: 3) { nodes { groups(first: 2) { nodes { members(first: 2, filter: {active: {eq: true}}) {
        totalCount nodes { firstName } pageInfo { hasNextPage } } } } } } }"""

    steps = plan(lambda: graphql.ask(query))

    assert [step for step in walks(steps) if not re.fullmatch(r"SCAN user_\d", step)] == []
    assert len(walks(steps)) == 1  # the outermost list, in the order of its key
    assert not sorted_in_memory(steps)


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
def test_what_is_written_is_found_by_its_key(client, plan, write):
    steps = plan(lambda: write(client))

    assert not walks(steps)


def test_both_foreign_keys_of_a_link_lead_an_index(database):
    with closing(sqlite3.connect(database)) as connection:
        for name in ("group_id", "user_id"):
            ((*_, step),) = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM membership WHERE {name} = 'x'")
            assert step.startswith("SEARCH")


def test_there_are_lists_to_look_at():
    assert set(RESOURCES) == {"user", "group", "key"}
    assert len(sorts()) == 18


SMALL, LARGE = 2_000, 20_000


@pytest.fixture(scope="module")
def sizes(template, tmp_path_factory):
    """A small directory and one ten times as large, of people who are alike."""
    found = {}
    for size in (SMALL, LARGE):
        path = Path(shutil.copy(template, tmp_path_factory.mktemp("growth") / f"{size}.db"))
        fill(path, map(somebody, range(size)))
        found[size] = path
    return found


@pytest.fixture
def soon_many(monkeypatch):
    """So few rows are many, and a walk is so short, that both sizes have more."""
    monkeypatch.setattr(access_paths, "FEW_ROWS", 50)
    monkeypatch.setattr(access_paths, "WALK_ROWS", 500)


def somebody(number):
    """One in ten is an Ada; a few, the same number whatever the size, are Zuses; nobody is called zzqxj."""
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


def steps(path, query, *, after=None, before=None):
    """How many steps of its machine SQLite takes for a page, and what the page has."""
    asked = {"limit": 20, **query, **({"after": after} if after else {}), **({"before": before} if before else {})}
    branch, values = list_selection(USER, None, asked, SIGNER)
    values = {**values, "actor": None}
    plan = plan_list(USER, branch, ADMIN.profile)
    calls = 0

    def count():
        nonlocal calls
        calls += 1
        return 0

    with closing(sqlite3.connect(path)) as connection:
        connection.set_progress_handler(count, 10)
        ((text,),) = connection.execute(plan.statement.sql, plan.statement.bind(values)).fetchall()
    return calls * 10, json.loads(plan.encode(text, values, SIGNER))


def alone():
    """Every comparison alone: with what many have, what few have, and what nobody has."""
    for field in USER.filterable_fields:
        for operator in field.operators:
            rows = [somebody(3), somebody(7), somebody(200)]
            crowd = [row[field.name] for row in rows if row[field.name] is not None and row["id"][7] != "3"]
            crowd = crowd or [somebody(3)[field.name]]
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


@pytest.mark.usefixtures("soon_many")
@pytest.mark.parametrize(
    "query",
    list({str(it): it for it in [*alone(), *({"q": parse_words(word)} for word in SEARCHES)]}.values()),
    ids=str,
)
def test_what_is_filtered_by_costs_as_much_whatever_the_size(sizes, query):
    check_flat(sizes, query)


@pytest.mark.usefixtures("soon_many")
@pytest.mark.parametrize("sort", sorted(sort_options(USER)))
@pytest.mark.parametrize("search", [None, "zuse", "zzqxj"])
def test_every_order_costs_as_much_whatever_the_size(sizes, sort, search):
    check_flat(sizes, {"sort": sort_options(USER)[sort], **({"q": parse_words(search)} if search else {})})


@pytest.mark.usefixtures("soon_many")
@pytest.mark.parametrize("sort", ["id", "-id", "created_at", "-created_at", "email", "-email"])
def test_many_hits_are_found_on_the_way_in_every_order_that_does_not_part_them_from_the_rest(sizes, sort):
    check_flat(sizes, {"sort": sort_options(USER)[sort], "q": parse_words("ada")})


@pytest.mark.usefixtures("soon_many")
@pytest.mark.parametrize("sort", ["id", "-id", "email", "-email", "last_name", "-last_name", "-created_at"])
@pytest.mark.parametrize(
    "beside",
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
def test_a_filter_costs_as_much_beside_another_order_whatever_the_size(sizes, beside, sort):
    check_flat(sizes, {**beside, "sort": sort_options(USER)[sort]})


@pytest.mark.parametrize("down", ["", "-"])
@pytest.mark.parametrize(
    "asked",
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
def test_a_filter_costs_as_much_in_the_order_of_its_own_field_whatever_the_size(sizes, asked, down):
    ((name, _),) = asked.items()

    check_flat(sizes, {**asked, "sort": sort_options(USER)[f"{down}{name.partition('__')[0]}"]})


def check_flat(sizes, query):
    """A first page, a deep one and the way back take about as many steps in a directory ten times as large."""
    costs = {}
    for size, path in sizes.items():
        first, page = steps(path, query)
        costs[size] = [first]
        deep = dict(query)
        for _ in range(5):
            if page["next"]:
                cursor = page["next"]
                costs[size][1:] = [steps(path, deep, after=cursor)[0], steps(path, deep, before=cursor)[0]]
                page = steps(path, {**deep, "limit": 100}, after=cursor)[1]

    for small, large in zip(costs[SMALL], costs[LARGE], strict=False):
        assert large <= 2 * small + MARGIN, costs


MARGIN = 3_000
