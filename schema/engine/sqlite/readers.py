"""Reader threads: SQLite connections for reads that are too long for the event loop's thread.

Each runs the queries of one request at a time, in one snapshot. They are shared fairly among actors, so that the long
queries of one credential leave the other readers to others.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from schema.engine import database_errors
from schema.engine.concurrency import DEFAULT_SHARE, ConcurrencyLimit
from schema.engine.driver import Query, StatementObserver
from schema.engine.errors import DATABASE_TIMEOUT, QueryTimeout, Timeout
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.connection import busy_timeout_for, connect, roll_back, translate_error
from schema.engine.sqlite.connection_thread import MAX_WAITING, ConnectionThread, Outcome, QueuedCall


class Reader(ConnectionThread):
    """Runs the queries of each call in one snapshot, and returns the rows of each."""

    def __init__(self, path: str, deadline: float, on_statement: StatementObserver | None = None) -> None:
        busy_timeout = busy_timeout_for(deadline)
        super().__init__(
            path, partial(connect, path, on_statement, query_only=True, busy_timeout=busy_timeout), deadline
        )
        self._current_call: QueuedCall | None = None

    def _run_batch(self, connection: sqlite3.Connection, calls: list[QueuedCall]) -> list[Outcome]:
        return [self._outcome(connection, call) for call in calls]

    def _outcome(self, connection: sqlite3.Connection, call: QueuedCall) -> Outcome:
        """Run a call, again if an interrupt meant for the call before it arrived late."""
        while not call.expired:
            self._current_call = call
            try:
                return _snapshot(connection, call.task), None
            except Exception as error:
                if not isinstance(error, sqlite3.Error) or "interrupted" not in str(error):
                    return None, translate_error(error)
            finally:
                self._current_call = None
        return None, QueryTimeout(DATABASE_TIMEOUT)

    def _is_interruptible(self, call: QueuedCall) -> bool:
        return call is self._current_call


class Readers:
    """A fixed number of readers, and the queue in front of them."""

    def __init__(
        self,
        path: str,
        deadline: float,
        number: int,
        on_statement: StatementObserver | None = None,
        share: int = DEFAULT_SHARE,
    ) -> None:
        self._deadline = deadline
        self._readers = [Reader(path, deadline, on_statement) for _ in range(number)]
        self._idle = list(self._readers)
        self._limit = ConcurrencyLimit(
            number,
            MAX_WAITING,
            share,
            full_message=database_errors.QUEUE_FULL,
            timeout_error=lambda: Timeout(DATABASE_TIMEOUT),
        )

    async def open(self) -> None:
        for reader in self._readers:
            await reader.open()

    async def close(self) -> None:
        for reader in self._readers:
            await reader.close()

    @property
    def corrupt(self) -> bool:
        """Whether any of them has found the database file to be corrupt."""
        return any(reader.corrupt for reader in self._readers)

    @property
    def waiting(self) -> int:
        return self._limit.waiting

    async def read(self, queries: Sequence[Query], owner: Hashable) -> list[Rows]:
        """Return the rows of each query, all from one snapshot; `Timeout` past the deadline, the wait included."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline
        async with self._limit.slot(owner, self._deadline):
            reader = self._idle.pop()
            try:
                return await reader.run(queries, deadline - loop.time())  # type: ignore[no-any-return]
            finally:
                self._idle.append(reader)


def _snapshot(connection: sqlite3.Connection, queries: Sequence[Query]) -> list[list[tuple[Any, ...]]]:
    if len(queries) == 1:
        return [connection.execute(queries[0][0], queries[0][1]).fetchall()]
    connection.execute("BEGIN")
    try:
        return [connection.execute(query[0], query[1]).fetchall() for query in queries]
    finally:
        roll_back(connection)
