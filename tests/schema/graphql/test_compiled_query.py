"""A query's answer is the same however it comes about: written from the plan, run by graphql-core over what the plan
brought, or interpreted field by field over plain Python lists, which know nothing of plans.

The queries are made at random from the schema's own words: aliases, fragments, directives, variables, nested lists.
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
from schema.graphql.execution import executor as execution
from schema.graphql.execution.executor import Executor, Request
from schema.graphql.schema import make_schema
from schema.models import MODELS, User
from tests.fixtures.query_replay import REPLAY, ordered

ADMIN = Actor(roles=frozenset({"admin"}))
NOW = "2026-11-22T09:30:00.000000Z"
NAMES = ["Ada", "Émile", "Zoë", "李", "o'Neil", 'q"uote', "back\\slash", "😀"]
PARTS = ["ADA", "Émi", "mil", "NEI", "slash", "\\sl", 'q"u', "zzz"]
SEARCHES = ["ada", "mile", "ZO zoë", "o neil", 'te"', "slash ck\\", "zzz", "ada a d"]


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))


@pytest.fixture
def stored(database: Path) -> dict[str, list[dict[str, Any]]]:
    """A small directory, as lists of dictionaries in GraphQL's words, and in the test's database."""
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
@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("seed", range(8))
async def test_written_run_and_interpreted_answers_are_equal(executor, stored, database, monkeypatch, seed):
    chance, interpreted = random.Random(2026 + seed), Interpreter(executor, stored)
    queries = [Writer(chance).query() for _ in range(125)]

    async with Directory(str(database)) as directory:
        for query, variables in queries:
            written = await executor.run(Request(query, variables), directory, ADMIN)
            again = await executor.run(Request(query, variables), directory, ADMIN)
            with monkeypatch.context() as patched:
                patched.setattr(execution, "_written", lambda context, roots: None)
                ran = await executor.run(Request(query, variables), directory, ADMIN)

            assert again == written, query
            assert json.loads(ran) == json.loads(written), query
            assert ordered(ran) == ordered(written), query
            assert _without_cursors(json.loads(written)) == interpreted.answer(query, variables), query


@pytest.mark.sqlite
async def test_a_known_document_answers_each_request_with_its_own_values(executor, stored, database):
    users = "users(first: $n, filter: $f) { nodes { age id @skip(if: $s) } }"
    query = f"query($n: Int, $f: UserFilter, $s: Boolean!) {{ {users} }}"
    asked: list[dict[str, Any]] = [
        {"n": 2, "s": False},
        {"n": 3, "s": True},
        {"n": None, "s": False, "f": {"age": {"gte": 5}}},
        {"n": 40, "s": False, "f": {"age": {"gte": 9}}},
        {"n": 40, "s": False, "f": {"age": {"lt": 2}, "active": {"eq": True}}},
    ]
    interpreted = Interpreter(executor, stored)

    async with Directory(str(database)) as directory:
        for variables in [*asked, *reversed(asked)]:
            answer = json.loads(await executor.run(Request(query, variables), directory, ADMIN))

            assert answer == interpreted.answer(query, variables)


@pytest.mark.sqlite
async def test_what_tests_ask_is_asked_both_ways(replayed, executor, stored, database):
    before = replayed.count
    async with Directory(str(database)) as directory:
        await executor.run(Request("{ users { nodes { id } } }", {}), directory, ADMIN)
        await executor.run(Request("{ __schema { types { name } } }", {}), directory, ADMIN)

    assert replayed.count == before + 1


@pytest.mark.sqlite
async def test_two_roots_see_the_same_moment_in_one_trip(executor, stored, database):
    statements: list[str] = []
    query = "{ a: users(first: 1) { totalCount } b: groups(first: 1) { nodes { name } } }"

    async with Directory(str(database), watch=REPLAY.quiet(statements.append)) as directory:
        statements.clear()
        await executor.run(Request(query, {}), directory, ADMIN)

    assert [statement.split()[0] for statement in statements] == ["BEGIN", "SELECT", "SELECT", "ROLLBACK"]


class Writer:
    """Writes queries at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.fragments: dict[str, str] = {}
        self.variables: dict[str, tuple[str, Any]] = {}

    def query(self) -> tuple[str, dict[str, Any]]:
        text = "{ " + " ".join(self.root(number) for number in range(self.chance.randint(1, 3))) + " }"
        while missing := [name for name in set(re.findall(r"\.\.\.(F\d+)", text)) if f"fragment {name} " not in text]:
            text += " " + self.fragments[missing[0]]
        used = {name: self.variables[name] for name in sorted(set(re.findall(r"\$(v\d+)", text)))}
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in used.items())
        return f"query{f'({declared})' if declared else ''} {text}", {name: value for name, (_, value) in used.items()}

    def root(self, number: int) -> str:
        kind = self.chance.choice(["users", "groups", "user", "__typename"])
        if kind == "__typename":
            return f"r{number}: __typename"
        if kind == "user":
            id = f"00000000-0000-7000-8000-{self.chance.randint(0, 45):012}"
            return f"r{number}: user(id: {self.value('ID!', id)}) {self.record('User', 3)}"
        return f"r{number}: {kind}{self.arguments(kind, root=True)} {self.connection(kind, 3)}"

    def value(self, kind: str, value: Any) -> str:
        """A literal, or a variable that holds it."""
        if self.chance.random() < 0.5:
            return json.dumps(value)
        name = f"v{len(self.variables)}"
        self.variables[name] = (kind, value)
        return f"${name}"

    def arguments(self, kind: str, *, root: bool) -> str:
        found = [f"{self.chance.choice(['first', 'last'])}: {self.value('Int', self.chance.randint(0, 12))}"]
        if kind in ("users", "members") and self.chance.random() < 0.5:
            found.append(f"filter: {self.filter(2)}")
        if kind in ("users", "members") and self.chance.random() < 0.2:
            found.append(f"q: {self.value('String', self.chance.choice(SEARCHES))}")
        if root and kind == "users" and self.chance.random() < 0.5:
            field, way = (
                self.chance.choice(["AGE", "FIRST_NAME", "LAST_NAME", "ID"]),
                self.chance.choice(["ASC", "DESC"]),
            )
            found.append(f"sort: [{{field: {field}, direction: {way}}}]")
        return f"({', '.join(found)})" if self.chance.random() < 0.9 else ""

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

    def connection(self, kind: str, depth: int) -> str:
        target = "User" if kind in ("users", "members") else "Group"
        own = " role createdAt" if kind in ("members", "groups") and depth < 3 else ""
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

    def record(self, kind: str, depth: int) -> str:
        fields = {"User": ["id", "firstName", "lastName", "age", "active", "createdAt", "v: version"]}
        parts = self.chance.sample(fields.get(kind, ["id", "name", "description", "n: name", "active"]), 3)
        parts += ["__typename"] if self.chance.random() < 0.3 else []
        if depth > 0 and self.chance.random() < 0.6:
            name = "groups" if kind == "User" else "members"
            parts.append(f"{name}{self.arguments(name, root=False)} {self.connection(name, depth - 1)}")
        if self.chance.random() < 0.3:
            parts[0] += f" @include(if: {self.value('Boolean!', self.chance.random() < 0.5)})"
        if self.chance.random() < 0.3:
            name = f"F{len(self.fragments)}"
            self.fragments[name] = f"fragment {name} on {kind} {{ {parts.pop(1)} id }}"
            parts.append(f"...{name}")
        if self.chance.random() < 0.3:
            parts.append(f"... on Node {{ id }} ... {{ last: {'firstName' if kind == 'User' else 'name'} }}")
        return f"{{ {' '.join(parts)} id }}"


class Interpreter:
    """The same schema over lists of dictionaries, run by graphql-core alone. Cursors are null."""

    def __init__(self, executor: Executor, stored: dict[str, list[dict[str, Any]]]) -> None:
        self.schema = build_schema(executor._face.sdl())
        kinds: Any = self.schema.type_map
        query: Any = self.schema.query_type
        users, groups, links = stored["users"], stored["groups"], stored["links"]
        for name in ("UserEdge", "GroupEdge", "UserGroupEdge", "GroupMemberEdge"):
            kinds[name].fields["cursor"].type = kinds["String"]
        query.fields["users"].resolve = lambda _, info, **given: page([(user, {}) for user in users], given, root=True)
        query.fields["groups"].resolve = lambda _, info, **given: page([(group, {}) for group in groups], given)
        query.fields["user"].resolve = lambda _, info, id: next((user for user in users if user["id"] == id), None)
        kinds["User"].fields["groups"].resolve = lambda user, info, **given: page(
            [(link["group"], link) for link in links if link["user"] is user], given
        )
        kinds["Group"].fields["members"].resolve = lambda group, info, **given: page(
            [(link["user"], link) for link in links if link["group"] is group], given
        )

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        result = execute_sync(self.schema, parse(query), variable_values=variables)
        assert not result.errors, result.errors
        return {"data": result.data}


def page(
    rows: list[tuple[dict[str, Any], dict[str, Any]]], given: dict[str, Any], *, root: bool = False
) -> dict[str, Any]:
    """A connection, worked out the slow way."""
    held = (row for row in rows if holds(row[0], given.get("filter")) and has_words(row[0], given.get("q")))
    found = sorted(held, key=lambda row: row[0]["id"])
    if root and not given.get("sort"):
        asked = list(required(given.get("filter") or {}))
        if ("lastName", "startswith") in asked:
            found.sort(key=lambda row: ((row[0]["lastName"] or "").lower(), row[0]["id"]))
        elif not_null(asked):
            found.sort(key=lambda row: (row[0]["lastName"], row[0]["id"]))
        elif any(name == "age" for name, _ in asked):
            found.sort(key=lambda row: (row[0]["age"], row[0]["id"]))
    for order in given.get("sort") or []:
        field = {"AGE": "age", "FIRST_NAME": "firstName", "LAST_NAME": "lastName", "ID": "id"}[order["field"]]
        found.sort(
            key=lambda row: (row[0][field] is not None, row[0][field], row[0]["id"]),
            reverse=order["direction"] == "DESC",
        )
    first, last = given.get("first"), given.get("last")
    size = next((asked for asked in (first, last) if asked is not None), 20)
    part = found[:size] if last is None else found[max(0, len(found) - size) :]
    more = len(found) > len(part)
    info = {"hasNextPage": more and last is None, "hasPreviousPage": more and last is not None}
    edges = [
        {"node": node, "cursor": None, **{key: link.get(key) for key in ("role", "createdAt")}} for node, link in part
    ]
    return {"totalCount": len(found), "pageInfo": info, "nodes": [node for node, _ in part], "edges": edges}


def required(asked: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields and operators of the comparisons that every record has to stand."""
    for name, value in asked.items():
        if name == "and":
            for part in value:
                yield from required(part)
        elif name not in ("or", "not"):
            yield from ((name, "notnull" if it is False else operator) for operator, it in value.items())


def not_null(asked: list[tuple[str, str]]) -> bool:
    return ("lastName", "notnull") in asked


def has_words(record: dict[str, Any], words: str | None) -> bool:
    """Whether each of the words is somewhere in a text that is searched."""
    texts = [(record.get(name) or "").lower() for name in ("firstName", "lastName", "name", "description")]
    return all(any(word in text for text in texts) for word in (words or "").lower().split())


def holds(user: dict[str, Any], asked: dict[str, Any] | None) -> bool:
    """Whether a record is what a filter asks for."""
    comparisons = {
        "eq": lambda mine, value: mine == value,
        "gte": lambda mine, value: mine >= value,
        "contains": lambda mine, value: mine is not None and value.lower() in mine.lower(),
        "startswith": lambda mine, value: mine is not None and mine.lower().startswith(value.lower()),
        "lt": lambda mine, value: mine < value,
        "in": lambda mine, value: mine in value,
        "isnull": lambda mine, value: (mine is None) is value,
    }
    for name, value in (asked or {}).items():
        if name == "not":
            held = not holds(user, value)
        elif name in ("and", "or"):
            held = (all if name == "and" else any)(holds(user, part) for part in value)
        else:
            held = all(comparisons[operator](user[name], it) for operator, it in value.items())
        if not held:
            return False
    return True


def _without_cursors(value: Any) -> Any:
    """The answer with its cursors made null."""
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
