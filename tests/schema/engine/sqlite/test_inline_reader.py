"""Short reads run on the event loop's thread; a longer one is interrupted there and goes to a reader thread."""

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
async def traced(database):
    """A directory, and each statement with whether it ran on this thread."""
    statements: list[tuple[str, bool]] = []
    this_thread = threading.get_ident()
    observe = lambda statement: statements.append((statement, threading.get_ident() == this_thread))  # noqa: E731
    async with Directory(str(database), on_statement=observe) as directory:
        statements.clear()
        yield directory, statements


async def test_a_short_read_stays_on_the_loop_s_thread(traced):
    directory, statements = traced

    assert await directory.read([(SHORT, ())]) == [[(1,)]]
    assert statements == [(SHORT, True)]


@pytest.mark.slow
async def test_a_long_read_is_interrupted_and_goes_to_a_reader_thread(traced):
    directory, statements = traced

    assert await directory.read([(LONG, ())]) == [[(400000,)]]
    assert statements == [(LONG, True), (LONG, False)]


async def test_the_reads_of_one_turn_share_a_budget(traced, monkeypatch):
    """Each is short by itself; those beyond the budget go to reader threads, so that the event loop runs on."""
    directory, statements = traced
    monkeypatch.setattr(inline_reader, "MAX_CHECKS_PER_TURN", 10)
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", 1e9)
    medium = LONG.replace("400000", "4000")

    results = await asyncio.gather(*(directory.read([(medium, ())]) for _ in range(20)))
    await asyncio.sleep(0)
    again = await directory.read([(medium, ())])

    assert results == [[[(4000,)]]] * 20
    assert again == [[(4000,)]]
    inline = [on_this_thread for _, on_this_thread in statements]
    assert 1 <= inline[:-1].count(True) <= 10
    assert inline[-1]


@pytest.mark.slow
async def test_a_slow_read_with_few_instructions_is_interrupted(traced, monkeypatch):
    directory, statements = traced
    monkeypatch.setattr(inline_reader, "MAX_INSTRUCTIONS", 10**9)
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", 0.0)

    assert await directory.read([(LONG, ())]) == [[(400000,)]]
    assert statements == [(LONG, True), (LONG, False)]


@pytest.mark.parametrize(
    "instructions, seconds, avoided",
    [(0, 1e9, inline_reader.AVOID_SECONDS), (10**9, -1.0, inline_reader.AVOID_BRIEFLY_SECONDS)],
    ids=["by instructions", "by the clock"],
)
@pytest.mark.slow
async def test_a_long_statement_is_not_tried_inline_for_a_while(traced, monkeypatch, instructions, seconds, avoided):
    directory, statements = traced
    now = 1000.0
    monkeypatch.setattr(inline_reader, "MAX_INSTRUCTIONS", instructions)
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", seconds)
    monkeypatch.setattr(inline_reader, "monotonic", lambda: now)
    for wait in (0.0, avoided / 2, avoided):
        now = 1000.0 + wait
        await directory.read([(LONG, ())])

    assert statements == [(LONG, True), (LONG, False), (LONG, False), (LONG, True), (LONG, False)]


@pytest.mark.slow
async def test_another_statement_is_still_read_inline(traced):
    directory, statements = traced
    await directory.read([(LONG, ())])
    statements.clear()

    await directory.read([(SHORT, ())])

    assert statements == [(SHORT, True)]


@pytest.mark.slow
async def test_the_number_of_avoided_statements_is_bounded(traced, monkeypatch):
    directory, statements = traced
    monkeypatch.setattr(inline_reader, "MAX_SECONDS", -1.0)
    monkeypatch.setattr(inline_reader, "MAX_AVOIDED", 3)

    for number in (0, 1, 2, 3, 0):
        await directory.read([(f"{LONG} -- {number}", ())])

    assert statements[-2:] == [(f"{LONG} -- 0", True), (f"{LONG} -- 0", False)]


async def test_several_queries_see_one_snapshot(traced, database):
    directory, statements = traced

    assert await directory.read([(SHORT, ()), ("SELECT 2", ())]) == [[(1,)], [(2,)]]
    assert [statement for statement, _ in statements] == ["BEGIN", SHORT, "SELECT 2", "ROLLBACK"]
    assert all(inline for _, inline in statements)


async def test_reads_of_one_turn_share_a_snapshot_from_the_second_on(traced):
    directory, statements = traced

    results = await asyncio.gather(*(directory.read([(f"SELECT {number}", ())]) for number in range(4)))
    await asyncio.sleep(0)

    assert results == [[[(number,)]] for number in range(4)]
    assert [statement for statement, _ in statements] == [
        "SELECT 0", "BEGIN", "SELECT 1", "SELECT 2", "SELECT 3", "COMMIT"
    ]  # fmt: skip


async def test_a_shared_snapshot_ends_with_its_turn(traced, database):
    directory, _ = traced
    count = [("SELECT count(*) FROM alembic_version", ())]
    for number in range(1, 4):
        shared = await asyncio.gather(*(directory.read(count) for _ in range(3)))
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (f"of another process {number}",))

        assert shared == [[[(number,)]]] * 3
        assert await directory.read(count) == [[(number + 1,)]]


async def test_no_snapshot_is_shared_during_a_write(traced):
    directory, statements = traced

    def transaction():
        yield "SELECT 'written'", ()
        return TransactionResult(None)

    reads = [directory.read([(f"SELECT {number}", ())]) for number in range(6)]
    await asyncio.gather(*reads[:3], directory.write(transaction), *reads[3:])

    inline_statements = [statement for statement, inline in statements if inline]
    assert inline_statements == [
        "SELECT 0",
        "BEGIN",
        "SELECT 1",
        "SELECT 2",
        "COMMIT",
        "SELECT 3",
        "SELECT 4",
        "SELECT 5",
    ]


async def test_several_queries_in_a_shared_snapshot_begin_none_of_their_own(traced):
    directory, statements = traced

    await asyncio.gather(*(directory.read([(SHORT, ()), ("SELECT 2", ())]) for _ in range(2)))
    await asyncio.sleep(0)

    assert [statement for statement, _ in statements] == [
        "BEGIN", SHORT, "SELECT 2", "ROLLBACK", "BEGIN", SHORT, "SELECT 2", "COMMIT"
    ]  # fmt: skip


@pytest.mark.slow
async def test_a_long_read_leaves_a_shared_snapshot_to_others(traced):
    directory, statements = traced

    results = await asyncio.gather(*(directory.read([(sql, ())]) for sql in (SHORT, SHORT, LONG, SHORT)))
    await asyncio.sleep(0)

    assert results == [[[(1,)]], [[(1,)]], [[(400000,)]], [[(1,)]]]
    assert [statement for statement, inline in statements if inline] == [SHORT, "BEGIN", SHORT, LONG, SHORT, "COMMIT"]


@pytest.mark.slow
async def test_several_queries_of_which_one_is_long_go_to_a_reader_thread_together(traced):
    directory, statements = traced

    assert await directory.read([(SHORT, ()), (LONG, ())]) == [[(1,)], [(400000,)]]
    assert [statement for statement, inline in statements if not inline] == ["BEGIN", SHORT, LONG, "ROLLBACK"]


async def test_an_error_is_reported_by_a_reader_thread(traced, database):
    directory, _ = traced

    with pytest.raises(DatabaseUnavailable):
        await directory.read([("SELECT 1 FROM nowhere", ())])


async def test_inline_reads_do_not_wait_for_a_lock(traced):
    directory, statements = traced

    assert await directory.read([("PRAGMA busy_timeout", ())]) == [[(0,)]]
    assert statements == [("PRAGMA busy_timeout", True)]


async def test_inline_reads_cannot_write(traced):
    directory, _ = traced

    with pytest.raises(DatabaseUnavailable):
        await directory.read([("DELETE FROM membership", ())])
