"""A request under a key is done once, however often it is sent, and its first answer comes again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress

import pytest

from schema.engine.errors import Conflict, IdempotencyInProgress, IdempotencyMismatch, NotFound
from schema.engine.model.policy import Actor
from schema.engine.operations import idempotency
from schema.engine.operations.directory import Directory, TransactionResult
from schema.engine.operations.idempotency import idempotency_key, key_owner
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, EDITOR, USER, Refused, person

ADA = {"first_name": "Ada", "age": 36}
SHORT = Selection((("id", Scalar("id")),))
CREATE = """
    mutation($key: String, $name: String!, $age: Int = 1) {
      createUser(input: {firstName: $name, age: $age, idempotencyKey: $key}) { user { id firstName version } }
    }
"""


def under(key):
    return {"idempotency-key": key}


def told(database, sql):
    """The rows of a statement that both databases know."""
    if isinstance(database, str):
        return [tuple(row) for row in postgres.run(database, sql)]
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(sql).fetchall()


def count(database, table='"user"'):
    return told(database, f"SELECT count(*) FROM {table}")[0][0]


def test_a_repeat_has_the_first_answer(rest, database):
    first = rest.send("POST", "/users", json=ADA, headers=under('"a"'))
    rest.update("user", first.json()["id"], age=37)

    again = rest.send("POST", "/users", json=ADA, headers=under('"a"'))

    assert (again.status_code, again.content) == (201, first.content)
    assert [again.headers[name] for name in ("etag", "location")] == [first.headers[n] for n in ("etag", "location")]
    assert count(database) == 1


def test_a_verb_of_a_model_s_own_is_done_once(rest):
    ada = rest.create("user", **ADA)
    path, words = f"/users/{ada['id']}/deactivate", {"headers": {**under("k"), "if-match": '"1"'}, "json": {}}

    first = rest.send("POST", path, **words)
    rest.call("activate", "user", ada["id"])
    again = rest.send("POST", path, **words)

    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert rest.get("user", ada["id"])["active"]


def test_a_mutation_is_done_once(graphql, database):
    first = graphql.ask(CREATE, key="k", name="Ada")
    graphql.update("user", first["createUser"]["user"]["id"], age=37)

    assert graphql.ask(CREATE, key="k", name="Ada") == first
    with pytest.raises(Refused, match="IDEMPOTENCY_MISMATCH"):
        graphql.ask(CREATE, key="k", name="Bob")
    with pytest.raises(Refused, match="IDEMPOTENCY_MISMATCH"):
        graphql.ask(CREATE.replace("version", "age"), key="k", name="Ada")
    assert count(database) == 1


TWO_OPERATIONS = """
    mutation First { createUser(input: {firstName: "Ada", age: 1, idempotencyKey: "k"}) { user { id } } }
    mutation Second { createUser(input: {firstName: "Ada", age: 1, idempotencyKey: "k"}) { user { id age } } }
"""


def test_another_operation_of_the_same_document_is_another_request(http_client, graphql, database):
    def run(name):
        return http_client.post("/graphql", json={"query": TWO_OPERATIONS, "operationName": name}).json()

    first = run("First")
    assert run("First") == first
    assert run("Second")["errors"][0]["extensions"]["code"] == "IDEMPOTENCY_MISMATCH"
    assert count(database) == 1


@pytest.mark.parametrize("sent", [None, '"2"', '"1", "2"', 'W/"1"'])
def test_another_precondition_makes_another_request(rest, sent):
    ada = rest.create("user", **ADA)
    path = f"/users/{ada['id']}/deactivate"
    rest.send("POST", path, json={}, headers={**under("k"), "if-match": '"1"'})

    with pytest.raises(Refused, match="IDEMPOTENCY_MISMATCH"):
        rest.send("POST", path, json={}, headers={**under("k"), **({"if-match": sent} if sent else {})})


@pytest.mark.parametrize("sent", ['"1-public"', ' "1" ', '"1","1"'])
def test_how_a_precondition_is_spelled_does_not_matter(rest, sent):
    ada = rest.create("user", **ADA)
    path = f"/users/{ada['id']}/deactivate"
    first = rest.send("POST", path, json={}, headers={**under("k"), "if-match": '"1"'})

    assert rest.send("POST", path, json={}, headers={**under("k"), "if-match": sent}).content == first.content


def test_without_a_key_or_with_null_each_request_is_a_new_one(graphql, rest, database):
    for _ in range(2):
        graphql.ask(CREATE, key=None, name="Ada")
        graphql.ask(CREATE, name="Ada")
        rest.create("user", **ADA)

    assert (count(database), count(database, "kept_answer")) == (6, 0)


@pytest.mark.parametrize(
    "path, body",
    [("/users", {**ADA, "age": 37}), ("/users", {**ADA, "last_name": None}), ("/groups", {"name": "Engine"})],
)
def test_another_request_under_the_same_key_is_refused(rest, database, path, body):
    rest.send("POST", "/users", json=ADA, headers=under("k"))

    with pytest.raises(Refused, match="IDEMPOTENCY_MISMATCH") as refused:
        rest.send("POST", path, json=body, headers=under("k"))

    assert refused.value.status == 422
    assert count(database) == 1


def test_how_a_body_is_spelled_does_not_matter(rest):
    first = rest.send("POST", "/users", json=ADA, headers=under("k"))
    spelled = {"content": b'{ "age": 36, "first_name": "\\u0041da" }'}

    again = rest.send("POST", "/users", headers={**under("k"), "content-type": "application/json"}, **spelled)

    assert again.content == first.content


def test_what_was_refused_may_succeed_later(rest, database):
    ada = rest.create("user", **ADA, email="ada@example.com")
    other = {"first_name": "Other", "age": 1, "email": "Ada@example.com"}

    with pytest.raises(Refused, match="CONFLICT"):
        rest.send("POST", "/users", json=other, headers=under("k"))
    rest.delete("user", ada["id"])
    rest.send("POST", "/users", json=other, headers=under("k"))

    assert count(database) == 1


def test_keys_belong_to_who_sends_them(rest, database):
    senders = [ADMIN, EDITOR, Actor(roles=ADMIN.roles, name="key:1"), Actor(roles=ADMIN.roles, name="key:2")]

    ids = [rest.by(it).send("POST", "/users", json=ADA, headers=under("k")).json()["id"] for it in senders * 2]

    assert ids[:4] == ids[4:]
    assert len(set(ids)) == count(database) == 4


def test_who_has_other_rights_by_now_is_not_shown_what_was_seen_with_the_old_ones(rest):
    before, now = (Actor(roles=frozenset({role}), name="key:1") for role in ("admin", "editor"))
    rest.by(before).send("POST", "/users", json=ADA, headers=under("k"))

    with pytest.raises(Refused, match="IDEMPOTENCY_MISMATCH"):
        rest.by(now).send("POST", "/users", json=ADA, headers=under("k"))


@pytest.mark.parametrize(
    "actor, whose",
    [
        (Actor("1", frozenset(), name="token:x"), "token:x"),
        (person("1"), "user:1"),
        (ADMIN, "roles:admin scopes:"),
    ],
)
def test_a_credential_comes_before_a_person_and_a_person_before_a_role(actor, whose):
    assert key_owner(actor) == whose


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
    assert rest.send("POST", "/users", json=ADA, headers=under(key)).status_code == 201


@pytest.mark.parametrize("key", BAD, ids=ascii)
def test_what_is_no_key_is_refused(rest, database, key):
    with pytest.raises(Refused, match="VALIDATION_FAILED: Idempotency-Key: must be 1 to 255 visible") as refused:
        rest.send("POST", "/users", json=ADA, headers={b"idempotency-key": key.encode("latin-1")})

    assert refused.value.names == {"Idempotency-Key"}
    assert count(database) == 0


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä", "\n"], ids=ascii)
def test_what_is_no_key_is_refused_in_graphql(graphql, database, key):
    with pytest.raises(Refused, match="VALIDATION_FAILED") as refused:
        graphql.ask(CREATE, key=key, name="Ada")

    assert refused.value.names == {"idempotency_key"}
    assert count(database) == 0


def test_quotes_are_no_part_of_a_key(rest, database):
    rest.send("POST", "/users", json=ADA, headers=under('"a"'))
    rest.send("POST", "/users", json=ADA, headers=under("a"))

    assert count(database) == 1


def test_after_a_day_a_key_is_free(rest, database):
    rest.send("POST", "/users", json=ADA, headers=under("k"))
    grow_old(database)

    rest.send("POST", "/users", json={**ADA, "age": 37}, headers=under("k"))
    rest.send("POST", "/users", json={**ADA, "age": 37}, headers=under("k"))

    assert (count(database), count(database, "kept_answer")) == (2, 1)


def test_what_has_expired_is_swept_out_in_passing(rest, database, monkeypatch):
    monkeypatch.setattr(idempotency, "BETWEEN_SWEEPS", 2)
    for number in range(6):
        rest.send("POST", "/users", json=ADA, headers=under(f"old{number}"))
    grow_old(database)

    for number in range(2):
        rest.send("POST", "/users", json=ADA, headers=under(f"new{number}"))

    assert {key[:3] for (key,) in told(database, "SELECT key FROM kept_answer")} == {"new"}


def grow_old(database):
    told(database, "UPDATE kept_answer SET created_at = '2020-01-01T00:00:00.000000Z'")


# The engine


async def make(directory, key="k", **fields):
    unit_of_work = directory.unit_of_work(ADMIN, idempotency_key(key, fields))
    return await create(unit_of_work, USER, {"first_name": "P", "age": 1, **fields}, SHORT)


async def test_fifty_at_once_make_one(directory, database):
    outcomes = await asyncio.gather(*(make(directory) for _ in range(50)), return_exceptions=True)

    made = [outcome for outcome in outcomes if not isinstance(outcome, IdempotencyInProgress)]
    assert len(made) == 1
    assert await make(directory) == made[0]
    assert count(database) == 1
    assert directory.idempotency_keys == set()


async def test_fifty_at_once_through_several_processes_make_one(database):
    """Several directories over one file: none knows what is under way at the others."""
    directories = [await Directory(str(database)).open() for _ in range(5)]

    outcomes = await asyncio.gather(*(make(directory) for directory in directories * 10), return_exceptions=True)

    made = {outcome for outcome in outcomes if not isinstance(outcome, IdempotencyInProgress)}
    for directory in directories:
        await directory.close()
    assert len(made) == count(database) == 1


async def test_a_caller_who_goes_away_finds_the_answer_later(directory, database):
    gone = asyncio.create_task(make(directory))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    first = None
    while first is None:
        with suppress(IdempotencyInProgress):  # what has gone to PostgreSQL takes its time to end
            first = await make(directory)

    assert await make(directory) == first
    assert count(database) == 1


async def test_a_write_that_fails_keeps_nothing(directory, database):
    def job():
        yield 'UPDATE "user" SET age = 1', ()
        raise NotFound("there is none")

    with pytest.raises(NotFound):
        await directory.unit_of_work(ADMIN, idempotency_key("k")).write(job)

    assert count(database, "kept_answer") == 0


async def test_a_secret_is_shown_once_and_kept_nowhere(directory, database):
    def job():
        yield "SELECT 1", ()
        return TransactionResult(secret, secret=True)

    secret = (await make(directory, "other"))[1]
    first = await directory.unit_of_work(ADMIN, idempotency_key("k")).write(job)

    with pytest.raises(Conflict, match="to be had once only"):
        await directory.unit_of_work(ADMIN, idempotency_key("k")).write(job)
    with pytest.raises(IdempotencyMismatch):
        await directory.unit_of_work(ADMIN, idempotency_key("k", "else")).write(job)
    assert first == secret
    assert told(database, "SELECT answer FROM kept_answer WHERE key = 'k'") == [(None,)]


def test_an_api_key_is_made_once_and_shown_once(rest, graphql, database):
    query = 'mutation { createKey(input: {name: "x", role: ADMIN, idempotencyKey: "g"}) { key { id } secret } }'
    ways = [
        lambda: rest.send("POST", "/keys", json={"name": "deploy", "role": "editor"}, headers=under("k")).json(),
        lambda: graphql.ask(query)["createKey"],
    ]

    for way in ways:
        assert way()["secret"].startswith("tdm_")
        with pytest.raises(Refused, match=r"CONFLICT: this was done before, .* to be had once only"):
            way()

    assert count(database, '"key"') == 2
    assert count(database, "kept_answer WHERE answer IS NOT NULL") == 0


def test_the_document_tells_of_it(http_client):
    paths = http_client.get("/openapi.json").json()["paths"]

    for path in ("/users", "/groups", "/users/{id}/deactivate"):
        operation = paths[path]["post"]
        assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
        assert {"409", "422"} <= operation["responses"].keys()
    conflict = http_client.get("/openapi.json").json()["components"]["responses"]["Conflict"]
    assert "IDEMPOTENCY_IN_PROGRESS" in conflict["content"]["application/problem+json"]["examples"]
