"""Reads at the same moment on reader threads: each gets its own result."""

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
def _no_inline_reads(monkeypatch):
    monkeypatch.setattr(InlineReader, "read", lambda self, queries, share_snapshot: None)


@pytest.fixture
def database(database):
    """A database with the people of the access table in it."""
    access_table.populate(database)
    return database


async def look_up(directory, *lookups):
    """Read users (actor, id, selection) at the same moment, and return the JSON or the error of each."""
    calls = ((directory.unit_of_work(ACTORS[name]), id, selection) for name, id, selection in lookups)
    results = await asyncio.gather(
        *(get(unit_of_work, USER, id, selection) for unit_of_work, id, selection in calls), return_exceptions=True
    )
    return [result.json if isinstance(result, RecordResult) else result for result in results]


async def test_reads_at_the_same_moment_return_what_separate_reads_return(traced_directory):
    directory, _ = traced_directory
    lookups = [
        (name, user["id"], selection)
        for selection in (WHOLE, SHORT)
        for user in (*PEOPLE, *PEOPLE)
        for name in ("admin", "owner", "person", "reader")
    ]
    separate = [(await look_up(directory, lookup))[0] for lookup in lookups]

    assert await look_up(directory, *lookups) == separate
    assert len(set(separate)) == 12


async def test_actors_do_not_see_private_fields_of_others(traced_directory):
    directory, _ = traced_directory

    results = await look_up(
        directory, *((name, ADA["id"], SHORT) for name in ("owner", "person", "member", "owner") * 4)
    )

    assert [b"ada@example.com" in result for result in results] == [True, False, False, True] * 4


async def test_an_unknown_id_is_not_found_and_the_others_are(traced_directory):
    directory, _ = traced_directory
    lookups = [
        ("admin", id, SHORT) for id in (ADA["id"], UNKNOWN, "x", BOB["id"], '"', EVE["id"][:-1], "\x1e\x1d", "")
    ] * 2

    results = await look_up(directory, *lookups)

    assert [not isinstance(result, NotFound) for result in results] == [
        True, False, False, True, False, False, False, False
    ] * 2  # fmt: skip


async def test_lists_and_records_are_read_at_the_same_moment(traced_directory):
    directory, _ = traced_directory
    unit_of_work = directory.unit_of_work(ACTORS["reader"])

    pages = [asyncio.create_task(find(unit_of_work, USER, LIST, {"size": size})) for size in (0, 1, 2, 3)]
    records = [asyncio.create_task(get(unit_of_work, USER, user["id"], SHORT)) for user in (ADA, BOB)]

    assert [(await page).json.count(b'"id"') for page in pages] == [0, 1, 2, 3]
    assert [(await record).json.count(b'"id"') for record in records] == [1, 1]
