"""What is one person's is nobody else's: e-mail whatever its case, external id, a group's name."""

from __future__ import annotations

import asyncio

import pytest

from schema.engine.errors import Conflict
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from tests.fixtures.clients import ADMIN, USER, Refused, Row

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


def new(door, kind, **fields):
    required: dict[str, Row] = {"user": {"first_name": "Somebody", "age": 1}, "group": {"name": "Some group"}}
    return door.create(kind, **{**required[kind], **fields})


@pytest.mark.parametrize("kind, field, first, second", TAKEN)
def test_what_is_taken_cannot_be_taken_again(door, kind, field, first, second):
    new(door, kind, **{field: first})

    with pytest.raises(Refused, match="CONFLICT") as refused:
        new(door, kind, **{field: second})

    assert refused.value.names == {field}
    assert door.find(kind, count="exact").total == 1


@pytest.mark.parametrize("kind, field, first, second", TAKEN)
def test_what_is_taken_cannot_be_moved_to(door, kind, field, first, second):
    new(door, kind, **{field: first})
    other = new(door, kind)

    with pytest.raises(Refused, match="CONFLICT") as refused:
        door.update(kind, other["id"], **{field: second})

    assert refused.value.names == {field}
    assert door.get(kind, other["id"]) == other


@pytest.mark.parametrize("kind, field, first, second", FREE)
def test_what_only_looks_alike_is_free(door, kind, field, first, second):
    new(door, kind, **{field: first})

    assert new(door, kind, **{field: second})[field] == second


def test_the_case_of_one_s_own_email_can_be_changed(door):
    made = new(door, "user", email="ada@example.com")

    assert door.update("user", made["id"], email="Ada@Example.com")["email"] == "Ada@Example.com"


@pytest.mark.parametrize("kind, field, first, second", TAKEN)
def test_what_its_owner_gave_up_is_free(door, kind, field, first, second):
    changed = new(door, kind, **{field: first})
    door.update(kind, changed["id"], **{field: "Another name" if field == "name" else None})
    deleted = new(door, kind, **{field: second})
    door.delete(kind, deleted["id"])

    assert new(door, kind, **{field: first})[field] == first


def test_of_two_that_want_one_email_at_the_same_time_one_has_it(client):
    async def both():
        directory, moves = client.app.state.directory, []
        for name in ("Ada", "Grace"):
            data = {"first_name": name, "age": 1, "email": "one@example.com"}
            moves.append(create(directory.work(ADMIN), USER, data, WHOLE))
        return await asyncio.gather(*moves, return_exceptions=True)

    outcomes = client.portal.call(both)

    assert [type(outcome) for outcome in outcomes] == [tuple, Conflict]
