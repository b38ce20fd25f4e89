"""The cache is bounded by number and by bytes, and evicts the least recently used entry."""

from __future__ import annotations

import pytest

from schema.engine.cache import Cache
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.engine.query.plan_cache import PlanCache, plan_bytes
from schema.engine.sql.dialect import SQLITE, postgres
from schema.graphql.execution import documents
from schema.graphql.execution.executor import Executor, GraphQLRequest
from schema.graphql.schema import make_schema
from schema.models import MODELS, User

pytestmark = pytest.mark.usefixtures("without_replay")

ADMIN = Actor(roles=frozenset({"admin"}))


@pytest.fixture
def executor():
    return Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))


def test_a_cache_stays_within_its_bytes():
    cache: Cache[int, str] = Cache(1000, 100)

    for number in range(50):
        cache.put(number, "x", 30)

    assert [key for key, _ in cache.items()] == [47, 48, 49]
    assert (cache.bytes, cache.evictions) == (90, 47)


def test_used_entries_outlast_unused_ones():
    cache: Cache[str, int] = Cache(3, 1000)

    for number, name in enumerate("abcdefgh"):
        cache.put(name, number, 1)
        cache.get("a")

    assert [key for key, _ in cache.items()] == ["g", "a", "h"]


def test_an_entry_no_longer_used_is_evicted():
    cache: Cache[str, int] = Cache(2, 1000)
    cache.put("a", 0, 1)
    cache.get("a")

    for name in "bcde":
        cache.put(name, 0, 1)

    assert cache.get("a") is None


def test_a_growing_entry_evicts_others():
    cache: Cache[str, int] = Cache(10, 100)
    cache.put("a", 0, 40)
    cache.put("b", 0, 40)

    cache.resize("b", 90)

    assert [key for key, _ in cache.items()] == ["b"]
    assert cache.bytes == 90


def test_an_oversized_entry_is_cached_alone():
    cache: Cache[str, int] = Cache(10, 100)
    cache.put("a", 0, 40)

    cache.put("b", 0, 400)

    assert [key for key, _ in cache.items()] == ["b"]


def test_replacing_an_entry_does_not_count_it_twice():
    cache: Cache[str, int] = Cache(10, 100)

    cache.put("a", 0, 40)
    cache.put("a", 1, 50)

    assert (len(cache), cache.bytes, cache.get("a")) == (1, 50, 1)


@pytest.mark.slow
async def test_fewer_large_plans_are_cached(executor, database, database_type):
    nested = "{ users { nodes { groups(first: 1) { nodes { members(first: 1) { nodes { a%d: id } } } } } } }"

    async with Directory(str(database)) as directory:
        directory.plans = PlanCache(postgres() if database_type == "postgres" else SQLITE, most_bytes=300_000)
        for number in range(30):
            await executor.run(GraphQLRequest(nested % number, {}), directory, ADMIN)

        kept = directory.plans.items()
        assert 2 < len(kept) < 30
        assert directory.plans.bytes == sum(plan_bytes(plan) for _, plan in kept) <= 300_000


@pytest.mark.slow
async def test_a_document_s_selections_count_towards_its_size(executor, database):
    declared = ", ".join(f"$s{number}: Boolean!" for number in range(6))
    picked = " ".join(f"a{number}: id @skip(if: $s{number})" for number in range(6))
    query = f"query({declared}) {{ users {{ nodes {{ {picked} }} }} }}"
    kept = executor.documents.cache

    async with Directory(str(database)) as directory:
        sizes = []
        for chosen in range(120):
            variables = {f"s{number}": bool(chosen >> number & 1) for number in range(6)}
            await executor.run(GraphQLRequest(query, variables), directory, ADMIN)
            sizes.append(kept.bytes)

    assert sizes[0] == 0
    assert sizes[1] < sizes[10] < sizes[40]
    assert max(sizes) <= (documents.DOCUMENT_BYTES + 50 * documents.COMPILED_BYTES) * len(query)


def test_hits_and_misses_are_counted():
    plans = PlanCache()

    for name in ("a", "b", "a", "a"):
        plans.get_or_make(name, object)

    assert (plans.hits, plans.misses) == (2, 2)
