"""SQLite and PostgreSQL answer alike: random requests, the same people, both doors, both databases, every byte."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from typing import Any

import pytest

from schema.engine.operations.directory import Directory
from tests.conftest import crowd_in, over
from tests.fixtures.clients import GraphQLClient, Refused, RestClient
from tests.fixtures.people import AGES, GROUPS, NAMES, PEOPLE, TIMES, sorts

pytestmark = pytest.mark.postgres
VALUES: dict[str, list[Any]] = {
    "first_name": NAMES, "last_name": NAMES, "age": AGES, "created_at": TIMES, "updated_at": TIMES,
    "active": [True, False], "external_id": [row["external_id"] for row in PEOPLE if row["external_id"]],
    "email": [row["email"] for row in PEOPLE if row["email"]], "id": [row["id"] for row in PEOPLE],
}  # fmt: skip
TEXTS = ("first_name", "last_name", "email", "external_id")


@pytest.fixture(scope="module")
def sides(migrated, crowd):
    from tests.fixtures import postgres

    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    crowd_in(migrated)
    # The cursors are to be the same, too.
    with contextlib.closing(sqlite3.connect(crowd)) as connection:
        (secret,) = connection.execute("SELECT secret FROM cursor_key").fetchone()
    postgres.run(migrated, "DELETE FROM cursor_key")
    postgres.run(migrated, f"INSERT INTO cursor_key (id, secret) VALUES (1, '\\x{secret.hex()}')")
    return str(crowd), migrated


def asked_of(chance: random.Random) -> dict[str, Any]:
    """A list request, drawn at random."""
    asked: dict[str, Any] = {"size": chance.choice([1, 3, 7, 20, 100])}
    if chance.random() < 0.7:
        asked["sort"] = chance.choice(sorts())
    if chance.random() < 0.3:
        asked["count"] = "exact"
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        name = chance.choice(list(VALUES))
        value = chance.choice(VALUES[name])
        words = ["eq", "in"]
        words += ["lt", "lte", "gt", "gte"] if name in ("age", "created_at", "updated_at") else []
        words += ["startswith"] if name in TEXTS else []
        words += ["isnull"] if name in TEXTS or name in ("age", "created_at") else []
        match chance.choice(words):
            case "eq":
                asked[name] = value
            case "in":
                asked[f"{name}__in"] = chance.sample(VALUES[name], min(3, len(VALUES[name])))
            case "isnull":
                asked[f"{name}__isnull"] = chance.random() < 0.5
            case "startswith":
                cut = chance.randint(1, len(value))
                asked[f"{name}__startswith"] = chance.choice([value[:cut], value[:cut].upper(), value[:cut].lower()])
            case word:
                asked[f"{name}__{word}"] = value
    return asked


def walked(client, asked):
    """What the first pages hold, forwards and one step back; or what was refused."""
    try:
        said = [client.find("user", **asked)]
        if said[0].next:
            said.append(client.find("user", **asked, after=said[0].next))
            if said[1].previous:
                said.append(client.find("user", **asked, before=said[1].previous))
        return said
    except Refused as refusal:
        return str(refusal), refusal.field_errors


@pytest.mark.parametrize("kind", [RestClient, GraphQLClient], ids=lambda kind: kind.name)
@pytest.mark.parametrize("seed", range(4))
def test_random_lists_are_the_same(service, actors, sides, kind, seed):
    chance = random.Random(seed)
    drawn = [asked_of(chance) for _ in range(60)]
    answers = []

    for side in sides:
        with over(service, Directory(side)):
            answers.append([walked(kind(service, actors), asked) for asked in drawn])

    for request, *answer in zip(drawn, *answers, strict=True):
        assert answer[0] == answer[1], request
    assert sum(not isinstance(answer, tuple) for answer in answers[0]) > 30


QUERIES = [
    "{ groups(first: 5) { totalCount nodes { name members(first: 3) { totalCount pageInfo { hasNextPage endCursor }"
    " edges { cursor role node { id firstName lastName active email age createdAt } } } } } }",
    "{ users(last: 7, sort: {field: LAST_NAME, direction: DESC}) { pageInfo { hasNextPage hasPreviousPage startCursor"
    " endCursor } edges { cursor node { lastName groups(first: 2) { nodes { name description } } } } } }",
    '{ users(first: 50, filter: {or: [{lastName: {isnull: true}}, {not: {firstName: {startswith: "É"}}}]})'
    " { totalCount nodes { id lastName } } }",
    '{ a: users(first: 1) { nodes { id } } b: user(id: "nothing") { id } c: groups(first: 0) { totalCount } }',
]


@pytest.mark.parametrize("query", QUERIES)
def test_nested_lists_are_the_same(service, actors, sides, query):
    answers = []

    for side in sides:
        with over(service, Directory(side)):
            answers.append(service.post("/graphql", json={"query": query}).text)

    assert answers[0] == answers[1]
    assert '"errors"' not in answers[0]


REFUSED = [
    (
        "POST",
        "/users",
        {"first_name": "Ada", "age": 1, "email": next(r["email"] for r in PEOPLE if r["email"]).upper()},
    ),
    ("POST", "/groups", {"name": "Group 1"}),
    ("PATCH", f"/users/{PEOPLE[0]['id']}", {"external_id": next(r["external_id"] for r in PEOPLE if r["external_id"])}),
    ("GET", "/users?age=99999999999999", None),
    ("GET", "/users?age__in=1,2,3000000000", None),
    ("GET", "/users/%00", None),
    ("GET", "/users/" + "x" * 300, None),
    ("GET", "/users?first_name=%00", None),
    ("GET", "/users?after=abc", None),
    ("PUT", f"/groups/{GROUPS[0]['id']}/members/nobody", None),
    ("DELETE", "/users/nobody", None),
]


@pytest.mark.parametrize("method, path, body", REFUSED)
def test_what_is_refused_is_refused_in_the_same_words(service, actors, sides, method, path, body):
    answers = []

    for side in sides:
        with over(service, Directory(side)):
            answer = service.request(method, path, json=body)
            answers.append((answer.status_code, {**answer.json(), "request_id": ""} if answer.content else None))

    assert answers[0] == answers[1]
