"""The access table holds on every path of both APIs.

A private field cannot be inferred from filters, sorts, cursors, counts or errors. Credentials are real.
Paths, fields and operations come from the two schemas, so a new one without a place in the table fails here. Thousands
of requests are generated from a fixed seed, and each response is compared with the table.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLScalarType,
    build_client_schema,
    get_introspection_query,
    get_named_type,
)
from starlette.testclient import TestClient

from api.app import create_app
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures.access_oracle import (
    AUTHENTICATED_ONLY,
    FIELDS,
    READS,
    RELATIONS,
    RESOURCES,
    WRITES,
    Caller,
    DatabaseState,
    Row,
    populate,
)
from tests.fixtures.clients import camel, snake
from tests.fixtures.credentials import bearer, key, production, token
from tests.fixtures.people import sort_key

UNKNOWN = "0000ffff-2222-7222-8222-222222222222"
KINDS = list(FIELDS)
EACH = 60


def callers_of(database):
    """Return all actors, each with a credential of its own."""
    ids = [f"0000000{number}-1222-7222-8222-222222222222" for number in range(4)]
    people = [Caller(f"person {number}", bearer(token(sub=f"ext-{number}")), id) for number, id in enumerate(ids)]
    with_roles = [
        Caller(f"{role}, a person", bearer(token(sub="ext-3", roles=[role])), ids[3], frozenset({role}))
        for role in ("reader", "editor")
    ]
    unknown_subjects = [
        Caller(f"no user, {role or 'nothing'}", bearer(token(sub=f"zed-{role}", roles=[role])), None, roles(role))
        for role in ("", "boss", "reader", "admin")
    ]
    keys = [
        Caller(f"key, {role}", bearer(key(database, role)), None, roles(role)) for role in ("reader", "editor", "admin")
    ]
    scoped = [
        Caller(f"key, {role}, {kept}", bearer(key(database, role, scopes=kept)), None, roles(role), frozenset([kept]))
        for role, kept in (("admin", "read"), ("admin", "users:read"), ("editor", "groups:write"), ("reader", "write"))
    ]  # fmt: skip
    unauthenticated = [
        Caller("no credential", authenticated=False),
        Caller("an invalid key", bearer("tdm_1_2"), authenticated=False),
    ]
    return [*people, *with_roles, *unknown_subjects, *keys, *scoped, *unauthenticated]


def roles(role):
    return frozenset({role}) & {"reader", "editor", "admin"}


@pytest.fixture(scope="module")
def database_file(template, tmp_path_factory):
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("policy") / "tandem.db"))
    populate(path, random.Random(4))
    return path


@pytest.fixture(scope="module")
def callers(database_file):
    return callers_of(database_file)


@pytest.fixture(scope="module")
def http_client(database_file):
    with TestClient(create_app(production(database_file)), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(callers):
    return next(caller for caller in callers if caller.name == "key, admin")


@pytest.fixture(scope="module")
def schema(http_client, admin):
    body = {"query": get_introspection_query()}
    return build_client_schema(http_client.post("/graphql", json=body, headers=admin.headers).json()["data"])


@pytest.fixture(scope="module")
def document(http_client):
    return http_client.get("/openapi.json").json()


# The table covers all of both schemas.


@pytest.mark.slow
def test_the_table_covers_every_field(schema, document):
    records = {name for name, kind in schema.type_map.items() if "Node" in interfaces(kind)}
    shown = {
        name for name, item in document["components"]["schemas"].items() if "version" in item.get("properties", {})
    }

    assert records == set(FIELDS)
    assert shown == {*FIELDS, "KeyCreated"}
    for kind in FIELDS:
        in_graphql = {snake(name) for name in schema.type_map[kind].fields}
        assert in_graphql == set(FIELDS[kind]) | RELATIONS[kind]
        assert set(document["components"]["schemas"][kind]["properties"]) == set(FIELDS[kind])


def interfaces(kind):
    return {interface.name for interface in kind.interfaces} if isinstance(kind, GraphQLObjectType) else set()


def test_the_table_covers_every_operation(schema, document):
    operations = {item["operationId"] for path in document["paths"].values() for item in path.values()}
    writes = {name for name, _ in WRITES.values() if name}

    assert operations - AUTHENTICATED_ONLY == READS | writes
    assert set(schema.mutation_type.fields) == {name for _, name in WRITES.values()}
    fields = {name for plural in RESOURCES.values() for name in (plural, plural.removesuffix("s"))}
    assert set(schema.query_type.fields) - AUTHENTICATED_ONLY == {*fields, "me", "node", "nodes"}


# GraphQL: random queries, whose responses are compared with the table.


@dataclass
class Pick:
    """A field of a query, under its key."""

    key: str
    name: str
    arguments: str = ""
    below: list[Pick] = field(default_factory=list)
    meant: Any = None

    def __str__(self):
        inner = f" {{ {' '.join(map(str, self.below))} }}" if self.below else ""
        alias = "" if self.key == self.name else f"{self.key}: "
        return f"{alias}{self.name}{self.arguments}{inner}"


class Author:
    """Makes up queries."""

    def __init__(self, schema, state, chance):
        self.schema, self.state, self.chance = schema, state, chance
        self.count = 0

    def query(self):
        names = [name for name in self.schema.query_type.fields if name not in AUTHENTICATED_ONLY]
        return [self.root(self.chance.choice(names))]

    def root(self, name):
        kind = get_named_type(self.schema.query_type.fields[name].type)
        pick = self.pick(name)
        if name == "me":
            pick.below = self.record("User", 1)
        elif name in ("node", "nodes"):
            ids = [self.id(self.chance.choice(KINDS)) for _ in range(4)]
            pick.meant = ids if name == "nodes" else ids[0]
            pick.arguments = f"(ids: [{', '.join(map(quoted, ids))}])" if name == "nodes" else f"(id: {quoted(ids[0])})"
            pick.below = [Pick("__typename", "__typename"), Pick("id", "id")]
        elif kind.name.endswith("Connection"):
            pick.meant, pick.arguments = self.wish(kind.name.removesuffix("Connection"))
            pick.below = self.page(kind, 0)
        else:
            pick.meant = self.id(kind.name)
            pick.arguments = f"(id: {quoted(pick.meant)})"
            pick.below = self.record(kind.name, 0)
        return pick

    def pick(self, name):
        self.count += 1
        return Pick(self.chance.choice([*[name] * 9, f"a{self.count}"]), name)

    def id(self, kind):
        return self.chance.choice([*self.state.records[kind], UNKNOWN])

    def record(self, kind, depth):
        """Some fields of a record, and some of what is below it."""
        fields = self.schema.type_map[kind].fields
        result = [Pick("id", "id"), Pick("__typename", "__typename")]
        for name, definition in self.chance.sample(list(fields.items()), self.chance.randrange(1, len(fields))):
            inner = get_named_type(definition.type)
            if isinstance(inner, GraphQLScalarType | GraphQLEnumType):
                result.append(self.pick(name))
            elif depth < 2:
                pick = self.pick(name)
                pick.arguments, pick.below = "(first: 12)", self.page(inner, depth + 1)
                result.append(pick)
        return once(result)

    def page(self, kind, depth):
        """Some of a connection."""
        target = get_named_type(kind.fields["nodes"].type).name
        result = []
        for name in self.chance.sample(["nodes", "edges", "totalCount"], self.chance.randrange(1, 4)):
            pick = self.pick(name)
            if name == "nodes":
                pick.below = self.record(target, depth)
            elif name == "edges":
                edge = get_named_type(kind.fields["edges"].type)
                own = [Pick(name, name) for name in edge.fields if name in ("role",)]
                pick.below = [Pick("node", "node", below=self.record(target, depth)), *own]
            result.append(pick)
        return once(result)

    def wish(self, kind):
        """A filter or an order of a list, and how it is written."""
        if self.chance.random() < 0.4:
            return ("all", None, None, None), "(first: 12)"
        if self.chance.random() < 0.4:
            by = self.chance.choice(list(self.schema.type_map[f"{kind}SortField"].values))
            down = self.chance.random() < 0.5
            direction = "DESC" if down else "ASC"
            return ("sort", by.lower(), down, None), f"(first: 12, sort: [{{field: {by}, direction: {direction}}}])"
        comparisons = self.schema.type_map[f"{kind}Filter"].fields
        names = [
            name for name, field in comparisons.items() if "eq" in getattr(get_named_type(field.type), "fields", ())
        ]
        name = self.chance.choice(names)
        value = self.chance.choice([row[snake(name)] for row in self.state.records[kind].values()])
        kinds = get_named_type(comparisons[name].type)
        assert isinstance(kinds, GraphQLInputObjectType)
        if value is None:
            return ("isnull", snake(name), None, None), f"(first: 12, filter: {{{name}: {{isnull: true}}}})"
        written = value.upper() if name == "role" else written_down(value)
        wrapped = f"{{{name}: {{eq: {written}}}}}"
        deep = self.chance.choice(
            [wrapped, f"{{and: [{wrapped}]}}", f"{{or: [{wrapped}]}}", f"{{not: {{not: {wrapped}}}}}"]
        )
        return ("eq", snake(name), value, None), f"(first: 12, filter: {deep})"


def once(picks):
    """No key twice."""
    return list({pick.key: pick for pick in picks}.values())


def quoted(text):
    return f'"{text}"'


def written_down(value):
    return quoted(value) if isinstance(value, str) else str(value).lower()


class Judge:
    """Compares responses with the table."""

    def __init__(self, caller: Caller, state: DatabaseState) -> None:
        self.caller, self.state = caller, state

    def root(self, pick: Pick, result: Any, errors: list[Row]) -> None:
        if pick.name in ("node", "nodes"):
            self.nodes(pick, result)
        elif pick.name == "me":
            self.single(pick, "User", self.caller.person, result)
        elif pick.name in RESOURCES.values():
            kind = next(kind for kind, plural in RESOURCES.items() if plural == pick.name)
            self.listed(pick, kind, result, errors)
        else:
            self.single(pick, pick.name.capitalize(), pick.meant, result)

    def nodes(self, pick: Pick, result: Any) -> None:
        ids = pick.meant if pick.name == "nodes" else [pick.meant]
        for id, node in zip(ids, result if pick.name == "nodes" else [result], strict=True):
            kind = next((kind for kind in KINDS if id in self.state.records[kind]), None)
            if kind and self.caller.may_see(kind) and self.caller.scopes_allow(kind, "read"):
                assert node == {"__typename": kind, "id": id}
            else:
                assert node is None

    def single(self, pick: Pick, kind: str, id: str | None, result: Any) -> None:
        if id in self.state.records[kind] and self.caller.may_see(kind):
            self.record(pick.below, kind, self.state.records[kind][id], result)
        else:
            assert result is None

    def listed(self, pick: Pick, kind: str, result: Any, errors: list[Row]) -> None:
        word, name, value, _ = pick.meant
        private = name is not None and FIELDS[kind][name]
        if not self.caller.may_see(kind) or (private and not self.caller.staff):
            assert result is None
            assert {error["extensions"]["code"] for error in errors} == {"FORBIDDEN"}
            return
        rows = sorted(self.state.records[kind].values(), key=lambda row: str(row["id"]))
        if word == "sort":
            rows.sort(key=lambda row: sort_key(row, [name]), reverse=value)
        elif word != "all":
            rows = [row for row in rows if row[name] == value]
        self.page(pick, kind, [(row, None) for row in rows], result)

    def page(self, pick: Pick, kind: str, rows: list[tuple[Row, str | None]], result: Row) -> None:
        for below in pick.below:
            got = result[below.key]
            if below.name == "totalCount":
                assert got == len(rows)
            else:
                assert len(got) == len(rows)
                for (row, role), item in zip(rows, got, strict=True):
                    if below.name == "nodes":
                        self.record(below.below, kind, row, item)
                    else:
                        self.edge(below, kind, row, role, item)

    def edge(self, pick: Pick, kind: str, row: Row, role: str | None, result: Row) -> None:
        for below in pick.below:
            if below.name == "node":
                self.record(below.below, kind, row, result["node"])
            else:
                assert result[below.key] == (role or "").upper()

    def record(self, picks: list[Pick], kind: str, row: Row, result: Row) -> None:
        view = self.caller.view(kind, row)
        for pick in picks:
            got = result[pick.key]
            if pick.name == "__typename":
                assert got == kind
            elif pick.below:
                related = "User" if kind == "Group" else "Group"
                self.page(pick, related, list(self.state.below(kind, row["id"])), got)
            else:
                expected = view[snake(pick.name)]
                assert got == (expected.upper() if pick.name == "role" else expected), (kind, pick.name)


@pytest.mark.parametrize("turn", range(20))
@pytest.mark.slow
def test_random_queries_return_what_the_table_allows(http_client, schema, database_file, callers, turn):
    state, chance = DatabaseState.read(database_file), random.Random(turn)
    author, known = Author(schema, state, chance), [caller for caller in callers if caller.authenticated]
    for _ in range(EACH):
        caller, picks = chance.choice(known), author.query()
        query = f"{{ {' '.join(map(str, picks))} }}"

        response = http_client.post("/graphql", json={"query": query}, headers=caller.headers).json()

        errors = response.get("errors", [])
        if any(not caller.scopes_allow(kind, "read") for kind in kinds_in(picks)):
            assert {error["extensions"]["code"] for error in errors} == {"FORBIDDEN"}, (caller.name, query)
            assert not any((response["data"] or {}).values())
            continue
        for pick in picks:
            Judge(caller, state).root(pick, (response.get("data") or {}).get(pick.key), errors)


def kinds_in(picks):
    """The kinds of records that a query leads to; `node` and `nodes` lead to whatever there is."""
    for pick in picks:
        if pick.name in RESOURCES.values():
            yield next(kind for kind, plural in RESOURCES.items() if plural == pick.name)
        elif pick.name in ("members", "me"):
            yield "User"
        elif pick.name.capitalize() in KINDS:
            yield pick.name.capitalize()
        yield from kinds_in(pick.below)


# REST: every read operation, for every actor.


@pytest.mark.parametrize("turn", range(10))
@pytest.mark.slow
def test_rest_returns_what_the_table_allows(http_client, database_file, callers, turn):
    state, chance = DatabaseState.read(database_file), random.Random(turn)
    for _ in range(EACH):
        caller, kind = chance.choice(callers), chance.choice(KINDS)
        id = chance.choice([*state.records[kind], UNKNOWN, "x"])
        below = chance.choice([None, *RELATIONS[kind]])
        path = chance.choice([f"/{RESOURCES[kind]}", f"/{RESOURCES[kind]}/{id}", "/me"])
        if below and path.endswith(id):
            path += f"/{below}"

        response = http_client.get(
            f"{path}{'' if path.count('/') != 1 or path == '/me' else '?limit=50'}", headers=caller.headers
        )

        expected = reading(caller, state, kind, id, path, below)
        assert response.status_code == (expected if isinstance(expected, int) else 200), (caller.name, path)
        if not isinstance(expected, int):
            body_json = response.json()
            assert body_json.get("items", body_json) == expected, (caller.name, path)
            check_etag(response, expected)


def check_etag(response, expected):
    """An entity tag is a record's version and a checksum of what the actor sees of it."""
    if isinstance(expected, dict):
        assert response.headers["etag"] == f'"{expected["version"]}-{crc32(response.content):08x}"'


def reading(caller, state, kind, id, path, below):
    """Return what the path returns, or the status of the refusal."""
    if not caller.authenticated:
        return 401
    if path == "/me":
        return refusal(caller, "User") or (caller.view("User", state.records["User"][caller.person]))
    if path == f"/{RESOURCES[kind]}":
        if not caller.scopes_allow(kind, "read") or not caller.may_see(kind):
            return 403
        return [caller.view(kind, row) for row in sorted(state.records[kind].values(), key=lambda row: row["id"])]
    related = {"members": "User", "groups": "Group"}.get(path.rpartition("/")[2])
    if not caller.scopes_allow(kind, "read") or (related and not caller.scopes_allow(related, "read")):
        return 403
    if id not in state.records[kind] or not caller.may_see(kind):
        return 404
    if related is None:
        return caller.view(kind, state.records[kind][id])
    joined = state.below(kind, id)
    return Items(caller, related, joined)


class Items(list[Row]):
    """Items of a relation's list: their times aside."""

    def __init__(self, caller: Caller, kind: str, joined: list[tuple[Row, str]]) -> None:
        super().__init__({kind.lower(): caller.view(kind, row), "role": role} for row, role in joined)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, list)
        return list(self) == [{name: value for name, value in item.items() if name != "created_at"} for item in other]

    __hash__ = None


def refusal(caller, kind):
    """Return the status of a refusal, or None."""
    if caller.person is None:
        return 404
    return None if caller.scopes_allow(kind, "read") else 403


@pytest.mark.parametrize("operator", ["", "__in", "__gte", "__startswith", "__contains", "__isnull", "sort", "sort-"])
@pytest.mark.slow
def test_hidden_fields_cannot_be_filtered_by(http_client, database_file, callers, document, operator):
    """The refusal does not show whether a record matches: it is the same for a correct guess."""
    parameters = {parameter["name"] for parameter in document["paths"]["/users"]["get"]["parameters"]}
    for caller in callers:
        for name, private in FIELDS["User"].items():
            for value in ("person0@example.com", "nobody@example.com", "36"):
                query = {f"{name}{operator}": "true" if operator == "__isnull" else value}
                if operator.startswith("sort"):
                    query = {"sort": f"{operator[4:]}{name}"}
                if next(iter(query)) not in parameters or not private:
                    continue
                response = http_client.get("/users", params=query, headers=caller.headers)

                if not caller.authenticated:
                    assert response.status_code == 401
                elif not caller.staff or not caller.scopes_allow("User", "read"):
                    assert response.status_code in (403, 422)
                    assert "items" not in response.json()


# Writes: every operation, for every actor, in both APIs.

BODIES: dict[str, list[Row]] = {
    "create User": [{"first_name": "New", "age": 1}, {"first_name": "New", "age": 1, "email": "PERSON0@example.com"}],
    "update User": [
        {"first_name": "X"}, {"age": 3}, {"last_name": None}, {"email": "PERSON0@example.com"},
        {"external_id": "ext-1"},
        {"active": True}, {"first_name": "Y", "email": "other@example.com"}, {},
    ],
    "create Group": [{"name": "New"}, {"name": "Group 1"}],
    "update Group": [{"name": "Newer"}, {"name": "Group 1"}, {"active": False}, {}],
    "create Key": [{"name": "mine", "role": "admin"}],
    "update Key": [{"role": "admin"}, {"name": "mine"}],
    "add member": [{}, {"role": "owner"}],
    "set role": [{"role": "owner"}, {"role": "member"}],
}  # fmt: skip


@pytest.fixture
def fresh(template, tmp_path):
    """A database to change, its actors, and the service."""
    path = Path(shutil.copy(template, tmp_path / "tandem.db"))
    populate(path, random.Random(4))
    callers = callers_of(path)
    with TestClient(create_app(production(path)), base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        yield path, callers, http_client


@pytest.mark.parametrize("client", ["rest", "graphql"])
@pytest.mark.slow
def test_actors_can_do_exactly_what_the_table_allows(fresh, client):
    path, callers, http_client = fresh
    chance, done = random.Random(client), {"allowed": 0, "refused": 0}
    for caller in callers:
        for operation in WRITES:
            for body in BODIES.get(operation, [{}]):
                state = DatabaseState.read(path)
                kind = operation.split()[1]
                kind = "Group" if kind in ("member", "role") else kind
                own = caller.person if operation == "update User" and chance.random() < 0.5 else None
                id = own or chance.choice([*spared(state, kind), UNKNOWN])
                far = chance.choice([*state.records["User"], UNKNOWN])
                if (client, operation) == ("rest", "set role"):
                    continue

                status = write(http_client, caller, client, operation, id, far, body)

                expected = outcome(caller, state, operation, kind, id, far, body)
                assert status in expected, (caller.name, operation, body, id == caller.person)
                if status != "done":
                    assert DatabaseState.read(path) == state
                done["allowed" if status == "done" else "refused"] += 1
    assert min(done.values()) > 50


def spared(state, kind):
    """The records that can be deleted without removing the actors of these tests."""
    ids = sorted(state.records[kind])
    return ids[4:] if kind == "User" else ids if kind == "Group" else ids[-1:] if len(ids) > 7 else []


def outcome(caller, state, operation, kind, id, far, body):
    """Return the permitted outcomes."""
    if not caller.authenticated:
        return {"UNAUTHENTICATED"}
    if not caller.scopes_allow(kind, "write") or (
        operation.split()[1] in ("member", "role") and not caller.scopes_allow("User", "read")
    ):
        return {"FORBIDDEN"}
    if operation.startswith("create"):
        allowed = caller.may(operation, state, "", body) and caller.may_see(kind)
        return {"done", "CONFLICT"} if allowed else {"FORBIDDEN"}
    if not caller.may_see(kind) or id not in state.records[kind]:
        return {"NOT_FOUND"}
    if not caller.may(operation, state, id, body):
        return {"FORBIDDEN"}
    if operation.split()[1] in ("member", "role"):
        if far not in state.records["User"] or (operation == "set role" and (id, far) not in state.members):
            return {"NOT_FOUND"}
        return {"done"}
    return {"done", "CONFLICT"} if caller.staff else {"done"}


def write(http_client, caller, client, operation, id, far, body):
    """Return the code of the refusal, or `done`."""
    if client == "rest":
        response = rest(http_client, caller, operation, id, far, body)
        return "done" if response.status_code < 400 else response.json()["code"]
    name = WRITES[operation][1]
    input = {camel(key): value.upper() if key == "role" else value for key, value in body.items()}
    if operation.split()[1] in ("member", "role"):
        input |= {"groupId": id, "userId": far}
    elif not operation.startswith("create"):
        input |= {"id": id}
    type_name = f"{name[0].upper()}{name[1:]}Input"
    query = f"mutation($input: {type_name}!) {{ {name}(input: $input) {{ __typename }} }}"
    sent = {"query": query, "variables": {"input": input}}
    response = http_client.post("/graphql", json=sent, headers=caller.headers).json()
    return response["errors"][0]["extensions"]["code"] if "errors" in response else "done"


def rest(http_client, caller, operation, id, far, body):
    action, kind = operation.split()
    if kind == "member":
        send = http_client.put if action == "add" else http_client.delete
        more = {"json": body} if action == "add" and body else {}
        return send(f"/groups/{id}/members/{far}", headers=caller.headers, **more)
    place = f"/{RESOURCES[kind]}"
    match action:
        case "create":
            return http_client.post(place, json=body, headers=caller.headers)
        case "update":
            return http_client.patch(f"{place}/{id}", json=body, headers=caller.headers)
        case "delete":
            return http_client.delete(f"{place}/{id}", headers=caller.headers)
        case _:
            return http_client.post(f"{place}/{id}/{action}", json={}, headers=caller.headers)


def test_a_conflict_reveals_nothing_hidden(http_client, callers):
    """An actor who may not set an e-mail address is refused, whether the address is taken or free."""
    for caller in callers:
        if caller.person and not caller.staff:
            responses = [
                http_client.patch(f"/users/{caller.person}", json={field: value}, headers=caller.headers).json()
                for field, taken, free in (
                    ("email", "PERSON0@example.com", "free@x.y"),
                    ("external_id", "ext-1", "free"),
                )
                for value in (taken, free)
            ]
            assert {response["code"] for response in responses} == {"FORBIDDEN"}
            assert responses[0]["detail"] == responses[1]["detail"]


@pytest.mark.slow
def test_a_cursor_contains_no_private_value(http_client, callers):
    for caller in callers:
        if caller.authenticated and caller.may_see("User") and caller.scopes_allow("User", "read"):
            page = http_client.get("/users?limit=2", headers=caller.headers).json()
            for field, private in FIELDS["User"].items():
                response = http_client.get(f"/users?sort={field}&after={page['next']}", headers=caller.headers)
                if private and not caller.staff:
                    assert response.status_code in (400, 403, 422)
