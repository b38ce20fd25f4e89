"""E-mail addresses (in any case), external ids and group names are unique."""

from __future__ import annotations

import asyncio

import pytest

from schema.engine.errors import Conflict
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from tests.fixtures.clients import ADMIN, USER, ApiError, Row

WHOLE = Selection((("id", Scalar("id")),))

TAKEN = [
    ("user", "email", "ada@example.com", "ada@example.com"),
    ("user", "email", "ada@example.com", "ADA@Example.COM"),
    ("user", "email", "ñandú@example.com", "ÑANDÚ@example.com"),
    ("user", "email", "ΣΊΣΥΦΟΣ@example.com", "σίσυφοσ@example.com"),
    ("user", "external_id", "00u1", "00u1"),
    ("group", "name", "Engine", "Engine"),
]
FREE = [
    ("user", "email", "ada@example.com", "ada@example.org"),
    ("user", "email", "ss@example.com", "ß@example.com"),
    ("user", "external_id", "00u1", "00U1"),
    ("group", "name", "Engine", "engine"),
    ("user", "email", None, None),
    ("user", "external_id", None, None),
    ("user", "first_name", "Ada", "Ada"),
]


def new(client, kind, **fields):
    required: dict[str, Row] = {"user": {"first_name": "Somebody", "age": 1}, "group": {"name": "Some group"}}
    return client.create(kind, **{**required[kind], **fields})


@pytest.mark.parametrize("kind, field, first, second", TAKEN)
def test_a_unique_value_cannot_be_used_twice(client, kind, field, first, second):
    new(client, kind, **{field: first})

    with pytest.raises(ApiError, match="CONFLICT") as refused:
        new(client, kind, **{field: second})

    assert refused.value.names == {field}
    assert client.find(kind, count="exact").total == 1


@pytest.mark.parametrize("kind, field, first, second", TAKEN)
def test_a_unique_value_cannot_be_updated_to(client, kind, field, first, second):
    new(client, kind, **{field: first})
    second_record = new(client, kind)

    with pytest.raises(ApiError, match="CONFLICT") as refused:
        client.update(kind, second_record["id"], **{field: second})

    assert refused.value.names == {field}
    assert client.get(kind, second_record["id"]) == second_record


@pytest.mark.parametrize("kind, field, first, second", FREE)
def test_a_value_that_only_looks_alike_is_free(client, kind, field, first, second):
    new(client, kind, **{field: first})

    assert new(client, kind, **{field: second})[field] == second


def test_the_case_of_an_own_email_can_be_changed(client):
    created = new(client, "user", email="ada@example.com")

    assert client.update("user", created["id"], email="Ada@Example.com")["email"] == "Ada@Example.com"


@pytest.mark.parametrize("kind, field, first, second", TAKEN)
def test_a_value_given_up_is_free(client, kind, field, first, second):
    changed = new(client, kind, **{field: first})
    client.update(kind, changed["id"], **{field: "Another name" if field == "name" else None})
    deleted = new(client, kind, **{field: second})
    client.delete(kind, deleted["id"])

    assert new(client, kind, **{field: first})[field] == first


def test_one_of_two_concurrent_creations_gets_an_email(http_client):
    async def both():
        directory, moves = http_client.app.state.directory, []
        for name in ("Ada", "Grace"):
            data = {"first_name": name, "age": 1, "email": "one@example.com"}
            moves.append(create(directory.unit_of_work(ADMIN), USER, data, WHOLE))
        return await asyncio.gather(*moves, return_exceptions=True)

    outcomes = http_client.portal.call(both)

    assert [type(outcome) for outcome in outcomes] == [tuple, Conflict]
