"""Whatever a list offers, an index stands behind it: nothing is sorted, and no table is walked from end to end."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from tests.doors import GROUP, SHAPES, USER
from tests.people import GROUPS, PEOPLE, sorts

pytestmark = pytest.mark.usefixtures("crowded")

ADA = next(row for row in PEOPLE if row["last_name"] and row["email"] and row["external_id"])
ENGINE = GROUPS[0]["id"]


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
                if re.match("SELECT|INSERT|UPDATE|DELETE", statement)
                for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            ]

    return explain


def walks(steps):
    """The steps that go through a whole table or index."""
    return [step for step in steps if re.match(r"SCAN (user|group|membership)", step)]


def sorted_in_memory(steps):
    return [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("sort", sorts())
def test_every_sort_follows_an_index_both_ways(door, plan, sort):
    first = plan(lambda: door.find("user", sort=sort, size=5))
    page = door.find("user", sort=sort, size=5)
    later = plan(lambda: door.find("user", sort=sort, size=5, after=page.next))
    back = plan(lambda: door.find("user", sort=sort, size=5, before=page.next))

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
        for field in made.filters:
            for operator in field.operators:
                for value in [True, False] if operator == "isnull" else [row[field.name]]:
                    yield pytest.param(
                        made, field, operator, value, id=f"{made.name}-{field.name}-{operator}-{value is False}"
                    )


COMPARISONS = list(comparisons())


@pytest.mark.parametrize("made, field, operator, value", COMPARISONS)
def test_every_filter_finds_its_rows_by_an_index(door, plan, made, field, operator, value):
    asked = {f"{field.name}__{operator}" if operator != "eq" else field.name: [value] if operator == "in" else value}
    if (field.name,) in made.sorts:
        asked["sort"] = field.name

    steps = plan(lambda: door.find(made.singular, **asked))

    assert not walks(steps) or is_known_beforehand(field, operator)
    if operator not in ("startswith", "in") and not field.folded:
        assert not sorted_in_memory(steps)


@pytest.mark.parametrize(
    "made, field, operator, value", [it for it in COMPARISONS if it.values[2] in ("eq", "in", "startswith")]
)
def test_what_is_found_by_a_value_is_found_by_an_index_in_any_order(door, plan, made, field, operator, value):
    asked = {f"{field.name}__{operator}" if operator != "eq" else field.name: [value] if operator == "in" else value}

    steps = plan(lambda: door.find(made.singular, **asked))

    assert not walks(steps)
    assert operator != "eq" or not sorted_in_memory(steps)


@pytest.mark.parametrize(
    "read",
    [
        lambda door: door.get("user", ADA["id"]),
        lambda door: door.find("user", ("groups", ADA["id"]), size=5),
        lambda door: door.find("group", ("members", ENGINE), size=5),
        lambda door: door.find("group", ("members", ENGINE), size=5, count="exact", id=ADA["id"]),
        lambda door: door.everything("group", ("members", ENGINE), size=20),
    ],
    ids=["a record", "groups of one", "members of one", "one member", "more members"],
)  # fmt: skip
def test_what_is_below_a_record_is_found_by_its_key(door, plan, read):
    steps = plan(lambda: read(door))

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
        lambda door: door.create("user", first_name="P", age=1, email="p@example.com", external_id="p"),
        lambda door: door.update("user", ADA["id"], if_version=1, age=2, email="q@example.com"),
        lambda door: door.delete("user", ADA["id"], if_version=1),
        lambda door: door.delete("group", ENGINE),
        lambda door: door.link("group", ENGINE, "members", ADA["id"], role="owner"),
        lambda door: door.unlink("group", ENGINE, "members", ADA["id"]),
    ],
    ids=["create", "update", "delete user", "delete group", "link", "unlink"],
)  # fmt: skip
def test_what_is_written_is_found_by_its_key(door, plan, write):
    steps = plan(lambda: write(door))

    assert not walks(steps)


def test_both_foreign_keys_of_a_link_lead_an_index(database):
    with closing(sqlite3.connect(database)) as connection:
        for name in ("group_id", "user_id"):
            ((*_, step),) = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM membership WHERE {name} = 'x'")
            assert step.startswith("SEARCH")


def test_there_are_lists_to_look_at():
    assert set(SHAPES) == {"user", "group", "key"}
    assert len(sorts()) == 18
