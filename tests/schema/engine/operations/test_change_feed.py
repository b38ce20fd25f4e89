"""What happened is told after the commit, once, in order, and without data; what did not happen is not told."""

from __future__ import annotations

import sqlite3

import pytest

from schema.engine.changes import Change
from tests.fixtures.clients import READER, Refused


@pytest.fixture
def told(http_client):
    """The changes that have been told of."""
    heard: list[Change] = []
    http_client.app.state.directory.feed.listeners.append(heard.append)
    return heard


def test_each_change_is_published_once(client, told):
    made = client.create("user", first_name="Ada", age=36)
    client.update("user", made["id"], age=37)
    client.call("deactivate", "user", made["id"])
    client.delete("user", made["id"])

    assert told == [Change("User", made["id"], deed) for deed in ("created", "updated", "updated", "deleted")]


def test_a_link_is_a_change_of_both_records(client, told):
    user, group = client.create("user", first_name="Ada", age=36), client.create("group", name="Engine")
    told.clear()

    client.link("group", group["id"], "members", user["id"])
    joined = list(told)
    client.unlink("group", group["id"], "members", user["id"])

    assert joined == [Change("Group", group["id"], "updated"), Change("User", user["id"], "updated")]
    assert told == joined * 2


def test_a_refused_write_publishes_nothing(client, told):
    made = client.create("user", first_name="Ada", age=36, email="ada@example.com")
    told.clear()

    for deed in (
        lambda: client.create("user", first_name="Ada", age=36, email="ADA@example.com"),
        lambda: client.create("user", first_name="Ada", age=-1),
        lambda: client.by(READER).update("user", made["id"], age=1),
        lambda: client.update("user", made["id"], if_version=7, age=1),
        lambda: client.delete("user", made["id"], if_version=7),
        lambda: client.delete("user", made["id"][:-1]),
        lambda: client.link("group", made["id"], "members", made["id"]),
    ):
        with pytest.raises(Refused):
            deed()

    assert told == []


def test_a_write_that_changes_nothing_publishes_nothing(client, told):
    made, group = client.create("user", first_name="Ada", age=36), client.create("group", name="Engine")
    told.clear()

    client.update("user", made["id"], age=36)
    client.update("user", made["id"])
    client.unlink("group", group["id"], "members", made["id"])

    assert told == []


def test_an_existing_link_publishes_nothing(client, told):
    user, group = client.create("user", first_name="Ada", age=36), client.create("group", name="Engine")
    client.link("group", group["id"], "members", user["id"], role="owner")
    told.clear()

    client.link("group", group["id"], "members", user["id"])
    client.link("group", group["id"], "members", user["id"], role="owner")

    assert told == []


@pytest.mark.sqlite
def test_a_listener_can_read_the_change(http_client, client, database):
    """Told after the commit: another connection sees it already."""
    seen = []

    def look(change):
        with sqlite3.connect(database) as other:
            seen.extend(other.execute("SELECT age, version FROM user WHERE id = ?", (change.id,)).fetchall())
        other.close()

    http_client.app.state.directory.feed.listeners.append(look)
    made = client.create("user", first_name="Ada", age=36)
    client.update("user", made["id"], age=37)

    assert seen == [(36, 1), (37, 2)]


def test_the_response_follows_the_published_change(client, told):
    made = client.create("user", first_name="Ada", age=36)

    assert told == [Change("User", made["id"], "created")]


@pytest.mark.filterwarnings("default")
def test_a_failing_listener_affects_nothing_else(http_client, client, told, caplog):
    def fail(change):
        raise RuntimeError("a listener of no use")

    http_client.app.state.directory.feed.listeners.insert(0, fail)

    made = client.create("user", first_name="Ada", age=36)
    changed = client.update("user", made["id"], age=37)

    assert changed["age"] == 37
    assert [change.operation for change in told] == ["created", "updated"]
    assert "a listener of no use" in caplog.text
