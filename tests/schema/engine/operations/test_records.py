"""Records are created, read, changed and deleted the same way in both APIs, and each change is one version."""

from __future__ import annotations

import re
import uuid

import pytest

from tests.fixtures.clients import ApiError, Row

ADA = {"first_name": "Ada", "last_name": "Lovelace", "age": 36, "email": "Ada@Example.com", "external_id": "00u1"}
SMALLEST: dict[str, Row] = {"user": {"first_name": "Ada", "age": 36}, "group": {"name": "Engine"}}
UNKNOWN = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")

kinds = pytest.mark.parametrize("kind", SMALLEST)


@kinds
def test_a_new_record_has_an_id_times_and_version_1(client, kind):
    created = client.create(kind, **SMALLEST[kind])

    assert uuid.UUID(created["id"]).version == 7
    assert created["id"] == str(uuid.UUID(created["id"]))
    assert TIME.fullmatch(created["created_at"])
    assert created["created_at"] == created["updated_at"]
    assert (created["version"], created["active"]) == (1, True)


def test_values_are_returned_as_sent(client):
    created = client.create("user", **ADA, active=False)

    assert {**created, **ADA, "active": False} == created
    assert client.get("user", created["id"]) == created


def test_ids_sort_in_order_of_creation(client):
    ids = [client.create("group", name=f"group {number}")["id"] for number in range(20)]

    assert ids == sorted(ids)
    assert client.find("group").ids == ids


@kinds
def test_a_change_raises_the_version_by_one_and_sets_updated_at(client, kind, monkeypatch):
    created = client.create(kind, **SMALLEST[kind])
    monkeypatch.setattr("schema.engine.operations.records.now", lambda: "2999-01-01T00:00:00.000000Z")

    changed = client.update(kind, created["id"], active=False)

    assert changed == {**created, "active": False, "version": 2, "updated_at": "2999-01-01T00:00:00.000000Z"}
    assert client.get(kind, created["id"]) == changed


def test_an_update_with_equal_values_changes_nothing(client):
    created = client.create("user", **ADA)

    same = client.update("user", created["id"], **ADA, active=True)

    assert same == created
    assert client.update("user", created["id"]) == created


def test_one_different_field_is_a_change(client):
    created = client.create("user", **ADA)

    changed = client.update("user", created["id"], **{**ADA, "email": "ada@example.com"})

    assert (changed["email"], changed["version"]) == ("ada@example.com", 2)


def test_setting_or_clearing_a_nullable_field_is_a_change(client):
    created = client.create("user", first_name="Ada", age=36)

    filled = client.update("user", created["id"], last_name="Lovelace")
    cleared = client.update("user", created["id"], last_name=None)

    assert (filled["last_name"], filled["version"]) == ("Lovelace", 2)
    assert (cleared["last_name"], cleared["version"]) == (None, 3)


def test_a_model_s_actions_change_their_fields(client):
    created = client.create("user", **ADA)

    off = client.call("deactivate", "user", created["id"])
    still_off = client.call("deactivate", "user", created["id"])
    on = client.call("activate", "user", created["id"])

    assert (off["active"], off["version"]) == (False, 2)
    assert still_off == off
    assert {**on, "updated_at": None} == {**created, "version": 3, "updated_at": None}


@kinds
def test_a_deleted_record_is_gone(client, kind):
    created = client.create(kind, **SMALLEST[kind])

    client.delete(kind, created["id"])

    with pytest.raises(ApiError, match="NOT_FOUND"):
        client.get(kind, created["id"])
    assert client.find(kind, count="exact").total == 0


@pytest.mark.parametrize("id", [UNKNOWN, "no-uuid", "%", "x" * 200], ids=["unknown", "malformed", "percent", "long"])
@pytest.mark.parametrize(
    "operation",
    [
        lambda client, id: client.get("user", id),
        lambda client, id: client.update("user", id, age=1),
        lambda client, id: client.update("user", id),
        lambda client, id: client.delete("user", id),
        lambda client, id: client.call("deactivate", "user", id),
        lambda client, id: client.find("user", ("groups", id)),
    ],
    ids=["get", "update", "update nothing", "delete", "call", "list below"],
)
def test_every_operation_on_an_unknown_record_is_not_found(client, operation, id):
    with pytest.raises(ApiError, match="NOT_FOUND"):
        operation(client, id.replace("%", "%25") if client.name == "rest" else id)


def test_an_id_ignores_case(client):
    created = client.create("user", **ADA)
    capitals = created["id"].upper()

    assert client.get("user", capitals) == created
    assert client.find("user", id=capitals).ids == [created["id"]]
    assert client.update("user", capitals, age=37)["age"] == 37
    client.delete("user", capitals)


def test_both_apis_show_the_same_record(rest, graphql):
    created = rest.create("user", **ADA)

    assert graphql.get("user", created["id"]) == created
    assert graphql.update("user", created["id"], age=37) == rest.get("user", created["id"])
    assert rest.find("user").items == graphql.find("user").items


@pytest.mark.parametrize(
    "text",
    ["Ñandú", "O'Brien", 'say "hi"', "back\\slash", "👩‍👩‍👧", "a\u0301", "\u2028x", "null", "\U0010ffff",
     "%_*?", "x" * 100, "👩" * 100],
    ids=ascii,
)  # fmt: skip
def test_text_is_returned_as_sent(client, text):
    created = client.create("user", first_name=text, age=0)

    assert client.get("user", created["id"])["first_name"] == text
    assert client.find("user", first_name=text).ids == [created["id"]]
