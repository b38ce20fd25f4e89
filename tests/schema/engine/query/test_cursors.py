"""A cursor is taken by the list that gave it and by no other, and only as it was given."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import Refused

pytestmark = pytest.mark.usefixtures("crowded")


@pytest.mark.parametrize("way", ["after", "before"])
@pytest.mark.parametrize(
    "cursor", ["x", "AAAAAAAA", "WzFd", "A" * 2048, "Og", "bnVsbA", "-_-_"], ids=lambda it: f"{it[:8]}{len(it)}"
)
def test_what_nobody_issued_is_refused(client, way, cursor):
    with pytest.raises(Refused, match="BAD_REQUEST"):
        client.find("user", **{way: cursor})


def test_what_was_altered_is_refused(client):
    cursor = client.find("user", sort="age", size=1).next

    for place in range(len(cursor)):
        for other in {"A", "B", "_", cursor[0]} - {cursor[place]}:
            altered = cursor[:place] + other + cursor[place + 1 :]
            with pytest.raises(Refused, match="BAD_REQUEST"):
                client.find("user", sort="age", after=altered)
    for altered in (cursor[:-1], cursor + "A", cursor * 2):
        with pytest.raises(Refused, match="BAD_REQUEST"):
            client.find("user", sort="age", after=altered)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"sort": "age"},
        {"sort": "-created_at"},
        {"sort": "-age", "active": True},
        {"sort": "-age", "age__gte": 2, "active": True},
        {"sort": "-age", "age__gt": 1, "active": True},
        {"sort": "-age", "age__gte": 1, "active": False},
        {"sort": "-age", "age__gte": 1, "active": True, "age__lte": 150},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["after", "before"])
def test_what_another_list_issued_is_refused(client, asked, way):
    cursor = client.find("user", sort="-age", size=1, age__gte=1, active=True).next

    assert client.find("user", sort="-age", active=True, age__gte=1, after=cursor).items
    with pytest.raises(Refused, match="BAD_REQUEST"):
        client.find("user", **asked, **{way: cursor})


def test_another_model_s_cursor_is_refused(client):
    cursor = client.find("user", size=1).next

    with pytest.raises(Refused, match="BAD_REQUEST"):
        client.find("group", after=cursor)


def test_the_cursor_of_all_is_none_of_those_below(client):
    user, group = client.find("user", size=1), client.create("group", name="Engine")
    client.link("group", group["id"], "members", user.ids[0])

    with pytest.raises(Refused, match="BAD_REQUEST"):
        client.find("group", ("members", group["id"]), after=user.next)


def test_a_cursor_is_at_most_so_long(client):
    with pytest.raises(Refused, match=r"BAD_REQUEST|VALIDATION_FAILED"):
        client.find("user", after="A" * 2049)


def test_the_longest_names_still_make_a_cursor_that_is_taken(client):
    longest = "\U0010ffff" * 100
    for number in range(2):
        client.create("user", first_name=longest, last_name=longest, age=number)
    page = client.find("user", sort="-last_name,-first_name", size=1)

    assert page.items[0]["last_name"] == longest
    assert client.find("user", sort="-last_name,-first_name", size=1, after=page.next).items[0]["last_name"] == longest
