"""Updates are merge patches (RFC 7396): fields that are not sent keep their value, null clears."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import ApiError

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
def test_a_field_that_is_not_sent_keeps_its_value(client, change):
    user = client.create("user", **ADA)

    changed = client.update("user", user["id"], **change)

    assert {**changed, "updated_at": ""} == {**user, **change, "version": 2, "updated_at": ""}


@pytest.mark.parametrize("field", ["first_name", "age", "active"])
def test_a_required_field_cannot_be_cleared(client, field):
    user = client.create("user", **ADA)

    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        client.update("user", user["id"], **{field: None})

    assert refused.value.names == {field}
    assert client.get("user", user["id"]) == user


def test_a_cleared_field_matches_isnull_only(client):
    user = client.create("user", **ADA)

    client.update("user", user["id"], email=None, last_name=None)

    assert client.find("user", email__isnull=True).ids == [user["id"]]
    assert client.find("user", last_name__isnull=True).ids == [user["id"]]
    assert client.find("user", email="ada@example.com").ids == []
    assert client.find("user", email__startswith="ada").ids == []
    assert client.find("user", last_name__startswith="love").ids == []


def test_a_changed_name_matches_its_new_prefix(client):
    user = client.create("user", **ADA)

    client.update("user", user["id"], first_name="Éva")

    assert client.find("user", first_name__startswith="éV").ids == [user["id"]]
    assert client.find("user", first_name__startswith="ad").ids == []


@pytest.mark.parametrize(
    "media", ["application/merge-patch+json", "application/json", "Application/JSON; charset=UTF-8"]
)
def test_both_media_types_are_accepted(rest, media):
    user = rest.create("user", **ADA)

    response = rest.send("PATCH", f"/users/{user['id']}", content=b'{"age": 40}', headers={"content-type": media})

    assert response.json()["age"] == 40


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true"])
def test_a_patch_is_an_object(rest, body):
    user = rest.create("user", **ADA)
    headers = {"content-type": "application/merge-patch+json"}

    with pytest.raises(ApiError, match="VALIDATION_FAILED"):
        rest.send("PATCH", f"/users/{user['id']}", content=body, headers=headers)
