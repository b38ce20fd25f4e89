"""One credential's load leaves capacity to others: readers, connections and compilation are shared fairly."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from api.auth.authenticator import Authenticator
from api.http.client_identity import client_identifier
from schema.engine.driver import ListQuery
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import find, get
from schema.engine.query.planner import plan_list
from schema.engine.query.selection import Compare, Items, ListSelection, Page, Scalar, Selection, Total
from schema.engine.sqlite.inline_reader import InlineReader
from tests.fixtures.clients import USER
from tests.fixtures.credentials import new_key, production, token
from tests.fixtures.people import PEOPLE, insert_records

GREEDY, HONEST = (Actor(roles=frozenset({"reader"}), name=f"key:{name}") for name in ("greedy", "honest"))
SHORT = Selection((("id", Scalar("id")),))
LIST = ListSelection((("items", Items(SHORT)),), Page("size"))
FOREVER = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgres": "SELECT count(*) FROM generate_series(1, 100000000000)",
}


@pytest.fixture
async def greedy(database, database_type, monkeypatch):
    """A directory in which one actor has many endless queries, a few of which run."""
    monkeypatch.setattr(InlineReader, "read", lambda self, queries, share_snapshot: None)
    async with Directory(str(database), deadline=60) as directory:
        long = ListQuery(FOREVER[database_type], ())
        tasks = [asyncio.create_task(directory.read([long], GREEDY)) for _ in range(20)]
        await asyncio.sleep(0.05)
        yield directory, tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_others_are_answered_while_one_actor_waits_for_long_queries(greedy):
    directory, tasks = greedy

    for _ in range(10):
        rows = await asyncio.wait_for(directory.read([("SELECT 1", ())], HONEST), 20)
        assert [tuple(row) for row in rows[0]] == [(1,)]

    assert not any(task.done() for task in tasks)


async def test_others_find_and_get_records_meanwhile(greedy, database):
    insert_records(database, PEOPLE)
    directory, tasks = greedy
    unit_of_work = directory.unit_of_work(HONEST)

    page = await asyncio.wait_for(find(unit_of_work, USER, LIST, {"size": 5}), 20)
    id = page.json.partition(b'"id":"')[2][:36].decode()
    results = await asyncio.wait_for(asyncio.gather(*(get(unit_of_work, USER, id, SHORT) for _ in range(5))), 20)

    assert [result.json for result in results] == [b'{"id":"%b"}' % id.encode()] * 5
    assert not any(task.done() for task in tasks)


async def test_new_queries_of_several_actors_are_compiled_in_turn(directory, monkeypatch):
    order = []

    def recording_plan_list(resource, branch, profile):
        order.append(branch.page.size)
        return plan_list(resource, branch, profile)

    monkeypatch.setattr("schema.engine.operations.records.plan_list", recording_plan_list)
    turns = []

    async def count_turns() -> None:
        while len(order) < 12:
            turns.append(len(order))
            await asyncio.sleep(0)

    def start_query(actor, name):
        branch = replace(LIST, page=Page(name), where=Compare("first_name", "eq", "name"))
        return asyncio.create_task(find(directory.unit_of_work(actor), USER, branch, {name: 1, "name": "Ada"}))

    tasks = [start_query(GREEDY, f"greedy{number}") for number in range(10)]
    await asyncio.sleep(0)
    tasks += [start_query(HONEST, f"honest{number}") for number in range(2)]
    await asyncio.gather(count_turns(), *tasks)

    assert all(order.index(f"honest{number}") < 5 for number in range(2))
    assert set(range(1, 11)) <= set(turns)


def test_a_plan_knows_whether_it_counts():
    profile = GREEDY.profile
    counted = replace(LIST, members=(*LIST.members, ("total", Total())))
    below = ListSelection((("total", Total()),), Page("size"), relation="groups")
    nested = replace(LIST, members=(("items", Items(Selection((("groups", below),)))),))

    assert [plan_list(USER, branch, profile).counts for branch in (LIST, counted, nested)] == [False, True, True]


async def test_a_credential_is_one_owner_in_any_spelling(directory, database):
    authenticate = Authenticator(production(database))
    identify = client_identifier(authenticate)
    app = SimpleNamespace(state=SimpleNamespace(directory=directory))

    async def owners(*values):
        results = []
        for value in values:
            headers = [(b"authorization", value.encode())]
            await authenticate({"headers": headers, "app": app, "client": ("192.0.2.1", 1)})
            results.append(identify({"headers": headers, "client": ("192.0.2.1", 1)}))
        return results

    keys = [await new_key(directory, "reader") for _ in range(2)]
    result, same, other = await owners(f"Bearer {keys[0]}", f"bEARER {keys[0]}", f"Bearer {keys[1]}")
    tokens = await owners(*(f"Bearer {token(jti=id)}" for id in "ab"), f"Bearer {token(sub='ext-Bob')}")

    assert result == same != other
    assert tokens[0] == tokens[1] != tokens[2]
