"""SQLite's only writer, with group commit.

A batch is one transaction. Each transaction function in it has a savepoint and fails alone; results are returned after
COMMIT.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from schema.engine.driver import QueryGenerator, StatementObserver, TransactionFunction, UnboundedTransaction
from schema.engine.errors import DISK_FAILURE, DatabaseUnavailable, DirectoryError
from schema.engine.metrics import SIZES, Histogram
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.connection import WAL_LIMIT, busy_timeout_for, connect, roll_back, translate_error
from schema.engine.sqlite.connection_thread import ConnectionThread, Outcome, QueuedCall
from schema.engine.sqlite.database_file import wal_size

log = logging.getLogger("tandem.database")

CHECKPOINT_INTERVAL = 5.0  # seconds
# After a commit, the next group waits for the callers who have just got their results and are likely to write again:
# at most so many turns of the event loop and so many seconds.
REGROUP_TURNS, REGROUP_SECONDS = 8, 0.005


class Writer(ConnectionThread):
    """Runs the transaction functions of a batch in one transaction."""

    identity_ttl = 0.0  # What is written to a file that was replaced is lost.
    failed_at = -inf  # `time.monotonic()` of the last failure, unless a write has succeeded since

    def __init__(
        self,
        path: str,
        deadline: float,
        on_commit: Callable[[Any], None],
        on_statement: StatementObserver | None = None,
    ) -> None:
        super().__init__(path, partial(connect, path, on_statement, busy_timeout=busy_timeout_for(deadline)), deadline)
        self._on_commit = on_commit
        self.commit_sizes = Histogram(SIZES)
        self._next_checkpoint = 0.0
        self._expected = self._seen = self._turns = 0
        self._regroup_until = 0.0

    def _finish_batch(self, calls: list[QueuedCall], outcomes: list[Outcome], loop: asyncio.AbstractEventLoop) -> None:
        self._seen = len(self._waiting)
        self._expected = self._seen + len(calls)
        self._turns = REGROUP_TURNS if len(calls) > self._seen + 1 else 0
        self._regroup_until = time.monotonic() + REGROUP_SECONDS
        super()._finish_batch(calls, outcomes, loop)
        self.commit_sizes.observe(len(calls))
        # Also for results that no caller waits for any more, because they are committed.
        for result, error in outcomes:
            if error is None:
                self._on_commit(result)

    def _expects_more(self) -> bool:
        """Wait while each turn brings calls, until all are back: many small groups would rewrite the same pages."""
        waiting = len(self._waiting)
        self._turns = 1 if waiting > self._seen else self._turns - 1
        self._seen = waiting
        return self._turns > 0 and waiting < self._expected and time.monotonic() < self._regroup_until

    def _run_batch(self, connection: sqlite3.Connection, calls: list[QueuedCall]) -> list[Outcome]:
        if not any(isinstance(call.task, UnboundedTransaction) for call in calls):
            return self._commit_group(connection, calls)
        # The savepoint's journal of a hundred thousand rows takes 64 MiB, too much for memory.
        connection.execute("PRAGMA temp_store=FILE")
        try:
            return self._commit_group(connection, calls)
        finally:
            connection.execute("PRAGMA temp_store=MEMORY")

    def _commit_group(self, connection: sqlite3.Connection, calls: list[QueuedCall]) -> list[Outcome]:
        excluded: dict[QueuedCall, BaseException] = {}
        while True:
            try:
                outcomes = _transaction(connection, calls, excluded)
            except sqlite3.Error as error:
                roll_back(connection)
                return self._fail_all(connection, translate_error(error), len(calls))
            if outcomes is not None:
                # On a table with a trigger, a full disk can fail a statement without ending the transaction.
                disk_full = any(map(_is_disk_full, (error for _, error in outcomes)))
                self.failed_at = time.monotonic() if disk_full else -inf
                self._checkpoint(connection, 0 if disk_full else WAL_LIMIT)
                return outcomes
            # A full disk fails every call, and running them one after another takes too long.
            if any(map(_is_disk_full, excluded.values())):
                return self._fail_all(connection, DatabaseUnavailable(DISK_FAILURE), len(calls))

    def _fail_all(self, connection: sqlite3.Connection, error: BaseException, number: int) -> list[Outcome]:
        self.failed_at = time.monotonic()
        if _is_disk_full(error):
            self._checkpoint(connection, 0)  # Most pages in the log replace pages of the database, so this frees space.
        return [(None, error)] * number

    def _checkpoint(self, connection: sqlite3.Connection, limit: int) -> None:
        """Truncate the write-ahead log if it exceeds the limit; readers that overlap keep SQLite from doing so."""
        if wal_size(self._path) <= limit or time.monotonic() < self._next_checkpoint:
            return
        self._next_checkpoint = time.monotonic() + CHECKPOINT_INTERVAL
        (busy_timeout,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout=50")  # milliseconds: wait for short reads to end, not for long ones
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.warning("the write-ahead log could not be truncated: %s", error)
        finally:
            connection.execute(f"PRAGMA busy_timeout={busy_timeout}")

    def _is_interruptible(self, call: QueuedCall) -> bool:
        return False


def _is_disk_full(error: BaseException | None) -> bool:
    return isinstance(error, DatabaseUnavailable) and error.detail == DISK_FAILURE


def _transaction(
    connection: sqlite3.Connection, calls: list[QueuedCall], excluded: dict[QueuedCall, BaseException]
) -> list[Outcome] | None:
    """Run and commit all calls that are not excluded; None, with one more excluded, if its error ended all of it."""
    connection.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    for call in calls:
        outcome = (None, excluded[call]) if call in excluded else _in_savepoint(connection, call.task)
        if not connection.in_transaction:
            assert outcome[1] is not None
            excluded[call] = outcome[1]
            return None
        outcomes.append(outcome)
    connection.execute("COMMIT")
    return outcomes


def _in_savepoint(connection: sqlite3.Connection, transaction: TransactionFunction) -> Outcome:
    connection.execute("SAVEPOINT call")
    try:
        result = _drive(connection, transaction())
    except Exception as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO call")
            connection.execute("RELEASE call")
        return None, error if isinstance(error, DirectoryError) else translate_error(error)
    connection.execute("RELEASE call")
    return result, None


def _drive(connection: sqlite3.Connection, queries: QueryGenerator) -> Any:
    """Run each query that the generator yields and send it the rows, until it returns."""
    rows: Rows | None = None
    while True:
        try:
            query = next(queries) if rows is None else queries.send(rows)
        except StopIteration as end:
            return end.value
        rows = _rows_of(connection.execute(query[0], query[1]))


def _rows_of(cursor: sqlite3.Cursor) -> Rows:
    """Return a statement's rows; for one that returns none, an empty row for each row that it changed."""
    return [()] * cursor.rowcount if cursor.description is None else cursor.fetchall()
