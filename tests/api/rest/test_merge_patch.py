"""A change is a merge patch (RFC 7396): what is not sent stays, null clears, and nothing else is touched."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import Refused

ADA = {
    "first_name": "Ada", "last_name": "Lovelace", "age": 36, "email": "ada@example.com", "external_id": "00u1",
    "active": True,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"last_name": None},
        {"email": None},
        {"external_id": None},
        {"last_name": None, "email": None, "external_id": None},
        {"first_name": "Augusta"},
        {"age": 0},
        {"active": False},
        {"email": "ADA@example.com"},
        {"last_name": "King", "email": None},
    ],
    ids=str,
)
def test_what_is_not_sent_stays(client, change):
    made = client.create("user", **ADA)

    changed = client.update("user", made["id"], **change)

    assert {**changed, "updated_at": ""} == {**made, **change, "version": 2, "updated_at": ""}


@pytest.mark.parametrize("field", ["first_name", "age", "active"])
def test_what_may_not_be_empty_cannot_be_cleared(client, field):
    made = client.create("user", **ADA)

    with pytest.raises(Refused, match="VALIDATION_FAILED") as refused:
        client.update("user", made["id"], **{field: None})

    assert refused.value.names == {field}
    assert client.get("user", made["id"]) == made


def test_a_cleared_field_is_found_as_empty_and_by_nothing_else(client):
    made = client.create("user", **ADA)

    client.update("user", made["id"], email=None, last_name=None)

    assert client.find("user", email__isnull=True).ids == [made["id"]]
    assert client.find("user", last_name__isnull=True).ids == [made["id"]]
    assert client.find("user", email="ada@example.com").ids == []
    assert client.find("user", email__startswith="ada").ids == []
    assert client.find("user", last_name__startswith="love").ids == []


def test_a_changed_name_is_found_by_its_new_beginning(client):
    made = client.create("user", **ADA)

    client.update("user", made["id"], first_name="Éva")

    assert client.find("user", first_name__startswith="éV").ids == [made["id"]]
    assert client.find("user", first_name__startswith="ad").ids == []


@pytest.mark.parametrize(
    "media", ["application/merge-patch+json", "application/json", "Application/JSON; charset=UTF-8"]
)
def test_both_media_types_are_taken(rest, media):
    made = rest.create("user", **ADA)

    answer = rest.send("PATCH", f"/users/{made['id']}", content=b'{"age": 40}', headers={"content-type": media})

    assert answer.json()["age"] == 40


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true"])
def test_a_patch_is_an_object(rest, body):
    made = rest.create("user", **ADA)
    headers = {"content-type": "application/merge-patch+json"}

    with pytest.raises(Refused, match="VALIDATION_FAILED"):
        rest.send("PATCH", f"/users/{made['id']}", content=body, headers=headers)
