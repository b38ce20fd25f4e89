"""Changes are published after the commit, once, in order, and without data; refused writes publish nothing."""

from __future__ import annotations

import sqlite3

import pytest

from schema.engine.changes import Change
from tests.fixtures.clients import READER, ApiError


@pytest.fixture
def published(http_client):
    """The changes that were published."""
    heard: list[Change] = []
    http_client.app.state.directory.changes.listeners.append(heard.append)
    return heard


def test_each_change_is_published_once(client, published):
    created = client.create("user", first_name="Ada", age=36)
    client.update("user", created["id"], age=37)
    client.call("deactivate", "user", created["id"])
    client.delete("user", created["id"])

    assert [change.operation for change in published] == ["created", "updated", "updated", "deleted"]
    assert {(change.resource, change.id) for change in published} == {("User", created["id"])}


def test_a_link_is_a_change_of_both_records(client, published):
    user, group = client.create("user", first_name="Ada", age=36), client.create("group", name="Engine")
    published.clear()

    client.link("group", group["id"], "members", user["id"])
    joined = list(published)
    client.unlink("group", group["id"], "members", user["id"])

    assert joined == [Change("Group", group["id"], "updated"), Change("User", user["id"], "updated")]
    assert published == joined * 2


def test_a_refused_write_publishes_nothing(client, published):
    created = client.create("user", first_name="Ada", age=36, email="ada@example.com")
    published.clear()

    for operation in (
        lambda: client.create("user", first_name="Ada", age=36, email="ADA@example.com"),
        lambda: client.create("user", first_name="Ada", age=-1),
        lambda: client.as_actor(READER).update("user", created["id"], age=1),
        lambda: client.update("user", created["id"], if_version=7, age=1),
        lambda: client.delete("user", created["id"], if_version=7),
        lambda: client.delete("user", created["id"][:-1]),
        lambda: client.link("group", created["id"], "members", created["id"]),
    ):
        with pytest.raises(ApiError):
            operation()

    assert published == []


def test_a_write_that_changes_nothing_publishes_nothing(client, published):
    created, group = client.create("user", first_name="Ada", age=36), client.create("group", name="Engine")
    published.clear()

    client.update("user", created["id"], age=36)
    client.update("user", created["id"])
    client.unlink("group", group["id"], "members", created["id"])

    assert published == []


def test_an_existing_link_publishes_nothing(client, published):
    user, group = client.create("user", first_name="Ada", age=36), client.create("group", name="Engine")
    client.link("group", group["id"], "members", user["id"], role="owner")
    published.clear()

    client.link("group", group["id"], "members", user["id"])
    client.link("group", group["id"], "members", user["id"], role="owner")

    assert published == []


@pytest.mark.sqlite
def test_a_listener_can_read_the_change(http_client, client, database):
    """Announced after the commit: another connection sees the change already."""
    seen = []

    def look(change):
        with sqlite3.connect(database) as connection:
            seen.extend(connection.execute("SELECT age, version FROM user WHERE id = ?", (change.id,)).fetchall())
        connection.close()

    http_client.app.state.directory.changes.listeners.append(look)
    created = client.create("user", first_name="Ada", age=36)
    client.update("user", created["id"], age=37)

    assert seen == [(36, 1), (37, 2)]


def test_the_response_follows_the_published_change(client, published):
    created = client.create("user", first_name="Ada", age=36)

    assert published == [Change("User", created["id"], "created")]


@pytest.mark.filterwarnings("default")
def test_a_failing_listener_affects_nothing_else(http_client, client, published, caplog):
    def fail(change):
        raise RuntimeError("a listener of no use")

    http_client.app.state.directory.changes.listeners.insert(0, fail)

    created = client.create("user", first_name="Ada", age=36)
    changed = client.update("user", created["id"], age=37)

    assert changed["age"] == 37
    assert [change.operation for change in published] == ["created", "updated"]
    assert "a listener of no use" in caplog.text
