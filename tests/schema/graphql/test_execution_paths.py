"""Queries as clients write them are compiled: graphql-core does not execute them."""

from __future__ import annotations

import json

import pytest

from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import COMPILED, INTERPRETED, Executor, GraphQLRequest
from schema.graphql.schema import make_schema
from schema.models import MODELS, User
from tests.fixtures.people import PEOPLE

pytestmark = pytest.mark.usefixtures("without_replay")

ADMIN = Actor(roles=frozenset({"admin"}))
ID = PEOPLE[0]["id"]
PAGE = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
IN_PRACTICE = {
    "one record": ("query($id: ID!) { user(id: $id) { id firstName age } }", {"id": ID}),
    "an id in the text": (f'{{ user(id: "{ID}") {{ firstName }} }}', {}),
    "one that is not there": ('{ user(id: "x") { firstName } }', {}),
    "me": ("{ me { id groups { nodes { name } } } }", {}),
    "node, by an inline fragment": (
        "query($id: ID!) { node(id: $id) { __typename id ... on User { firstName } ... on Group { name } } }",
        {"id": ID},
    ),
    "nodes": ("query($ids: [ID!]!) { nodes(ids: $ids) { id ...U } } fragment U on User { age }", {"ids": [ID, "x"]}),
    "edges, nodes, page info, total, cursors": (
        f"{{ users(first: 3) {{ totalCount {PAGE} nodes {{ id }} edges {{ cursor node {{ firstName }} }} }} }}",
        {},
    ),
    "backward": (f"{{ users(last: 2) {{ {PAGE} nodes {{ id }} }} }}", {}),
    "variables with defaults": (
        "query($n: Int = 2, $by: UserSortField! = AGE) { users(first: $n, sort: [{field: $by}]) { nodes { age } } }",
        {},
    ),
    "filters": (
        "query($f: UserFilter) { users(filter: $f, sort: {field: AGE, direction: DESC}) { nodes { age } } }",
        {"f": {"or": [{"age": {"gte": 18}}, {"not": {"active": {"eq": True}}}], "lastName": {"isnull": False}}},
    ),
    "skip and include": (
        "query($no: Boolean!, $yes: Boolean = true) { users { nodes { id @skip(if: $no) age @include(if: $yes) } } }",
        {"no": True},
    ),
    "aliases and several root fields": (
        "{ __typename first: users(first: 1) { nodes { key: id } } others: groups { totalCount } }",
        {},
    ),
    "named fragments inside fragments": (
        "{ users { ...Page } } fragment Page on UserConnection { nodes { ...One } } "
        "fragment One on User { id groups { nodes { ... on Group { name } } } }",
        {},
    ),
    "nested relations with arguments": (
        "query($n: Int) { groups(first: 2) { nodes { name members(first: $n, filter: {active: {eq: true}}) "
        "{ totalCount edges { role node { id groups(first: 1) { nodes { id } } } } } } } }",
        {"n": 5},
    ),
    "a typename everywhere": (
        "{ users { __typename nodes { __typename } edges { __typename } pageInfo { __typename } } }",
        {},
    ),
    "one of several operations": ("query A { me { id } } query B { groups { totalCount } }", {"_operation": "B"}),
}


@pytest.fixture(scope="module")
def executor():
    return Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))


async def execution_paths(executor, path, query, variables, times=1):
    """The execution path of each run; fails on errors in the response."""
    paths: list[str] = []
    sent = dict(variables)
    request = GraphQLRequest(query, sent, sent.pop("_operation", None))
    async with Directory(str(path)) as directory:
        for _ in range(times):
            response = json.loads(await executor.run(request, directory, ADMIN, on_path=paths.append))
            assert "errors" not in response, response
    return paths


@pytest.mark.parametrize("query, variables", IN_PRACTICE.values(), ids=IN_PRACTICE)
async def test_common_queries_are_compiled_at_first_sight(executor, populated_database, query, variables):
    before = dict(executor.executed)

    paths = await execution_paths(executor, populated_database, query, variables, times=3)

    assert paths == [COMPILED] * 3
    assert executor.executed == {**before, COMPILED: before[COMPILED] + 3}


@pytest.mark.parametrize(
    "query, execution_path",
    [
        ("{ __schema { queryType { name } } }", INTERPRETED),
        ('{ __type(name: "User") { name } users { totalCount } }', INTERPRETED),
        ('mutation { createGroup(input: {name: "New"}) { group { id } } }', "mutation"),
    ],
)
async def test_other_operations_are_interpreted_and_counted(executor, populated_database, query, execution_path):
    before = executor.executed[execution_path]

    assert await execution_paths(executor, populated_database, query, {}) == [execution_path]
    assert executor.executed[execution_path] == before + 1
