"""SQLite's one writer.

Its trip is one transaction (group commit): each job has its own savepoint and fails alone, and nobody is told
of success before COMMIT. A job is a function that makes a generator: it yields steps (SQL and parameters), is sent each
step's rows, and returns its result. It may be run more than once, so it does nothing but yield.
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

from schema.engine.driver import QueryGenerator, TransactionFunction, UnboundedWrite
from schema.engine.errors import DISK_FAILURE, DatabaseUnavailable, DirectoryError
from schema.engine.metrics import SIZES, Histogram
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.connection import LOG_LIMIT, StatementObserver, connect, meaning, patience_of, roll_back
from schema.engine.sqlite.connection_thread import ConnectionThread, Outcome, QueuedCall
from schema.engine.sqlite.database_file import log_size

log = logging.getLogger("tandem.database")

BETWEEN_CUTS = 5.0
# For those of a group, who have just been answered, the next one waits so many turns of the loop, and seconds at most.
TURNS, A_WHILE = 8, 0.005


class Writer(ConnectionThread):
    """Runs all errands of a trip in one transaction. Its task: a job; what comes of it: the job's result."""

    trust = 0.0  # what is written into a file that is gone is lost
    failed = -inf  # when it last could not write, in monotonic time, unless it could since

    def __init__(
        self, path: str, deadline: float, committed: Callable[[Any], None], watch: StatementObserver | None = None
    ) -> None:
        super().__init__(path, partial(connect, path, watch=watch, patience=patience_of(deadline)), deadline)
        self._committed = committed
        self.groups = Histogram(SIZES)
        self._next_cut = 0.0
        self._expected = self._seen = self._turns = 0
        self._until = 0.0

    def _arrive(self, errands: list[QueuedCall], outcomes: list[Outcome], loop: asyncio.AbstractEventLoop) -> None:
        self._seen = len(self._waiting)
        self._expected = self._seen + len(errands)
        self._turns = TURNS if len(errands) > self._seen + 1 else 0
        self._until = time.monotonic() + A_WHILE
        super()._arrive(errands, outcomes, loop)
        self.groups.note(len(errands))
        # Also of what nobody waits for any more: what is committed has happened.
        for result, error in outcomes:
            if error is None:
                self._committed(result)

    def _still_coming(self) -> bool:
        """As long as each turn brings some, until all are back: a group for each few would write most pages again."""
        waiting = len(self._waiting)
        self._turns = 1 if waiting > self._seen else self._turns - 1
        self._seen = waiting
        return self._turns > 0 and waiting < self._expected and time.monotonic() < self._until

    def _trip(self, connection: sqlite3.Connection, errands: list[QueuedCall]) -> list[Outcome]:
        if not any(isinstance(errand.task, UnboundedWrite) for errand in errands):
            return self._group(connection, errands)
        connection.execute("PRAGMA temp_store=FILE")  # what would be put back of a hundred thousand rows is 64 MiB
        try:
            return self._group(connection, errands)
        finally:
            connection.execute("PRAGMA temp_store=MEMORY")

    def _group(self, connection: sqlite3.Connection, errands: list[QueuedCall]) -> list[Outcome]:
        left_out: dict[QueuedCall, BaseException] = {}
        while True:
            try:
                outcomes = _transaction(connection, errands, left_out)
            except sqlite3.Error as error:
                roll_back(connection)
                return self._ended(connection, meaning(error), len(errands))
            if outcomes is not None:
                # With a trigger on the table, a full disk may end a statement alone, and not the transaction.
                full = any(map(_is_full, (error for _, error in outcomes)))
                self.failed = time.monotonic() if full else -inf
                self._cut_log(connection, 0 if full else None)
                return outcomes
            # A disk that is full is full for all, and one after another would take its time to find out.
            if any(map(_is_full, left_out.values())):
                return self._ended(connection, DatabaseUnavailable(DISK_FAILURE), len(errands))

    def _ended(self, connection: sqlite3.Connection, error: BaseException, number: int) -> list[Outcome]:
        self.failed = time.monotonic()
        if _is_full(error):
            self._cut_log(connection, 0)  # Much of what it holds has a place in the database already.
        return [(None, error)] * number

    def _cut_log(self, connection: sqlite3.Connection, limit: int | None = None) -> None:
        """Empty the log if it has outgrown its limit: with readers that overlap, it never is by itself."""
        if log_size(self._path) <= (LOG_LIMIT if limit is None else limit) or time.monotonic() < self._next_cut:
            return
        self._next_cut = time.monotonic() + BETWEEN_CUTS
        (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout=50")  # those who read now are let finish, not those who read for long
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.warning("the write-ahead log could not be emptied: %s", error)
        finally:
            connection.execute(f"PRAGMA busy_timeout={usual}")

    def _interruptible(self, errand: QueuedCall) -> bool:
        return False


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, DatabaseUnavailable) and error.detail == DISK_FAILURE


def _transaction(
    connection: sqlite3.Connection, errands: list[QueuedCall], left_out: dict[QueuedCall, BaseException]
) -> list[Outcome] | None:
    """What came of each errand, committed; None, and one more left out, if its error ended the transaction."""
    connection.execute("BEGIN IMMEDIATE")
    outcomes: list[Outcome] = []
    for errand in errands:
        outcome = (None, left_out[errand]) if errand in left_out else _in_savepoint(connection, errand.task)
        if not connection.in_transaction:
            assert outcome[1] is not None
            left_out[errand] = outcome[1]
            return None
        outcomes.append(outcome)
    connection.execute("COMMIT")
    return outcomes


def _in_savepoint(connection: sqlite3.Connection, job: TransactionFunction) -> Outcome:
    connection.execute("SAVEPOINT job")
    try:
        result = _driven(connection, job())
    except Exception as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        return None, error if isinstance(error, DirectoryError) else meaning(error)
    connection.execute("RELEASE job")
    return result, None


def _driven(connection: sqlite3.Connection, steps: QueryGenerator) -> Any:
    """Give a job the rows it asks for until it returns."""
    rows: Rows | None = None
    while True:
        try:
            step = next(steps) if rows is None else steps.send(rows)
        except StopIteration as end:
            return end.value
        rows = _came(connection.execute(step[0], step[1]))


def _came(cursor: sqlite3.Cursor) -> Rows:
    """The rows that a statement brought; an empty one for each that it changed, if it brings none."""
    return [()] * cursor.rowcount if cursor.description is None else cursor.fetchall()
