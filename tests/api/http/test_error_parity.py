"""Errors are the same in REST and GraphQL: the same code, for the same field."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import ApiError


@pytest.mark.parametrize(
    "fields, names",
    [
        ({"first_name": ""}, {"first_name"}),
        ({"first_name": " "}, {"first_name"}),
        ({"first_name": "\u00a0\u2003"}, {"first_name"}),
        ({"first_name": "a\nb"}, {"first_name"}),
        ({"first_name": "a\x00b"}, {"first_name"}),
        ({"first_name": "a\x9fb"}, {"first_name"}),
        ({"first_name": "x" * 101}, {"first_name"}),
        ({"first_name": "👩" * 101}, {"first_name"}),
        ({"age": -1}, {"age"}),
        ({"age": 151}, {"age"}),
        ({"age": 2**31 - 1}, {"age"}),
        ({"email": "x"}, {"email"}),
        ({"email": "a b@c"}, {"email"}),
        ({"email": "@c"}, {"email"}),
        ({"email": "a@"}, {"email"}),
        ({"email": "a@b@c"}, {"email"}),
        ({"email": f"{'x' * 250}@x.xx"}, {"email"}),
        ({"external_id": ""}, {"external_id"}),
        ({"external_id": "x" * 256}, {"external_id"}),
        ({"active": None}, {"active"}),
        ({"first_name": "", "age": 151, "email": "x"}, {"first_name", "age", "email"}),
    ],
    ids=lambda value: None if isinstance(value, set) else ascii(value)[:40],
)
@pytest.mark.parametrize("name_of_operation", ["create", "update"])
def test_the_error_for_an_invalid_value_names_its_field(client, name_of_operation, fields, names):
    user = client.create("user", first_name="Ada", age=36)
    operations = {
        "create": lambda: client.create("user", **{"first_name": "Ada", "age": 36, **fields}),
        "update": lambda: client.update("user", user["id"], **fields),
    }

    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        operations[name_of_operation]()

    assert refused.value.names == names
    assert client.find("user").items == [user]


@pytest.mark.parametrize(
    "fields",
    [
        {"first_name": "x"},
        {"first_name": "👩" * 100},
        {"age": 0},
        {"age": 150},
        {"email": "a@b"},
        {"email": f"{'x' * 249}@x.xx"},
        {"external_id": "x" * 255},
        {"last_name": None, "email": None, "external_id": None},
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_values_at_the_bounds_are_valid(client, fields):
    user = client.create("user", **{"first_name": "Ada", "age": 36, **fields})

    assert {**user, **fields} == user


@pytest.mark.parametrize(
    "filters, names",
    [
        ({"size": -1}, "size"),
        ({"size": 101}, "size"),
        ({"id": "no-uuid"}, "id"),
        ({"id__in": ["no-uuid"]}, "id"),
        ({"first_name": ""}, "first_name"),
        ({"first_name": "x" * 101}, "first_name"),
        ({"first_name": "a\nb"}, "first_name"),
        ({"first_name__startswith": ""}, "first_name"),
        ({"age__in": list(range(251))}, "age"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_the_error_for_an_invalid_filter_names_its_field(client, filters, names):
    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        client.find("user", **filters)

    assert refused.value.names == {{"rest": "limit", "graphql": "first"}[client.name] if names == "size" else names}


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-11-22", "2026-11-22T09:30:00", "2026-02-30T00:00:00Z", "1795339800"]
)
def test_an_invalid_time_is_refused(client, time):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.find("user", created_at__gt=time)


def test_a_float_without_a_fraction_is_an_integer(client):
    user = client.create("user", first_name="Ada", age=36.0)

    assert user["age"] == 36
    assert isinstance(user["age"], int)


@pytest.mark.parametrize("value", ["36", True, 36.5, [36], {"a": 36}], ids=repr)
def test_a_value_that_is_not_an_integer_is_refused(client, value):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.create("user", first_name="Ada", age=value)


@pytest.mark.parametrize("value", [36, True, ["Ada"], {"a": "Ada"}], ids=repr)
def test_a_value_that_is_not_text_is_refused(client, value):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.create("user", first_name=value, age=36)


READ_ONLY = ["created_at", "updated_at", "version", "first_name_key", "nickname"]


@pytest.mark.parametrize("field", ["id", *READ_ONLY])
def test_a_read_only_field_cannot_be_sent_in_a_creation(client, field):
    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.create("user", first_name="Ada", age=36, **{field: 1})


@pytest.mark.parametrize("field", READ_ONLY)
def test_a_read_only_field_cannot_be_sent_in_an_update(client, field):
    user = client.create("user", first_name="Ada", age=36)

    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.update("user", user["id"], **{field: 1})


def test_an_id_cannot_be_changed(rest):
    user = rest.create("user", first_name="Ada", age=36)

    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        rest.send("PATCH", f"/users/{user['id']}", json={"id": user["id"]})


@pytest.mark.parametrize("missing", ["first_name", "age"])
def test_a_required_field_must_be_sent(client, missing):
    fields = {"first_name": "Ada", "age": 36}
    del fields[missing]

    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        client.create("user", **fields)
