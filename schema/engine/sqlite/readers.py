"""SQLite's readers: connections on threads of their own, for what is too long for the event loop's thread.

Each takes one request's statements at a time, all from one snapshot. They are shared fairly among those on whose behalf
is read, so that one credential's long queries leave the other readers to the others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from schema.engine.concurrency import QUARTER, ConcurrencyLimit
from schema.engine.driver import Query
from schema.engine.errors import DATABASE_TIMEOUT, QueryTimeout, Timeout
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.connection import StatementObserver, connect, meaning, patience_of, roll_back
from schema.engine.sqlite.connection_thread import ConnectionThread, Outcome, QueuedCall

MOST_WAITING = 1000


class Reader(ConnectionThread):
    """Runs the statements of each request in one snapshot, and brings back the rows of each."""

    def __init__(self, path: str, deadline: float, watch: StatementObserver | None = None) -> None:
        opened = partial(connect, path, watch=watch, query_only=True, patience=patience_of(deadline))
        super().__init__(path, opened, deadline)
        self._at: QueuedCall | None = None

    def _trip(self, connection: sqlite3.Connection, errands: list[QueuedCall]) -> list[Outcome]:
        return [self._outcome(connection, errand) for errand in errands]

    def _outcome(self, connection: sqlite3.Connection, errand: QueuedCall) -> Outcome:
        """What came of one; run again if the interrupt that hit it was meant for the one before."""
        while not errand.late:
            self._at = errand
            try:
                return _snapshot(connection, errand.task), None
            except Exception as error:
                if not isinstance(error, sqlite3.Error) or "interrupted" not in str(error):
                    return None, meaning(error)
            finally:
                self._at = None
        return None, QueryTimeout(DATABASE_TIMEOUT)

    def _interruptible(self, errand: QueuedCall) -> bool:
        return errand is self._at


class Readers:
    """Several readers, and those who wait for one."""

    def __init__(
        self, path: str, deadline: float, number: int, watch: StatementObserver | None = None, share: int = QUARTER
    ) -> None:
        self._deadline = deadline
        self._all = [Reader(path, deadline, watch) for _ in range(number)]
        self._idle = list(self._all)
        self._gate = ConcurrencyLimit(
            number,
            MOST_WAITING,
            share,
            full="too many requests wait for the database",
            late=lambda: Timeout(DATABASE_TIMEOUT),
        )

    async def open(self) -> None:
        """Connect; `DatabaseUnavailable` where that fails."""
        for reader in self._all:
            await reader.open()

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        for reader in self._all:
            await reader.close()

    @property
    def damaged(self) -> bool:
        """Whether any of them has found the database damaged."""
        return any(reader.damaged for reader in self._all)

    @property
    def waiting(self) -> int:
        """How many requests wait for a reader."""
        return self._gate.waiting

    async def read(self, steps: Sequence[Query], owner: Hashable) -> list[Rows]:
        """The rows of each statement, all from one snapshot; `Timeout` past the deadline, the wait included."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        async with self._gate.hold(owner, self._deadline):
            reader = self._idle.pop()
            try:
                return await reader.do(steps, until - loop.time())  # type: ignore[no-any-return]
            finally:
                self._idle.append(reader)


def _snapshot(connection: sqlite3.Connection, steps: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
    """The rows of each statement, all from one snapshot."""
    if len(steps) == 1:
        return [connection.execute(steps[0][0], steps[0][1]).fetchall()]
    connection.execute("BEGIN")
    try:
        return [connection.execute(step[0], step[1]).fetchall() for step in steps]
    finally:
        roll_back(connection)
