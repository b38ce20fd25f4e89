"""Short reads are done on the event loop's own thread; one that takes long is broken off there, and goes to a lane."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading

import pytest

from schema.engine.changes import TransactionResult
from schema.engine.errors import DatabaseUnavailable
from schema.engine.operations.directory import Directory
from schema.engine.sqlite import inline_reader

pytestmark = pytest.mark.sqlite

LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 400000) SELECT count(*) FROM n"
SHORT = "SELECT 1"


@pytest.fixture
async def places(database):
    """A directory, and for each statement in it whether it ran on this thread."""
    seen: list[tuple[str, bool]] = []
    here = threading.get_ident()
    watch = lambda statement: seen.append((statement, threading.get_ident() == here))  # noqa: E731
    async with Directory(str(database), on_statement=watch) as directory:
        seen.clear()
        yield directory, seen


async def test_a_short_read_stays_on_the_loop_s_thread(places):
    directory, seen = places

    assert await directory.read([(SHORT, ())]) == [[(1,)]]
    assert seen == [(SHORT, True)]


async def test_a_long_read_is_broken_off_and_goes_to_a_lane(places):
    directory, seen = places

    assert await directory.read([(LONG, ())]) == [[(400000,)]]
    assert seen == [(LONG, True), (LONG, False)]


async def test_the_reads_of_one_turn_have_a_budget_together(places, monkeypatch):
    """Each is short by itself; those beyond the budget go to threads, so that the loop's thread is soon free."""
    directory, seen = places
    monkeypatch.setattr(inline_reader, "MAX_CHECKS_PER_TURN", 10)
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", 1e9)
    middling = LONG.replace("400000", "4000")

    found = await asyncio.gather(*(directory.read([(middling, ())]) for _ in range(20)))
    await asyncio.sleep(0)
    again = await directory.read([(middling, ())])

    assert found == [[[(4000,)]]] * 20
    assert again == [[(4000,)]]
    here = [on_this_thread for _, on_this_thread in seen]
    assert 1 <= here[:-1].count(True) <= 10
    assert here[-1]


async def test_a_read_is_long_by_the_clock_as_by_its_steps(places, monkeypatch):
    directory, seen = places
    monkeypatch.setattr(inline_reader, "MAX_INSTRUCTIONS", 10**9)
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", 0.0)

    assert await directory.read([(LONG, ())]) == [[(400000,)]]
    assert seen == [(LONG, True), (LONG, False)]


@pytest.mark.parametrize(
    "most, longest, avoided",
    [(0, 1e9, inline_reader.AVOID_SECONDS), (10**9, -1.0, inline_reader.AVOID_BRIEFLY_SECONDS)],
    ids=["by its steps", "by the clock"],
)
async def test_what_took_long_is_not_tried_again_for_a_while(places, monkeypatch, most, longest, avoided):
    directory, seen = places
    now = 1000.0
    monkeypatch.setattr(inline_reader, "MAX_INSTRUCTIONS", most)
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", longest)
    monkeypatch.setattr(inline_reader, "monotonic", lambda: now)
    for wait in (0.0, avoided / 2, avoided):
        now = 1000.0 + wait
        await directory.read([(LONG, ())])

    assert seen == [(LONG, True), (LONG, False), (LONG, False), (LONG, True), (LONG, False)]


async def test_another_statement_is_still_read_at_a_glance(places):
    directory, seen = places
    await directory.read([(LONG, ())])
    seen.clear()

    await directory.read([(SHORT, ())])

    assert seen == [(SHORT, True)]


async def test_those_avoided_are_not_remembered_without_end(places, monkeypatch):
    directory, _ = places
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", -1.0)
    monkeypatch.setattr(inline_reader, "MAX_AVOIDED", 3)

    for number in range(10):
        await directory.read([(f"{LONG} -- {number}", ())])
        assert len(directory.database._inline_reader._avoided) <= 3


async def test_steps_that_go_together_are_of_one_moment(places, database):
    directory, seen = places

    assert await directory.read([(SHORT, ()), ("SELECT 2", ())]) == [[(1,)], [(2,)]]
    assert [statement for statement, _ in seen] == ["BEGIN", SHORT, "SELECT 2", "ROLLBACK"]
    assert all(here for _, here in seen)


async def test_the_reads_of_one_turn_share_a_snapshot_from_the_second_on(places):
    directory, seen = places

    answers = await asyncio.gather(*(directory.read([(f"SELECT {number}", ())]) for number in range(4)))
    await asyncio.sleep(0)

    assert answers == [[[(number,)]] for number in range(4)]
    assert [statement for statement, _ in seen] == [
        "SELECT 0", "BEGIN", "SELECT 1", "SELECT 2", "SELECT 3", "COMMIT"
    ]  # fmt: skip


async def test_a_shared_snapshot_does_not_outlast_its_turn(places, database):
    directory, _ = places
    count = [("SELECT count(*) FROM alembic_version", ())]
    for number in range(1, 4):
        shared = await asyncio.gather(*(directory.read(count) for _ in range(3)))
        with contextlib.closing(sqlite3.connect(database)) as other, other:
            other.execute("INSERT INTO alembic_version VALUES (?)", (f"of another process {number}",))

        assert shared == [[[(number,)]]] * 3
        assert await directory.read(count) == [[(number + 1,)]]


async def test_no_snapshot_is_held_while_somebody_writes(places):
    directory, seen = places

    def job():
        yield "SELECT 'written'", ()
        return TransactionResult(None)

    reads = [directory.read([(f"SELECT {number}", ())]) for number in range(6)]
    await asyncio.gather(*reads[:3], directory.write(job), *reads[3:])

    here = [statement for statement, here in seen if here]
    assert here == ["SELECT 0", "BEGIN", "SELECT 1", "SELECT 2", "COMMIT", "SELECT 3", "SELECT 4", "SELECT 5"]


async def test_steps_in_a_shared_snapshot_need_none_of_their_own(places):
    directory, seen = places

    await asyncio.gather(*(directory.read([(SHORT, ()), ("SELECT 2", ())]) for _ in range(2)))
    await asyncio.sleep(0)

    assert [statement for statement, _ in seen] == [
        "BEGIN", SHORT, "SELECT 2", "ROLLBACK", "BEGIN", SHORT, "SELECT 2", "COMMIT"
    ]  # fmt: skip


async def test_what_takes_long_in_a_shared_snapshot_leaves_it_to_the_others(places):
    directory, seen = places

    answers = await asyncio.gather(*(directory.read([(asked, ())]) for asked in (SHORT, SHORT, LONG, SHORT)))
    await asyncio.sleep(0)

    assert answers == [[[(1,)]], [[(1,)]], [[(400000,)]], [[(1,)]]]
    assert [statement for statement, here in seen if here] == [SHORT, "BEGIN", SHORT, LONG, SHORT, "COMMIT"]


async def test_steps_of_which_one_takes_long_go_to_a_lane_together(places):
    directory, seen = places

    assert await directory.read([(SHORT, ()), (LONG, ())]) == [[(1,)], [(400000,)]]
    assert [statement for statement, here in seen if not here] == ["BEGIN", SHORT, LONG, "ROLLBACK"]


async def test_what_fails_is_told_by_a_lane(places, database):
    directory, _ = places

    with pytest.raises(DatabaseUnavailable):
        await directory.read([("SELECT 1 FROM nowhere", ())])


async def test_a_lock_is_not_waited_for_on_the_loop_s_thread(places):
    directory, _ = places
    assert directory.database._inline_reader._connection.execute("PRAGMA busy_timeout").fetchall() == [(0,)]


async def test_nothing_is_written_at_a_glance(places):
    directory, _ = places

    with pytest.raises(DatabaseUnavailable):
        await directory.read([("DELETE FROM membership", ())])
