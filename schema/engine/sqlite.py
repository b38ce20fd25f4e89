"""SQLite: readers, each with a snapshot at a time, and the one writer.

The writer's trip is one transaction (group commit): each job has its own savepoint and fails alone, and nobody is told
of success before COMMIT. A job is a function that makes a generator: it yields steps (SQL and parameters), is sent each
step's rows, and returns its result. It may be run more than once, so it does nothing but yield.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from schema.engine.errors import Conflict, DatabaseUnavailable, DirectoryError, Fault, Timeout
from schema.engine.lane import Errand, Lane, Outcome

Step = tuple[str, tuple[Any, ...]]
Rows = list[tuple[Any, ...]]
Steps = Generator[Step, Rows, Any]
Job = Callable[[], Steps]
Watch = Callable[[str], None]

STATEMENTS_KEPT = 1024
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "journal_size_limit=67108864",
    "trusted_schema=OFF",
)
_UNAVAILABLE = re.compile("locked|busy|full|unable to open|disk I/O|readonly|malformed|not a database|no such table")


class Reader(Lane):
    """Runs the steps of each errand in one snapshot. Its task: the steps; what comes of it: the rows of each."""

    def __init__(self, path: str, deadline: float, watch: Watch | None = None) -> None:
        super().__init__(partial(connect, path, watch=watch, query_only=True), deadline)
        self._at: Errand | None = None

    def _trip(self, connection: sqlite3.Connection, errands: list[Errand]) -> list[Outcome]:
        return [self._answer(connection, errand) for errand in errands]

    def _answer(self, connection: sqlite3.Connection, errand: Errand) -> Outcome:
        """One errand; run again if an interrupt that was meant for another has hit it."""
        while not errand.late:
            self._at = errand
            try:
                return _snapshot(connection, errand.task), None
            except sqlite3.Error as error:
                if "interrupted" not in str(error):
                    return None, meaning(error)
            finally:
                self._at = None
        return None, Timeout("the database did not answer in time")

    def _interruptible(self, errand: Errand) -> bool:
        return self._at is errand


class Writer(Lane):
    """Runs all errands of a trip in one transaction. Its task: a job; what comes of it: the job's result."""

    def __init__(
        self, path: str, deadline: float, committed: Callable[[Any], None], watch: Watch | None = None
    ) -> None:
        super().__init__(partial(connect, path, watch=watch), deadline)
        self._committed = committed

    def _arrive(self, errands: list[Errand], outcomes: list[Outcome], loop: asyncio.AbstractEventLoop) -> None:
        # Also for those who have gone away meanwhile: what is committed has happened.
        for result, error in outcomes:
            if error is None:
                self._committed(result)
        super()._arrive(errands, outcomes, loop)

    def _trip(self, connection: sqlite3.Connection, errands: list[Errand]) -> list[Outcome]:
        left_out: dict[Errand, BaseException] = {}
        while True:
            try:
                outcomes = _transaction(connection, errands, left_out)
            except sqlite3.Error as error:
                _roll_back(connection)
                return [(None, meaning(error))] * len(errands)
            if outcomes is not None:
                return outcomes

    def _interruptible(self, errand: Errand) -> bool:
        return False


def connect(path: str, watch: Watch | None = None, *, query_only: bool = False) -> sqlite3.Connection:
    """A connection as Tandem wants it: no transaction but our own, and every commit on the disk."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=STATEMENTS_KEPT, check_same_thread=False)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    if query_only:
        connection.execute("PRAGMA query_only=ON")
    if watch is not None:
        connection.set_trace_callback(watch)
    return connection


def meaning(error: BaseException) -> BaseException:
    """What an error of SQLite's means to the caller; any other, and any that is our own fault, as it is."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        column = text.rpartition(".")[2].removesuffix("_key")
        return Conflict(f"that {column} is taken", [Fault((column,), "it is taken", "taken")])
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("FOREIGN KEY"):
        return Conflict("other records refer to this one, or the one it refers to is gone")
    if isinstance(error, sqlite3.OperationalError) and "interrupted" in text:
        return Timeout("the database did not answer in time")
    if isinstance(error, sqlite3.DatabaseError) and _UNAVAILABLE.search(text):
        return DatabaseUnavailable("the database is not available")
    return error


def _snapshot(connection: sqlite3.Connection, steps: Sequence[Step]) -> list[Rows]:
    """The rows of each step, all of one moment."""
    if len(steps) == 1:
        return [connection.execute(*steps[0]).fetchall()]
    connection.execute("BEGIN")
    try:
        return [connection.execute(*step).fetchall() for step in steps]
    finally:
        _roll_back(connection)


def _transaction(
    connection: sqlite3.Connection, errands: list[Errand], left_out: dict[Errand, BaseException]
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


def _in_savepoint(connection: sqlite3.Connection, job: Job) -> Outcome:
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


def _driven(connection: sqlite3.Connection, steps: Steps) -> Any:
    """Give a job the rows it asks for until it returns."""
    rows: Rows | None = None
    while True:
        try:
            step = next(steps) if rows is None else steps.send(rows)
        except StopIteration as end:
            return end.value
        rows = connection.execute(*step).fetchall()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
