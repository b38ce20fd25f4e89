"""A search on PostgreSQL reads few rows, whether it finds none, few or many, in any order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.rest.list_parameters import list_selection, sort_options
from benchmarks.scaling.query_cost_postgres import literal
from schema.engine.database_url import postgres_address
from schema.engine.postgres.session import connect
from schema.engine.query import access_paths
from schema.engine.query.cursors import Signer
from schema.engine.query.planner import plan_list
from schema.engine.sql.dialect import postgres as dialect
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.people import TIMES, insert_records

pytestmark = pytest.mark.postgres
PEOPLE, SCANNED = 20_000, 500
AT_MOST = 7000  # a row counts in each node of the plan that it passes
SIGNER = Signer(b"of the tests")
NO_HITS: dict[str, Any] = {"q": ("zzqxj",)}
SEARCHES: dict[str, dict[str, Any]] = {
    "none": NO_HITS,
    "few": {"q": ("zuse",)},
    "many": {"q": ("ada",)},
    "many by one word, none by the other": {"q": ("ada", "zzqxj")},
    "a part that all have": {"email__contains": "example.com"},
    "a part that none has": {"email__contains": "zzqxj"},
}
DROPPED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")


@pytest.fixture(scope="module")
def populated_database(migrated):
    """Twenty thousand users."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    insert_records(migrated, map(user, range(PEOPLE)))
    postgres.run(migrated, 'VACUUM ANALYZE "user"')
    yield migrated
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')


def user(number):
    """Of all users, one in ten is called Ada, five Zuse; one in a hundred is inactive."""
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
async def rows(populated_database, monkeypatch):
    """A function that counts the rows that PostgreSQL reads for a page, by its generic plan."""
    monkeypatch.setattr(access_paths, "SCAN_ROWS", SCANNED)
    connection = await connect(postgres_address(populated_database), 30)

    async def count_rows(**arguments):
        selection, values = list_selection(USER, None, {"limit": 20, **arguments}, SIGNER)
        statement = plan_list(USER, selection, ADMIN.profile).statement.on(dialect())
        parameters = ", ".join(map(literal, statement.bind({**values, "actor": None})))
        await connection.execute(f"PREPARE list AS {statement.sql}")
        ((explained,),) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE list({parameters})")
        await connection.execute("DEALLOCATE list")
        return rows_read(json.loads(explained)[0]["Plan"])

    yield count_rows
    await connection.close()


def rows_read(plan):
    own = plan["Actual Rows"] + sum(plan.get(name, 0) for name in DROPPED)
    return own * plan["Actual Loops"] + sum(map(rows_read, plan.get("Plans", [])))


@pytest.mark.parametrize("sort", [None, "id", "-id", "email", "-age", "last_name", "-last_name", "-created_at"])
@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
async def test_a_search_reads_few_rows_in_any_order(rows, search, sort):
    order = {"sort": sort_options(USER)[sort]} if sort else {}

    assert await rows(**search, **order) < AT_MOST


@pytest.mark.parametrize(
    "filter",
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
@pytest.mark.parametrize("search", ["none", "few", "many"])
async def test_a_search_beside_a_filter_reads_few_rows(rows, search, filter):
    assert await rows(**SEARCHES[search], **filter) < AT_MOST


async def test_a_scan_without_a_limit_reads_every_row(rows, monkeypatch):
    monkeypatch.setattr(access_paths, "SCAN_ROWS", PEOPLE - 1)

    assert await rows(**NO_HITS) > PEOPLE
