"""A list accepts the cursors that it issued, unaltered, and no others."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import ApiError

pytestmark = pytest.mark.usefixtures("populated_database")


@pytest.mark.parametrize("parameter", ["after", "before"])
@pytest.mark.parametrize(
    "cursor",
    ["x", "AAAAAAAA", "WzFd", "A" * 2048, "Og", "bnVsbA", "-_-_"],
    ids=lambda cursor: f"{cursor[:8]}{len(cursor)}",
)
def test_an_unknown_cursor_is_refused(client, parameter, cursor):
    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", **{parameter: cursor})


@pytest.mark.slow
def test_an_altered_cursor_is_refused(client):
    cursor = client.find("user", sort="age", size=1).next

    for place in range(len(cursor)):
        for character in {"A", "B", "_", cursor[0]} - {cursor[place]}:
            altered = cursor[:place] + character + cursor[place + 1 :]
            with pytest.raises(ApiError, match="BAD_REQUEST"):
                client.find("user", sort="age", after=altered)
    for altered in (cursor[:-1], cursor + "A", cursor * 2):
        with pytest.raises(ApiError, match="BAD_REQUEST"):
            client.find("user", sort="age", after=altered)


@pytest.mark.parametrize(
    "arguments",
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
@pytest.mark.parametrize("parameter", ["after", "before"])
def test_a_cursor_of_another_list_is_refused(client, arguments, parameter):
    cursor = client.find("user", sort="-age", size=1, age__gte=1, active=True).next

    assert client.find("user", sort="-age", active=True, age__gte=1, after=cursor).items
    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", **arguments, **{parameter: cursor})


def test_a_cursor_of_another_model_is_refused(client):
    cursor = client.find("user", size=1).next

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("group", after=cursor)


def test_a_cursor_of_all_records_is_refused_below_a_record(client):
    user, group = client.find("user", size=1), client.create("group", name="Engine")
    client.link("group", group["id"], "members", user.ids[0])

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("group", ("members", group["id"]), after=user.next)


def test_an_overlong_cursor_is_refused(client):
    with pytest.raises(ApiError, match=r"BAD_REQUEST|VALIDATION_FAILED"):
        client.find("user", after="A" * 2049)


def test_the_longest_names_fit_into_a_cursor(client):
    longest = "\U0010ffff" * 100
    for number in range(2):
        client.create("user", first_name=longest, last_name=longest, age=number)
    page = client.find("user", sort="-last_name,-first_name", size=1)

    assert page.items[0]["last_name"] == longest
    assert client.find("user", sort="-last_name,-first_name", size=1, after=page.next).items[0]["last_name"] == longest
