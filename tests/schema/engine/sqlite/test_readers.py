"""Reads at the same moment, away from the event loop's thread: none sees another's answer."""

from __future__ import annotations

import asyncio

import pytest

from schema.engine.errors import NotFound
from schema.engine.operations.records import find, get
from schema.engine.query.selection import Items, ListSelection, Page, Scalar, Selection
from schema.engine.sql.record_lookup import RecordResult
from schema.engine.sqlite.inline_reader import InlineReader
from tests.fixtures import access_table
from tests.fixtures.access_table import ACTORS, ADA, BOB, EVE, PEOPLE
from tests.fixtures.clients import USER

WHOLE = Selection(tuple((field.name, Scalar(field.name)) for field in USER.readable_fields))
SHORT = Selection((("id", Scalar("id")), ("email", Scalar("email"))))
LIST = ListSelection((("items", Items(SHORT)),), Page("size"))
UNKNOWN = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"


@pytest.fixture(autouse=True)
def _lanes_alone(monkeypatch):
    monkeypatch.setattr(InlineReader, "read", lambda self, queries, share_snapshot: None)


@pytest.fixture
def database(database):
    """A database with the small society in it."""
    access_table.furnish(database)
    return database


async def look_up(directory, *asked):
    """What comes of looking up these users (whose eyes, whose record, what of it), all at the same moment."""
    works = ((directory.unit_of_work(ACTORS[name]), id, selection) for name, id, selection in asked)
    answers = await asyncio.gather(
        *(get(unit_of_work, USER, id, what) for unit_of_work, id, what in works), return_exceptions=True
    )
    return [answer.json if isinstance(answer, RecordResult) else answer for answer in answers]


async def test_each_gets_what_they_would_get_alone(watched):
    directory, _ = watched
    asked = [
        (name, user["id"], selection)
        for selection in (WHOLE, SHORT)
        for user in (*PEOPLE, *PEOPLE)
        for name in ("admin", "owner", "person", "reader")
    ]
    alone = [(await look_up(directory, one))[0] for one in asked]

    assert await look_up(directory, *asked) == alone
    assert len(set(alone)) == 12


async def test_people_do_not_see_one_another_s_private_fields(watched):
    directory, _ = watched

    answers = await look_up(
        directory, *((name, ADA["id"], SHORT) for name in ("owner", "person", "member", "owner") * 4)
    )

    assert [b"ada@example.com" in answer for answer in answers] == [True, False, False, True] * 4


async def test_who_is_not_there_is_missing_for_those_alone_who_ask(watched):
    directory, _ = watched
    asked = [
        ("admin", id, SHORT) for id in (ADA["id"], UNKNOWN, "x", BOB["id"], '"', EVE["id"][:-1], "\x1e\x1d", "")
    ] * 2

    answers = await look_up(directory, *asked)

    found = [not isinstance(answer, NotFound) for answer in answers]
    assert found == [True, False, False, True, False, False, False, False] * 2


async def test_lists_and_records_go_together(watched):
    directory, _ = watched
    unit_of_work = directory.unit_of_work(ACTORS["reader"])

    pages = [asyncio.create_task(find(unit_of_work, USER, LIST, {"size": size})) for size in (0, 1, 2, 3)]
    records = [asyncio.create_task(get(unit_of_work, USER, user["id"], SHORT)) for user in (ADA, BOB)]

    assert [(await page).json.count(b'"id"') for page in pages] == [0, 1, 2, 3]
    assert [(await record).json.count(b'"id"') for record in records] == [1, 1]
