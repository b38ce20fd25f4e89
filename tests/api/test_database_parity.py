"""SQLite and PostgreSQL give the same bytes for random requests to the REST and GraphQL APIs."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from typing import Any

import pytest

from schema.engine.operations.directory import Directory
from tests.conftest import insert_people, using_directory
from tests.fixtures.clients import ApiError, GraphQLClient, RestClient
from tests.fixtures.people import AGES, GROUPS, NAMES, PEOPLE, TIMES, sort_parameters

pytestmark = pytest.mark.postgres
VALUES: dict[str, list[Any]] = {
    "first_name": NAMES, "last_name": NAMES, "age": AGES, "created_at": TIMES, "updated_at": TIMES,
    "active": [True, False], "external_id": [row["external_id"] for row in PEOPLE if row["external_id"]],
    "email": [row["email"] for row in PEOPLE if row["email"]], "id": [row["id"] for row in PEOPLE],
}  # fmt: skip
TEXTS = ("first_name", "last_name", "email", "external_id")


@pytest.fixture(scope="module")
def databases(migrated, populated_template):
    from tests.fixtures import postgres

    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    insert_people(migrated)
    # So that cursors are the same, too.
    with contextlib.closing(sqlite3.connect(populated_template)) as connection:
        (secret,) = connection.execute("SELECT secret FROM cursor_key").fetchone()
    postgres.run(migrated, "DELETE FROM cursor_key")
    postgres.run(migrated, f"INSERT INTO cursor_key (id, secret) VALUES (1, '\\x{secret.hex()}')")
    return str(populated_template), migrated


def random_list(chance: random.Random) -> dict[str, Any]:
    """The arguments of a random list."""
    arguments: dict[str, Any] = {"size": chance.choice([1, 3, 7, 20, 100])}
    if chance.random() < 0.7:
        arguments["sort"] = chance.choice(sort_parameters())
    if chance.random() < 0.3:
        arguments["count"] = "exact"
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        name = chance.choice(list(VALUES))
        value = chance.choice(VALUES[name])
        operators = ["eq", "in"]
        operators += ["lt", "lte", "gt", "gte"] if name in ("age", "created_at", "updated_at") else []
        operators += ["startswith"] if name in TEXTS else []
        operators += ["isnull"] if name in TEXTS or name in ("age", "created_at") else []
        match chance.choice(operators):
            case "eq":
                arguments[name] = value
            case "in":
                arguments[f"{name}__in"] = chance.sample(VALUES[name], min(3, len(VALUES[name])))
            case "isnull":
                arguments[f"{name}__isnull"] = chance.random() < 0.5
            case "startswith":
                cut = chance.randint(1, len(value))
                arguments[f"{name}__startswith"] = chance.choice(
                    [value[:cut], value[:cut].upper(), value[:cut].lower()]
                )
            case operator:
                arguments[f"{name}__{operator}"] = value
    return arguments


def pages_of(client, arguments):
    """The first two pages and the way back, or the error."""
    try:
        pages = [client.find("user", **arguments)]
        if pages[0].next:
            pages.append(client.find("user", **arguments, after=pages[0].next))
            if pages[1].previous:
                pages.append(client.find("user", **arguments, before=pages[1].previous))
        return pages
    except ApiError as refusal:
        return str(refusal), refusal.field_errors


@pytest.mark.parametrize("client_class", [RestClient, GraphQLClient], ids=lambda client_class: client_class.name)
@pytest.mark.parametrize("seed", range(4))
def test_random_lists_are_the_same(service, actors, databases, client_class, seed):
    chance = random.Random(seed)
    requests = [random_list(chance) for _ in range(60)]
    responses = []

    for database in databases:
        with using_directory(service, Directory(database)):
            responses.append([pages_of(client_class(service, actors), arguments) for arguments in requests])

    for request, *response in zip(requests, *responses, strict=True):
        assert response[0] == response[1], request
    assert sum(not isinstance(response, tuple) for response in responses[0]) > 30


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
def test_nested_lists_are_the_same(service, actors, databases, query):
    responses = []

    for database in databases:
        with using_directory(service, Directory(database)):
            responses.append(service.post("/graphql", json={"query": query}).text)

    assert responses[0] == responses[1]
    assert '"errors"' not in responses[0]


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
def test_errors_are_the_same(service, actors, databases, method, path, body):
    responses = []

    for database in databases:
        with using_directory(service, Directory(database)):
            response = service.request(method, path, json=body)
            responses.append(
                (response.status_code, {**response.json(), "request_id": ""} if response.content else None)
            )

    assert responses[0] == responses[1]
