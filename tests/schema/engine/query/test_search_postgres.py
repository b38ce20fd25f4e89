"""On PostgreSQL a search goes through as few rows whether nobody is found, a few, or many, in whatever order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.rest.list_parameters import list_selection, sort_options
from benchmarks.effort_postgres import literal
from schema.engine.database_url import postgres_address
from schema.engine.postgres.session import connect
from schema.engine.query import access_paths
from schema.engine.query.cursors import Signer
from schema.engine.query.planner import plan_list
from schema.engine.sql.dialect import postgres as dialect
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.people import TIMES, fill

pytestmark = pytest.mark.postgres
PEOPLE, WALKED = 20_000, 500
AT_MOST = 7000  # each row counts in every part of a plan that it passes
SIGNER = Signer(b"of the tests")
NOBODY: dict[str, Any] = {"q": ("zzqxj",)}
SEARCHES: dict[str, dict[str, Any]] = {
    "nobody": NOBODY,
    "few": {"q": ("zuse",)},
    "many": {"q": ("ada",)},
    "many have one word, nobody the other": {"q": ("ada", "zzqxj")},
    "a part that all have": {"email__contains": "example.com"},
    "a part that nobody has": {"email__contains": "zzqxj"},
}
DROPPED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


@pytest.fixture(scope="module")
def crowded(migrated):
    """Twenty thousand people."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    fill(migrated, map(somebody, range(PEOPLE)))
    postgres.run(migrated, 'VACUUM ANALYZE "user"')
    yield migrated
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')


def somebody(number):
    """One in ten is an Ada, whatever else they are; five are Zuses; one in a hundred is not active."""
    return {
        "id": f"{number:08x}-0000-7000-8000-000000000000",
        "first_name": "Ada" if number % 10 == 7 else f"Person {number % 50}",
        "last_name": "Zuse" if number % 4000 == 3999 else f"Name {number * 31 % 997}",
        "age": number * 7 % 89,
        "email": f"person.{number * 7919 % PEOPLE}@example.com",
        "external_id": None,
        "active": number % 100 != 3,
        "created_at": f"2026-01-01T00:00:00.{number:06}Z",
        "updated_at": TIMES[number % 3],
        "version": 1,
    }


@pytest.fixture
async def rows(crowded, monkeypatch):
    """How many rows PostgreSQL goes through for a page, by the plan that serves everybody."""
    monkeypatch.setattr(access_paths, "WALK_ROWS", WALKED)
    connection = await connect(postgres_address(crowded), 30)

    async def counted(**asked):
        branch, values = list_selection(USER, None, {"limit": 20, **asked}, SIGNER)
        statement = plan_list(USER, branch, ADMIN.profile).statement.on(dialect())
        given = ", ".join(map(literal, statement.bind({**values, "actor": None})))
        await connection.execute(f"PREPARE asked AS {statement.sql}")
        ((told,),) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked({given})")
        await connection.execute("DEALLOCATE asked")
        return gone_through(json.loads(told)[0]["Plan"])

    yield counted
    await connection.close()


def gone_through(plan):
    own = plan["Actual Rows"] + sum(plan.get(name, 0) for name in DROPPED)
    return own * plan["Actual Loops"] + sum(map(gone_through, plan.get("Plans", [])))


@pytest.mark.parametrize("sort", [None, "id", "-id", "email", "-age", "last_name", "-last_name", "-created_at"])
@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
async def test_a_search_goes_through_few_rows_in_any_order(rows, search, sort):
    order = {"sort": sort_options(USER)[sort]} if sort else {}

    assert await rows(**search, **order) < AT_MOST


@pytest.mark.parametrize(
    "beside",
    [
        {"active": False},
        {"age": 36},
        {"active": True, "age": 36},
        {"created_at__gt": "2026-01-01T00:00:00.010000Z"},
        {"first_name__startswith": "a"},
        {"last_name__startswith": "name 5"},
        {"first_name__startswith": "p", "sort": sort_options(USER)["id"]},
        {"email__startswith": "person", "age__gte": 1, "sort": sort_options(USER)["-created_at"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("search", ["nobody", "few", "many"])
async def test_a_search_beside_a_filter_goes_through_few_rows(rows, search, beside):
    assert await rows(**SEARCHES[search], **beside) < AT_MOST


async def test_without_a_walk_that_ends_everybody_would_be_looked_at(rows, monkeypatch):
    monkeypatch.setattr(access_paths, "WALK_ROWS", PEOPLE - 1)

    assert await rows(**NOBODY) > PEOPLE
