"""Compiled queries give the same response as graphql-core, and as a reference implementation over Python lists.

The queries are random: aliases, fragments, directives, variables, nested lists.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, execute_sync, parse

from schema.engine.model.field import lower_case
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import Executor, GraphQLRequest
from schema.graphql.schema import make_schema
from schema.models import MODELS, User
from tests.fixtures.query_replay import REPLAY, ordered

ADMIN = Actor(roles=frozenset({"admin"}))
SCHEMA = make_schema([resource_of(model) for model in MODELS], resource_of(User))
NOW = "2026-11-22T09:30:00.000000Z"
NAMES = ["Ada", "Émile", "Zoë", "李", "o'Neil", 'q"uote', "back\\slash", "😀"]
PARTS = ["ADA", "Émi", "mil", "NEI", "slash", "\\sl", 'q"u', "zzz"]
SEARCHES = ["ada", "mile", "ZO zoë", "o neil", 'te"', "slash ck\\", "zzz", "ada a d"]


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(SCHEMA)


@pytest.fixture
def stored(database: Path) -> dict[str, list[dict[str, Any]]]:
    """A small directory: lists of dictionaries with GraphQL names, stored in the test's database too."""
    chance = random.Random(7)
    users = [
        {"id": f"00000000-0000-7000-8000-{n:012}", "firstName": chance.choice(NAMES), "age": chance.randint(0, 9)}
        | {
            "lastName": chance.choice([None, *NAMES]),
            "email": None,
            "externalId": None,
            "active": chance.random() < 0.7,
        }
        | {"createdAt": NOW, "updatedAt": NOW, "version": 1, "__typename": "User"}
        for n in range(40)
    ]
    groups = [
        {"id": f"00000000-0000-7000-8001-{n:012}", "name": f"G{n}", "description": None, "active": True}
        | {"createdAt": NOW, "updatedAt": NOW, "version": 1, "__typename": "Group"}
        for n in range(6)
    ]
    links = [
        {"group": group, "user": user, "role": chance.choice(["MEMBER", "OWNER"]), "createdAt": NOW}
        for group in groups
        for user in users
        if chance.random() < 0.3
    ]
    _store(database, users, groups, links)
    return {"users": users, "groups": groups, "links": links}


@pytest.mark.sqlite
@pytest.mark.usefixtures("without_replay")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.slow
async def test_compiled_and_interpreted_responses_equal_the_reference(executor, stored, database, seed):
    chance, reference = random.Random(2026 + seed), Reference(stored)
    queries = [QueryGenerator(chance).query() for _ in range(125)]

    async with Directory(str(database)) as directory:
        for query, variables in queries:
            compiled = await executor.run(GraphQLRequest(query, variables), directory, ADMIN)
            repeated = await executor.run(GraphQLRequest(query, variables), directory, ADMIN)
            executed = await executor.run(GraphQLRequest(query, variables), directory, ADMIN, interpreted=True)

            assert repeated == compiled, query
            assert json.loads(executed) == json.loads(compiled), query
            assert ordered(executed) == ordered(compiled), query
            assert _without_cursors(json.loads(compiled)) == reference.response(query, variables), query


@pytest.mark.sqlite
async def test_a_cached_document_uses_the_values_of_each_request(executor, stored, database):
    users = "users(first: $n, filter: $f) { nodes { age id @skip(if: $s) } }"
    query = f"query($n: Int, $f: UserFilter, $s: Boolean!) {{ {users} }}"
    requests: list[dict[str, Any]] = [
        {"n": 2, "s": False},
        {"n": 3, "s": True},
        {"n": None, "s": False, "f": {"age": {"gte": 5}}},
        {"n": 40, "s": False, "f": {"age": {"gte": 9}}},
        {"n": 40, "s": False, "f": {"age": {"lt": 2}, "active": {"eq": True}}},
    ]
    reference = Reference(stored)

    async with Directory(str(database)) as directory:
        for variables in [*requests, *reversed(requests)]:
            response = json.loads(await executor.run(GraphQLRequest(query, variables), directory, ADMIN))

            assert response == reference.response(query, variables)


@pytest.mark.sqlite
async def test_queries_of_tests_are_replayed_through_graphql_core(query_replay, executor, stored, database):
    before = query_replay.count
    async with Directory(str(database)) as directory:
        await executor.run(GraphQLRequest("{ users { nodes { id } } }", {}), directory, ADMIN)
        await executor.run(GraphQLRequest("{ __schema { types { name } } }", {}), directory, ADMIN)

    assert query_replay.count == before + 1


@pytest.mark.sqlite
async def test_root_fields_share_one_snapshot(executor, stored, database):
    statements: list[str] = []
    query = "{ a: users(first: 1) { totalCount } b: groups(first: 1) { nodes { name } } }"

    async with Directory(str(database), on_statement=REPLAY.quiet(statements.append)) as directory:
        statements.clear()
        await executor.run(GraphQLRequest(query, {}), directory, ADMIN)

    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT", "SELECT", "ROLLBACK"]


class QueryGenerator:
    """Generates random queries."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.fragments: dict[str, str] = {}
        self.variables: dict[str, tuple[str, Any]] = {}

    def query(self) -> tuple[str, dict[str, Any]]:
        text = "{ " + " ".join(self.root(number) for number in range(self.chance.randint(1, 3))) + " }"
        while missing := [name for name in set(re.findall(r"\.\.\.(F\d+)", text)) if f"fragment {name} " not in text]:
            text += " " + self.fragments[missing[0]]
        used = {name: self.variables[name] for name in sorted(set(re.findall(r"\$(v\d+)", text)))}
        declared = ", ".join(f"${name}: {type}" for name, (type, _) in used.items())
        return f"query{f'({declared})' if declared else ''} {text}", {name: value for name, (_, value) in used.items()}

    def root(self, number: int) -> str:
        field = self.chance.choice(["users", "groups", "user", "__typename"])
        if field == "__typename":
            return f"r{number}: __typename"
        if field == "user":
            id = f"00000000-0000-7000-8000-{self.chance.randint(0, 45):012}"
            return f"r{number}: user(id: {self.value('ID!', id)}) {self.record('User', 3)}"
        return f"r{number}: {field}{self.arguments(field, root=True)} {self.connection(field, 3)}"

    def value(self, type: str, value: Any) -> str:
        """A literal, or a variable that holds it."""
        if self.chance.random() < 0.5:
            return json.dumps(value)
        name = f"v{len(self.variables)}"
        self.variables[name] = (type, value)
        return f"${name}"

    def arguments(self, field: str, *, root: bool) -> str:
        arguments = [f"{self.chance.choice(['first', 'last'])}: {self.value('Int', self.chance.randint(0, 12))}"]
        if field in ("users", "members") and self.chance.random() < 0.5:
            arguments.append(f"filter: {self.filter(2)}")
        if field in ("users", "members") and self.chance.random() < 0.2:
            arguments.append(f"q: {self.value('String', self.chance.choice(SEARCHES))}")
        if root and field == "users" and self.chance.random() < 0.5:
            sort_field, direction = (
                self.chance.choice(["AGE", "FIRST_NAME", "LAST_NAME", "ID"]),
                self.chance.choice(["ASC", "DESC"]),
            )
            arguments.append(f"sort: [{{field: {sort_field}, direction: {direction}}}]")
        return f"({', '.join(arguments)})" if self.chance.random() < 0.9 else ""

    def filter(self, depth: int) -> str:
        choices = [
            f"age: {{gte: {self.value('Int', self.chance.randint(0, 9))}}}",
            f"age: {{lt: {self.chance.randint(0, 9)}, gte: {self.chance.randint(0, 4)}}}",
            f"active: {{eq: {self.value('Boolean', self.chance.random() < 0.5)}}}",
            f"lastName: {{isnull: {self.chance.choice(['true', 'false'])}}}",
            f"firstName: {{contains: {self.value('String', self.chance.choice(PARTS))}}}",
            f'lastName: {{contains: {self.value("String", self.chance.choice(PARTS))}, startswith: "z"}}',
            f"firstName: {{in: {json.dumps(self.chance.sample(NAMES, 2), ensure_ascii=False)}}}",
        ]
        if depth:
            choices += [f"not: {self.filter(depth - 1)}", f"or: [{self.filter(depth - 1)}, {self.filter(depth - 1)}]"]
            choices += [f"and: [{self.filter(depth - 1)}, {self.filter(depth - 1)}]", "or: []", "and: []"]
        return f"{{{self.chance.choice(choices)}}}"

    def connection(self, field: str, depth: int) -> str:
        target = "User" if field in ("users", "members") else "Group"
        own = " role createdAt" if field in ("members", "groups") and depth < 3 else ""
        parts = [
            "totalCount",
            "info: pageInfo { hasNextPage hasPreviousPage __typename startCursor }",
            "pageInfo { endCursor hasNextPage }",
            f"nodes {self.record(target, depth - 1)}",
            f"edges {{ cursor e: __typename node {self.record(target, depth - 1)}{own} }}",
            f"again: edges {{ node {{ id }}{own} }}",
            "__typename",
        ]
        return f"{{ {' '.join(self.chance.sample(parts, self.chance.randint(1, 4)))} }}"

    def record(self, type: str, depth: int) -> str:
        fields = {"User": ["id", "firstName", "lastName", "age", "active", "createdAt", "v: version"]}
        parts = self.chance.sample(fields.get(type, ["id", "name", "description", "n: name", "active"]), 3)
        parts += ["__typename"] if self.chance.random() < 0.3 else []
        if depth > 0 and self.chance.random() < 0.6:
            name = "groups" if type == "User" else "members"
            parts.append(f"{name}{self.arguments(name, root=False)} {self.connection(name, depth - 1)}")
        if self.chance.random() < 0.3:
            parts[0] += f" @include(if: {self.value('Boolean!', self.chance.random() < 0.5)})"
        if self.chance.random() < 0.3:
            name = f"F{len(self.fragments)}"
            self.fragments[name] = f"fragment {name} on {type} {{ {parts.pop(1)} id }}"
            parts.append(f"...{name}")
        if self.chance.random() < 0.3:
            parts.append(f"... on Node {{ id }} ... {{ last: {'firstName' if type == 'User' else 'name'} }}")
        return f"{{ {' '.join(parts)} id }}"


class Reference:
    """The same schema over lists of dictionaries, executed by graphql-core alone. Cursors are null."""

    def __init__(self, stored: dict[str, list[dict[str, Any]]]) -> None:
        self.schema = build_schema(SCHEMA.sdl())
        types: Any = self.schema.type_map
        query: Any = self.schema.query_type
        users, groups, links = stored["users"], stored["groups"], stored["links"]
        for name in ("UserEdge", "GroupEdge", "UserGroupEdge", "GroupMemberEdge"):
            types[name].fields["cursor"].type = types["String"]
        query.fields["users"].resolve = lambda _, info, **sent: page([(user, {}) for user in users], sent, root=True)
        query.fields["groups"].resolve = lambda _, info, **sent: page([(group, {}) for group in groups], sent)
        query.fields["user"].resolve = lambda _, info, id: next((user for user in users if user["id"] == id), None)
        types["User"].fields["groups"].resolve = lambda user, info, **sent: page(
            [(link["group"], link) for link in links if link["user"] is user], sent
        )
        types["Group"].fields["members"].resolve = lambda group, info, **sent: page(
            [(link["user"], link) for link in links if link["group"] is group], sent
        )

    def response(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        result = execute_sync(self.schema, parse(query), variable_values=variables)
        assert not result.errors, result.errors
        return {"data": result.data}


def page(
    rows: list[tuple[dict[str, Any], dict[str, Any]]], sent: dict[str, Any], *, root: bool = False
) -> dict[str, Any]:
    """A connection, computed without any index."""
    matching = (row for row in rows if holds(row[0], sent.get("filter")) and has_words(row[0], sent.get("q")))
    records = sorted(matching, key=lambda row: row[0]["id"])
    if root and not sent.get("sort"):
        comparisons = list(required(sent.get("filter") or {}))
        if ("lastName", "startswith") in comparisons:
            records.sort(key=lambda row: ((row[0]["lastName"] or "").lower(), row[0]["id"]))
        elif not_null(comparisons):
            records.sort(key=lambda row: (row[0]["lastName"], row[0]["id"]))
        elif any(name == "age" for name, _ in comparisons):
            records.sort(key=lambda row: (row[0]["age"], row[0]["id"]))
    for order in sent.get("sort") or []:
        field = {"AGE": "age", "FIRST_NAME": "firstName", "LAST_NAME": "lastName", "ID": "id"}[order["field"]]
        records.sort(
            key=lambda row: (row[0][field] is not None, row[0][field], row[0]["id"]),
            reverse=order["direction"] == "DESC",
        )
    first, last = sent.get("first"), sent.get("last")
    size = next((number for number in (first, last) if number is not None), 20)
    part = records[:size] if last is None else records[max(0, len(records) - size) :]
    more = len(records) > len(part)
    info = {"hasNextPage": more and last is None, "hasPreviousPage": more and last is not None}
    edges = [
        {"node": node, "cursor": None, **{key: link.get(key) for key in ("role", "createdAt")}} for node, link in part
    ]
    return {"totalCount": len(records), "pageInfo": info, "nodes": [node for node, _ in part], "edges": edges}


def required(filter: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields and operators of the comparisons that every record must match."""
    for name, value in filter.items():
        if name == "and":
            for part in value:
                yield from required(part)
        elif name not in ("or", "not"):
            yield from ((name, "notnull" if sent is False else operator) for operator, sent in value.items())


def not_null(comparisons: list[tuple[str, str]]) -> bool:
    return ("lastName", "notnull") in comparisons


def has_words(record: dict[str, Any], words: str | None) -> bool:
    """Whether each word occurs in one of the searchable fields."""
    texts = [(record.get(name) or "").lower() for name in ("firstName", "lastName", "name", "description")]
    return all(any(word in text for text in texts) for word in (words or "").lower().split())


def holds(user: dict[str, Any], filter: dict[str, Any] | None) -> bool:
    """Whether a record matches a filter."""
    comparisons = {
        "eq": lambda stored, value: stored == value,
        "gte": lambda stored, value: stored >= value,
        "contains": lambda stored, value: stored is not None and value.lower() in stored.lower(),
        "startswith": lambda stored, value: stored is not None and stored.lower().startswith(value.lower()),
        "lt": lambda stored, value: stored < value,
        "in": lambda stored, value: stored in value,
        "isnull": lambda stored, value: (stored is None) is value,
    }
    for name, value in (filter or {}).items():
        if name == "not":
            held = not holds(user, value)
        elif name in ("and", "or"):
            held = (all if name == "and" else any)(holds(user, part) for part in value)
        else:
            held = all(comparisons[operator](user[name], sent) for operator, sent in value.items())
        if not held:
            return False
    return True


def _without_cursors(value: Any) -> Any:
    """The response with its cursors set to null."""
    if isinstance(value, dict):
        hidden = ("cursor", "startCursor", "endCursor")
        return {key: None if key in hidden else _without_cursors(part) for key, part in value.items()}
    return [_without_cursors(part) for part in value] if isinstance(value, list) else value


def _store(path: Path, users: list[dict[str, Any]], groups: list[dict[str, Any]], links: list[dict[str, Any]]) -> None:
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO user (id, first_name, first_name_key, last_name, last_name_key, age, active, created_at,"
            " updated_at, version) VALUES (:id, :firstName, :firstKey, :lastName, :lastKey, :age,"
            " :active, :createdAt, :updatedAt, :version)",
            [{**user, "firstKey": lower_case(user["firstName"]), "lastKey": _key(user["lastName"])} for user in users],
        )
        connection.executemany(
            'INSERT INTO "group" (id, name, name_key, active, created_at, updated_at, version) VALUES (:id, :name,'
            " lower(:name), :active, :createdAt, :updatedAt, :version)",
            groups,
        )
        connection.executemany(
            "INSERT INTO membership (group_id, user_id, role, created_at) VALUES (?, ?, ?, ?)",
            [(link["group"]["id"], link["user"]["id"], link["role"].lower(), NOW) for link in links],
        )
    connection.close()


def _key(text: str | None) -> str | None:
    return None if text is None else lower_case(text)
