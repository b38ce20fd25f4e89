"""A rule is a WHERE clause: what an actor may not see is not listed, counted, paged, followed, changed or created.

No model hides whole rows yet, so these tests put rules on the models that do: people see themselves alone, and more.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schema.engine.changes import Change
from schema.engine.errors import Conflict, Forbidden, NotFound, VersionMismatch
from schema.engine.model.policy import Rule, Rules, linked, own, role
from schema.engine.model.resource import Resource
from schema.engine.operations import links, records
from schema.engine.query.cursors import cursor_values
from schema.engine.query.selection import (
    Items,
    LinkedRecord,
    ListSelection,
    NextCursor,
    Page,
    PageInfo,
    Scalar,
    Selection,
    Total,
)
from schema.models import Membership
from tests.fixtures import access_table
from tests.fixtures.access_table import ACTORS, ADA, BOB, CHOIR, ENGINE, EVE, PEOPLE
from tests.fixtures.clients import GROUP, USER

ID = Selection((("id", Scalar("id")),))
INFO = PageInfo((("next", "has_next"), ("previous", "has_previous")))
LIST = ListSelection((("items", Items(ID)), ("total", Total()), ("next", NextCursor()), ("info", INFO)), Page("size"))
MEMBERS = replace(LIST, relation="members")
GROUPS = replace(LIST, relation="groups")
FRESH = {"last_name": None, "email": None, "active": True}


@pytest.fixture
def database(database):
    """A database with the people and groups of the access table."""
    access_table.populate(database)
    return database


@pytest.fixture
def rules():
    """Return a function that replaces the rules of a resource or a link during a test."""
    before: list[tuple[Any, Rules]] = []

    def give(owner: Any, rules: Rules) -> None:
        if isinstance(owner, Resource):
            object.__setattr__(owner, "rules", rules)  # a resource is frozen
        else:
            owner.rules = rules

    def put(owner: Any, **rules: Rule) -> None:
        before.append((owner, owner.rules))
        give(owner, replace(owner.rules, **rules))

    yield put
    for owner, rules in reversed(before):
        give(owner, rules)


@pytest.fixture
def ada(directory):
    return directory.unit_of_work(ACTORS["owner"])


@pytest.fixture
def admin(directory):
    return directory.unit_of_work(ACTORS["admin"])


async def listed(unit_of_work, created, branch, id=None, **values):
    """Return a list, or a list below a record."""
    values = {"size": 10, **values}
    if id is None:
        return json.loads((await records.find(unit_of_work, created, branch, values)).json)
    return json.loads((await records.find_related(unit_of_work, created, id, branch, values)).json)


def ids(page):
    return [item["id"] for item in page["items"]]


async def test_hidden_records_are_not_listed_counted_or_paged(ada, admin, rules):
    rules(USER, read=own("id") | role("admin"))

    everybody = await listed(admin, USER, LIST)
    mine = await listed(ada, USER, LIST, size=1)

    assert (ids(everybody), everybody["total"]) == ([user["id"] for user in PEOPLE], 3)
    assert mine == {"items": [{"id": ADA["id"]}], "total": 1, "next": None, "info": {"next": False, "previous": False}}


async def test_a_cursor_reveals_no_hidden_records(ada, admin, rules):
    """Bob's place in the list lies between one that Ada sees and one that she does not."""
    rules(USER, read=own("id") | role("admin"))
    cursor = (await listed(admin, USER, LIST, size=2))["next"]
    after = replace(LIST, page=Page("size", after="cursor"))
    values = {
        "size": 5,
        **cursor_values(cursor, "cursor", USER, None, LIST.order, None, {}, admin.directory.cursor_key.current),
    }

    mine = await listed(ada, USER, after, **values)

    assert mine == {"items": [], "total": 1, "next": None, "info": {"next": False, "previous": True}}


async def test_every_operation_on_a_hidden_record_is_not_found(ada, rules):
    rules(USER, read=own("id"), update=role("admin") | own("id"), delete=own("id"))

    for operation in (
        lambda: records.get(ada, USER, BOB["id"], ID),
        lambda: records.update(ada, USER, BOB["id"], {"age": 1}, ID),
        lambda: records.update(ada, USER, BOB["id"], {}, ID, versions=frozenset({9})),
        lambda: records.delete(ada, USER, BOB["id"]),
        lambda: records.find_related(ada, USER, BOB["id"], GROUPS, {"size": 1}),
        lambda: links.link(ada, GROUP.relations["members"], ENGINE["id"], BOB["id"], {}, []),
    ):
        with pytest.raises(NotFound):
            await operation()


async def test_related_lists_hold_only_visible_records(ada, admin, rules):
    rules(USER, read=own("id") | role("admin"))

    mine = await listed(ada, GROUP, MEMBERS, ENGINE["id"])
    all_of_them = await listed(admin, GROUP, MEMBERS, ENGINE["id"])
    nobody = await listed(ada, GROUP, MEMBERS, CHOIR["id"])

    assert (ids(mine), mine["total"], mine["info"]["next"]) == ([ADA["id"]], 1, False)
    assert (ids(all_of_them), all_of_them["total"]) == ([ADA["id"], BOB["id"]], 2)
    assert (ids(nobody), nobody["total"]) == ([], 0)


async def test_hidden_links_are_not_followed(directory, ada, admin, rules):
    """Members of the group and administrators see who belongs, from either record."""
    rules(Membership, read=linked(Membership, role="owner") | role("admin"))
    bob = directory.unit_of_work(ACTORS["member"])

    assert ids(await listed(ada, GROUP, MEMBERS, ENGINE["id"])) == [ADA["id"], BOB["id"]]
    assert ids(await listed(ada, USER, GROUPS, BOB["id"])) == [ENGINE["id"]]
    assert ids(await listed(bob, GROUP, MEMBERS, ENGINE["id"])) == []
    assert ids(await listed(bob, USER, GROUPS, BOB["id"])) == []
    assert ids(await listed(admin, USER, GROUPS, BOB["id"])) == [ENGINE["id"], CHOIR["id"]]


async def test_nested_lists_hold_only_visible_records(ada, rules):
    rules(USER, read=own("id") | role("admin"))
    members = Selection((("members", replace(MEMBERS, page=Page("size"))),))
    groups = ListSelection((("items", Items(members)),), Page("size"))

    page = await listed(ada, GROUP, groups)

    assert [(ids(group["members"]), group["members"]["total"]) for group in page["items"]] == [
        ([ADA["id"]], 1),
        ([], 0),
    ]


async def test_a_link_to_a_hidden_record_cannot_be_read(ada, rules):
    rules(USER, read=own("id"))
    item = Selection((("user", LinkedRecord(ID)), ("role", Scalar("role", of_link=True))))
    relation = GROUP.relations["members"]

    assert b'"owner"' in await links.get_link(ada, relation, ENGINE["id"], ADA["id"], item)
    with pytest.raises(NotFound):
        await links.get_link(ada, relation, ENGINE["id"], BOB["id"], item)


async def test_a_create_rule_may_depend_on_the_new_record(ada, directory, rules):
    """The rule is evaluated on the new record; a forbidden one is rolled back."""
    rules(USER, create=own("external_id"))
    published: list[Change] = []
    directory.changes.listeners.append(published.append)
    fresh = {"first_name": "New", "age": 1, **FRESH}

    id, _ = await records.create(ada, USER, {**fresh, "external_id": ADA["id"]}, ID)
    with pytest.raises(Forbidden):
        await records.create(ada, USER, {**fresh, "external_id": BOB["id"]}, ID)

    assert sorted(ids(await listed(ada, USER, LIST))) == sorted([*(user["id"] for user in PEOPLE), id])
    assert [change.id for change in published] == [id]


async def test_a_record_that_its_creator_may_not_see_is_not_created(ada, rules):
    rules(USER, read=own("id"), create=own("external_id"))

    with pytest.raises(NotFound):
        await records.create(ada, USER, {"first_name": "New", "age": 1, **FRESH, "external_id": ADA["id"]}, ID)

    assert ids(await listed(ada, USER, LIST)) == [ADA["id"]]


async def test_an_update_rule_applies_to_the_record_before_the_change(ada, rules):
    """Nobody makes themselves the owner of a record by the very change that an owner may make."""
    rules(USER, update=own("external_id"))

    with pytest.raises(Forbidden):
        await records.update(ada, USER, EVE["id"], {"external_id": ADA["id"]}, ID)


async def test_not_found_comes_before_forbidden_and_forbidden_before_stale(ada, rules):
    bob_too = Rule(lambda row, kind: row.c["first_name"] == "Bob")
    rules(USER, read=own("id") | bob_too, update=own("id"))
    stale = frozenset({9})

    for user, error in ((EVE, NotFound), (BOB, Forbidden), (ADA, VersionMismatch)):
        with pytest.raises(error):
            await records.update(ada, USER, user["id"], {"age": 1}, ID, versions=stale)


async def test_a_hidden_record_s_unique_value_is_taken(ada, rules):
    """A unique field cannot but reveal that."""
    rules(USER, read=own("id"), update=own("id"))

    with pytest.raises(Conflict):
        await records.update(ada, USER, ADA["id"], {"email": BOB["email"]}, ID)
