"""Inline reads: short reads on the event loop's own thread.

Handing a read to another thread and back costs more than most reads do: handing over the interpreter's lock alone takes
several times as long as looking up a record. So a read runs inline first, with a budget of SQLite's virtual machine
instructions. A read that exceeds it is interrupted and goes to a reader thread, as does the same statement for a while.
Instructions are counted because time on a busy machine measures other processes; a slow disk is caught by the clock,
and such a statement is tried again sooner.

Beginning and ending a snapshot takes half of a short read, in system calls. From the second read of one turn of the
event loop on, the reads of that turn therefore share a snapshot, taken after all of them were called. None is shared
while a write is running, because a checkpoint can reset the write-ahead log only when no connection reads from it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from schema.engine.sqlite.connection import roll_back
from schema.engine.sqlite.database_file import FileIdentity, file_identity

MAX_INSTRUCTIONS = 100_000  # blocks the event loop for about two milliseconds
MAX_SECONDS = 0.02
CHECK_INTERVAL = 2000  # instructions between two checks, about 40 µs
MAX_CHECKS_PER_TURN = 100  # for all reads of one turn of the event loop; further ones go to reader threads
AVOID_SECONDS = 10.0  # how long a statement that exceeded its instructions goes to a reader thread
AVOID_BRIEFLY_SECONDS = 1.0  # the same for one that exceeded the time only, or that failed
MAX_AVOIDED = 1000  # statements
IDENTITY_TTL = 0.1  # seconds for which the file at the path is assumed to be the same
_Query = Sequence[Any]


class InlineReader:
    """A connection for short reads."""

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._opened: FileIdentity | None = None
        self._check_file_at = 0.0
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._interrupt_at = 0.0
        self._checks_left = 0
        self._checks_this_turn = 0
        self._avoided: dict[str, float] = {}
        self._has_read_this_turn = self._in_snapshot = False

    def open(self) -> None:
        """Connect, with a busy timeout of zero: the event loop must not wait for a lock."""
        self._opened = file_identity(self._path)
        self._connection = self._connect()
        self._connection.execute("PRAGMA busy_timeout=0")
        self._connection.set_progress_handler(self._is_over_budget, CHECK_INTERVAL)

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection, self._in_snapshot = self._connection, None, False
            connection.close()

    def release_snapshot(self) -> None:
        """End the shared snapshot, if there is one, so that the next read sees the latest commit."""
        if self._in_snapshot and self._connection is not None:
            self._in_snapshot = False
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:  # Without a new connection, every later read would see this snapshot.
                self._reopen()

    def read(self, queries: Sequence[_Query], *, share_snapshot: bool = False) -> list[list[tuple[Any, ...]]] | None:
        """Return the rows of each query, all from one snapshot; None if a reader thread has to run them.

        `share_snapshot` allows other reads of this turn of the event loop to use the same snapshot.
        """
        connection, now = self._connection, monotonic()
        if connection is None or (self._avoided and self._avoids(queries, now)):
            return None
        if self._checks_this_turn >= MAX_CHECKS_PER_TURN:
            return None
        if now > self._check_file_at and not self._is_same_file(now):
            return None
        checks = MAX_INSTRUCTIONS // CHECK_INTERVAL
        self._interrupt_at, self._checks_left = now + MAX_SECONDS, checks
        own_snapshot = len(queries) > 1
        try:
            if share_snapshot and not self._in_snapshot:
                self._share_snapshot(connection)
            own_snapshot = own_snapshot and not self._in_snapshot
            if own_snapshot:
                connection.execute("BEGIN")
            return [connection.execute(query[0], query[1]).fetchall() for query in queries]
        except sqlite3.Error:
            self._avoid(queries, now + (AVOID_SECONDS if self._checks_left <= 0 else AVOID_BRIEFLY_SECONDS))
            return None
        finally:
            if self._checks_left < checks:
                self._count_checks(checks - self._checks_left)
            if own_snapshot:
                roll_back(connection)

    def _share_snapshot(self, connection: sqlite3.Connection) -> None:
        """At the second read of a turn, begin a snapshot for the rest of it."""
        if self._has_read_this_turn:
            connection.execute("BEGIN")
            self._in_snapshot = True
        else:
            self._has_read_this_turn = True
            asyncio.get_running_loop().call_soon(self._end_snapshot)

    def _end_snapshot(self) -> None:
        self._has_read_this_turn = False
        self.release_snapshot()

    def _count_checks(self, checks: int) -> None:
        if not self._checks_this_turn:
            asyncio.get_running_loop().call_soon(self._reset_checks)
        self._checks_this_turn += checks

    def _reset_checks(self) -> None:
        self._checks_this_turn = 0

    def _is_same_file(self, now: float) -> bool:
        """Whether the file at the path is still the opened one; another one is opened for the next read."""
        identity = file_identity(self._path)
        if identity == self._opened:
            self._check_file_at = now + IDENTITY_TTL
        elif identity is not None:
            self._reopen()
        return self._check_file_at > now

    def _reopen(self) -> None:
        self.close()
        with suppress(sqlite3.Error):
            self.open()

    def _is_over_budget(self) -> bool:
        self._checks_left -= 1
        return self._checks_left <= 0 or monotonic() > self._interrupt_at

    def _avoids(self, queries: Sequence[_Query], now: float) -> bool:
        return any(self._avoided.get(query[0], 0.0) > now for query in queries)

    def _avoid(self, queries: Sequence[_Query], until: float) -> None:
        if len(self._avoided) >= MAX_AVOIDED:
            self._avoided.clear()
        self._avoided |= dict.fromkeys((query[0] for query in queries), until)
