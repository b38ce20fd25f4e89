"""A request with an idempotency key is executed once; repeating it returns the first response."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress

import pytest

from schema.engine.changes import TransactionResult
from schema.engine.errors import Conflict, IdempotencyInProgress, IdempotencyMismatch, NotFound
from schema.engine.model.policy import Actor
from schema.engine.operations import idempotency
from schema.engine.operations.directory import Directory
from schema.engine.operations.idempotency import IdempotencyKey, key_owner
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, EDITOR, USER, ApiError, user_actor

ADA = {"first_name": "Ada", "age": 36}
SHORT = Selection((("id", Scalar("id")),))
CREATE = """
    mutation($key: String, $name: String!, $age: Int = 1) {
      createUser(input: {firstName: $name, age: $age, idempotencyKey: $key}) { user { id firstName version } }
    }
"""


def with_key(key):
    return {"idempotency-key": key}


def execute(database, sql):
    """Execute a statement that both databases support, and return its rows."""
    if isinstance(database, str):
        return [tuple(row) for row in postgres.run(database, sql)]
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(sql).fetchall()


def count(database, table='"user"'):
    return execute(database, f"SELECT count(*) FROM {table}")[0][0]


def test_a_repeated_request_returns_the_first_response(rest, database):
    first = rest.send("POST", "/users", json=ADA, headers=with_key('"a"'))
    rest.update("user", first.json()["id"], age=37)

    again = rest.send("POST", "/users", json=ADA, headers=with_key('"a"'))

    assert (again.status_code, again.content) == (201, first.content)
    assert [again.headers[name] for name in ("etag", "location")] == [first.headers[n] for n in ("etag", "location")]
    assert count(database) == 1


def test_an_action_is_executed_once(rest):
    ada = rest.create("user", **ADA)
    path, arguments = f"/users/{ada['id']}/deactivate", {"headers": {**with_key("k"), "if-match": '"1"'}, "json": {}}

    first = rest.send("POST", path, **arguments)
    rest.call("activate", "user", ada["id"])
    again = rest.send("POST", path, **arguments)

    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert rest.get("user", ada["id"])["active"]


def test_a_mutation_is_executed_once(graphql, database):
    first = graphql.execute(CREATE, key="k", name="Ada")
    graphql.update("user", first["createUser"]["user"]["id"], age=37)

    assert graphql.execute(CREATE, key="k", name="Ada") == first
    with pytest.raises(ApiError, match="IDEMPOTENCY_MISMATCH"):
        graphql.execute(CREATE, key="k", name="Bob")
    with pytest.raises(ApiError, match="IDEMPOTENCY_MISMATCH"):
        graphql.execute(CREATE.replace("version", "age"), key="k", name="Ada")
    assert count(database) == 1


TWO_OPERATIONS = """
    mutation First { createUser(input: {firstName: "Ada", age: 1, idempotencyKey: "k"}) { user { id } } }
    mutation Second { createUser(input: {firstName: "Ada", age: 1, idempotencyKey: "k"}) { user { id age } } }
"""


def test_another_operation_of_a_document_is_another_request(http_client, graphql, database):
    def run(name):
        return http_client.post("/graphql", json={"query": TWO_OPERATIONS, "operationName": name}).json()

    first = run("First")
    assert run("First") == first
    assert run("Second")["errors"][0]["extensions"]["code"] == "IDEMPOTENCY_MISMATCH"
    assert count(database) == 1


@pytest.mark.parametrize("header", [None, '"2"', '"1", "2"', 'W/"1"'])
def test_another_if_match_is_another_request(rest, header):
    ada = rest.create("user", **ADA)
    path = f"/users/{ada['id']}/deactivate"
    rest.send("POST", path, json={}, headers={**with_key("k"), "if-match": '"1"'})

    with pytest.raises(ApiError, match="IDEMPOTENCY_MISMATCH"):
        rest.send("POST", path, json={}, headers={**with_key("k"), **({"if-match": header} if header else {})})


@pytest.mark.parametrize("header", ['"1-public"', ' "1" ', '"1","1"'])
def test_equal_preconditions_are_the_same_request(rest, header):
    ada = rest.create("user", **ADA)
    path = f"/users/{ada['id']}/deactivate"
    first = rest.send("POST", path, json={}, headers={**with_key("k"), "if-match": '"1"'})

    assert rest.send("POST", path, json={}, headers={**with_key("k"), "if-match": header}).content == first.content


def test_without_a_key_each_request_is_executed(graphql, rest, database):
    for _ in range(2):
        graphql.execute(CREATE, key=None, name="Ada")
        graphql.execute(CREATE, name="Ada")
        rest.create("user", **ADA)

    assert (count(database), count(database, "kept_answer")) == (6, 0)


@pytest.mark.parametrize(
    "path, body",
    [("/users", {**ADA, "age": 37}), ("/users", {**ADA, "last_name": None}), ("/groups", {"name": "Engine"})],
)
def test_another_request_under_the_same_key_is_refused(rest, database, path, body):
    rest.send("POST", "/users", json=ADA, headers=with_key("k"))

    with pytest.raises(ApiError, match="IDEMPOTENCY_MISMATCH") as refused:
        rest.send("POST", path, json=body, headers=with_key("k"))

    assert refused.value.status == 422
    assert count(database) == 1


def test_equal_bodies_are_the_same_request(rest):
    first = rest.send("POST", "/users", json=ADA, headers=with_key("k"))
    body = {"content": b'{ "age": 36, "first_name": "\\u0041da" }'}

    again = rest.send("POST", "/users", headers={**with_key("k"), "content-type": "application/json"}, **body)

    assert again.content == first.content


def test_a_refused_request_may_succeed_later(rest, database):
    ada = rest.create("user", **ADA, email="ada@example.com")
    other = {"first_name": "Other", "age": 1, "email": "Ada@example.com"}

    with pytest.raises(ApiError, match="CONFLICT"):
        rest.send("POST", "/users", json=other, headers=with_key("k"))
    rest.delete("user", ada["id"])
    rest.send("POST", "/users", json=other, headers=with_key("k"))

    assert count(database) == 1


def test_each_actor_has_keys_of_its_own(rest, database):
    senders = [ADMIN, EDITOR, Actor(roles=ADMIN.roles, name="key:1"), Actor(roles=ADMIN.roles, name="key:2")]

    ids = [
        rest.as_actor(actor).send("POST", "/users", json=ADA, headers=with_key("k")).json()["id"]
        for actor in senders * 2
    ]

    assert ids[:4] == ids[4:]
    assert len(set(ids)) == count(database) == 4


def test_after_a_change_of_role_the_first_response_is_not_returned(rest):
    before, now = (Actor(roles=frozenset({role}), name="key:1") for role in ("admin", "editor"))
    rest.as_actor(before).send("POST", "/users", json=ADA, headers=with_key("k"))

    with pytest.raises(ApiError, match="IDEMPOTENCY_MISMATCH"):
        rest.as_actor(now).send("POST", "/users", json=ADA, headers=with_key("k"))


@pytest.mark.parametrize(
    "actor, owner",
    [
        (Actor("1", frozenset(), name="token:x"), "token:x"),
        (user_actor("1"), "user:1"),
        (ADMIN, "roles:admin scopes:"),
    ],
)
def test_a_key_belongs_to_the_credential_or_the_user_or_the_roles(actor, owner):
    assert key_owner(actor) == owner


GOOD = ["a", '"a"', "x" * 255, f'"{"x" * 255}"', r'"a\"b\\"', "8e03978e-40d5-43dd-bc93-6894a57f9324", "=", "~!#"]
BAD = [
    "",
    '""',
    "x" * 256,
    f'"{"x" * 256}"',
    "a b",
    '"a b"',
    '"a',
    'a"',
    r'"a\b"',
    "a,b",
    '"a", "b"',
    '"a";p=1',
    "ä",
    "\t",
]


@pytest.mark.parametrize("key", GOOD, ids=ascii)
def test_a_key_is_any_visible_text(rest, key):
    assert rest.send("POST", "/users", json=ADA, headers=with_key(key)).status_code == 201


@pytest.mark.parametrize("key", BAD, ids=ascii)
def test_an_invalid_key_is_refused(rest, database, key):
    with pytest.raises(ApiError, match="VALIDATION_FAILED: Idempotency-Key: must have 1 to 255 visible") as refused:
        rest.send("POST", "/users", json=ADA, headers={b"idempotency-key": key.encode("latin-1")})

    assert refused.value.names == {"Idempotency-Key"}
    assert count(database) == 0


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä", "\n"], ids=ascii)
def test_an_invalid_key_is_refused_in_graphql(graphql, database, key):
    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        graphql.execute(CREATE, key=key, name="Ada")

    assert refused.value.names == {"idempotency_key"}
    assert count(database) == 0


def test_quotes_are_not_part_of_a_key(rest, database):
    rest.send("POST", "/users", json=ADA, headers=with_key('"a"'))
    rest.send("POST", "/users", json=ADA, headers=with_key("a"))

    assert count(database) == 1


def test_a_key_expires_after_a_day(rest, database):
    rest.send("POST", "/users", json=ADA, headers=with_key("k"))
    expire(database)

    rest.send("POST", "/users", json={**ADA, "age": 37}, headers=with_key("k"))
    rest.send("POST", "/users", json={**ADA, "age": 37}, headers=with_key("k"))

    assert (count(database), count(database, "kept_answer")) == (2, 1)


def test_expired_keys_are_deleted_by_later_requests(rest, database, monkeypatch):
    monkeypatch.setattr(idempotency, "WRITES_PER_SWEEP", 2)
    for number in range(6):
        rest.send("POST", "/users", json=ADA, headers=with_key(f"old{number}"))
    expire(database)

    for number in range(2):
        rest.send("POST", "/users", json=ADA, headers=with_key(f"new{number}"))

    assert {key[:3] for (key,) in execute(database, "SELECT key FROM kept_answer")} == {"new"}


def expire(database):
    execute(database, "UPDATE kept_answer SET created_at = '2020-01-01T00:00:00.000000Z'")


# The engine


async def create_user(directory, key="k", **fields):
    unit_of_work = directory.unit_of_work(ADMIN, IdempotencyKey.of(key, fields))
    return await create(unit_of_work, USER, {"first_name": "P", "age": 1, **fields}, SHORT)


async def test_concurrent_requests_create_one_record(directory, database):
    outcomes = await asyncio.gather(*(create_user(directory) for _ in range(50)), return_exceptions=True)

    created = [outcome for outcome in outcomes if not isinstance(outcome, IdempotencyInProgress)]
    assert len(created) == 1
    assert await create_user(directory) == created[0]
    assert count(database) == 1
    assert directory.pending_keys == set()


async def test_concurrent_requests_of_several_processes_create_one_record(database):
    """Several directories share one database; none knows which requests run in the others."""
    directories = [await Directory(str(database)).open() for _ in range(5)]

    outcomes = await asyncio.gather(*(create_user(directory) for directory in directories * 10), return_exceptions=True)

    created = {outcome for outcome in outcomes if not isinstance(outcome, IdempotencyInProgress)}
    for directory in directories:
        await directory.close()
    assert len(created) == count(database) == 1


async def test_a_client_that_disconnects_gets_the_response_later(directory, database):
    request = asyncio.create_task(create_user(directory))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    first = None
    while first is None:
        with suppress(IdempotencyInProgress):  # what has gone to PostgreSQL takes its time to end
            first = await create_user(directory)

    assert await create_user(directory) == first
    assert count(database) == 1


async def test_a_failed_write_stores_no_response(directory, database):
    def transaction():
        yield 'UPDATE "user" SET age = 1', ()
        raise NotFound("there is none")

    with pytest.raises(NotFound):
        await directory.unit_of_work(ADMIN, IdempotencyKey.of("k")).write(transaction)

    assert count(database, "kept_answer") == 0


async def test_a_secret_is_returned_once_and_not_stored(directory, database):
    def transaction():
        yield "SELECT 1", ()
        return TransactionResult(secret, secret=True)

    secret = (await create_user(directory, "other"))[1]
    first = await directory.unit_of_work(ADMIN, IdempotencyKey.of("k")).write(transaction)

    with pytest.raises(Conflict, match="was not stored"):
        await directory.unit_of_work(ADMIN, IdempotencyKey.of("k")).write(transaction)
    with pytest.raises(IdempotencyMismatch):
        await directory.unit_of_work(ADMIN, IdempotencyKey.of("k", "else")).write(transaction)
    assert first == secret
    assert execute(database, "SELECT answer FROM kept_answer WHERE key = 'k'") == [(None,)]


def test_an_api_key_is_created_and_returned_once(rest, graphql, database):
    query = 'mutation { createKey(input: {name: "x", role: ADMIN, idempotencyKey: "g"}) { key { id } secret } }'
    creations = [
        lambda: rest.send("POST", "/keys", json={"name": "deploy", "role": "editor"}, headers=with_key("k")).json(),
        lambda: graphql.execute(query)["createKey"],
    ]

    for create_key in creations:
        assert create_key()["secret"].startswith("tdm_")
        with pytest.raises(
            ApiError, match=r"CONFLICT: the request with this idempotency key was executed, .* was not stored"
        ):
            create_key()

    assert count(database, '"key"') == 2
    assert count(database, "kept_answer WHERE answer IS NOT NULL") == 0


def test_the_openapi_document_has_the_header(http_client):
    paths = http_client.get("/openapi.json").json()["paths"]

    for path in ("/users", "/groups", "/users/{id}/deactivate"):
        operation = paths[path]["post"]
        assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
        assert {"409", "422"} <= operation["responses"].keys()
    conflict = http_client.get("/openapi.json").json()["components"]["responses"]["Conflict"]
    assert "IDEMPOTENCY_IN_PROGRESS" in conflict["content"]["application/problem+json"]["examples"]
