"""What is wrong with a request is said alike at both doors: the same code, and the same field to blame."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import Refused


@pytest.mark.parametrize(
    "fields, blamed",
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
    ids=lambda it: None if isinstance(it, set) else ascii(it)[:40],
)
@pytest.mark.parametrize("deed", ["create", "update"])
def test_a_value_out_of_bounds_is_blamed_on_its_field(client, deed, fields, blamed):
    made = client.create("user", first_name="Ada", age=36)
    deeds = {
        "create": lambda: client.create("user", **{"first_name": "Ada", "age": 36, **fields}),
        "update": lambda: client.update("user", made["id"], **fields),
    }

    with pytest.raises(Refused, match="VALIDATION_FAILED") as refused:
        deeds[deed]()

    assert refused.value.names == blamed
    assert client.find("user").items == [made]


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
    ids=lambda it: ascii(it)[:40],
)
def test_the_bounds_themselves_are_within_bounds(client, fields):
    made = client.create("user", **{"first_name": "Ada", "age": 36, **fields})

    assert {**made, **fields} == made


@pytest.mark.parametrize(
    "asked, blamed",
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
    ids=lambda it: ascii(it)[:40],
)
def test_a_filter_out_of_bounds_is_blamed_on_its_field(client, asked, blamed):
    with pytest.raises(Refused, match="VALIDATION_FAILED") as refused:
        client.find("user", **asked)

    assert refused.value.names == {{"rest": "limit", "graphql": "first"}[client.name] if blamed == "size" else blamed}


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-11-22", "2026-11-22T09:30:00", "2026-02-30T00:00:00Z", "1795339800"]
)
def test_a_time_that_is_none_is_refused(client, time):
    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        client.find("user", created_at__gt=time)


def test_a_whole_number_with_a_point_is_an_integer(client):
    made = client.create("user", first_name="Ada", age=36.0)

    assert made["age"] == 36
    assert isinstance(made["age"], int)


@pytest.mark.parametrize("value", ["36", True, 36.5, [36], {"a": 36}], ids=repr)
def test_what_is_no_integer_is_refused(client, value):
    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        client.create("user", first_name="Ada", age=value)


@pytest.mark.parametrize("value", [36, True, ["Ada"], {"a": "Ada"}], ids=repr)
def test_what_is_no_text_is_refused(client, value):
    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        client.create("user", first_name=value, age=36)


READ_ONLY = ["created_at", "updated_at", "version", "first_name_key", "nickname"]


@pytest.mark.parametrize("field", ["id", *READ_ONLY])
def test_what_may_not_be_written_is_no_field_of_a_new_record(client, field):
    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        client.create("user", first_name="Ada", age=36, **{field: 1})


@pytest.mark.parametrize("field", READ_ONLY)
def test_what_may_not_be_written_is_no_field_of_a_change(client, field):
    made = client.create("user", first_name="Ada", age=36)

    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        client.update("user", made["id"], **{field: 1})


def test_an_id_cannot_be_changed(rest):
    made = rest.create("user", first_name="Ada", age=36)

    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        rest.send("PATCH", f"/users/{made['id']}", json={"id": made["id"]})


@pytest.mark.parametrize("missing", ["first_name", "age"])
def test_what_is_required_has_to_be_sent(client, missing):
    given = {"first_name": "Ada", "age": 36}
    del given[missing]

    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        client.create("user", **given)
