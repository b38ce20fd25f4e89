"""Reads at a glance: on the event loop's own thread, for as long as they are short.

A trip to another thread and back costs more than most reads do: the hand-over of the interpreter's lock alone outweighs
the look-up of a record several times. So a statement is first tried right here, for so many steps of SQLite's machine.
One that does not make it is broken off, goes to a lane like any other errand, and so does the same statement for a
while. Steps are counted rather than time, which on a busy machine says more about others; the clock is looked at too,
for the sake of a disk that is slow, but what took long for that alone is tried again soon.

To take a snapshot and to leave it is half of what a short read costs, in calls of the kernel. So what is read in one
turn of the event loop, from the second read on, is read from one snapshot. All who share it had asked before it was
taken. While somebody writes it is not held: the writer's log can only be begun anew when nobody reads from it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from schema.engine.sqlite.connection import roll_back
from schema.engine.sqlite.database_file import Identity, identity

MOST_STEPS = 100_000  # about two milliseconds that the event loop stands still
LONGEST = 0.02  # seconds
CHECKED = 2000  # steps between two looks, some forty microseconds
AVOIDED = 10.0  # seconds for which a statement that took too many steps is not tried again
# Looks that all reads of one turn of the event loop may take together; beyond them, reads go to the threads.
MOST_IN_TURN = 100
BRIEFLY = 1.0  # the same for one that took too long for no fault of its own, or that could not be run
MOST_AVOIDED = 1000
TRUST = 0.1  # seconds for which a file is taken to be still there
Step = Sequence[Any]


class InlineReader:
    """A connection for short reads."""

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._opened: Identity | None = None
        self._trusted = 0.0
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._until = 0.0
        self._looks = 0
        self._avoided: dict[str, float] = {}
        self._read_in_turn = self._held = False
        self._looks_in_turn = 0

    def open(self) -> None:
        """Connect; nothing is waited for here, not even a lock."""
        self._opened = identity(self._path)
        self._connection = self._connect()
        self._connection.execute("PRAGMA busy_timeout=0")
        self._connection.set_progress_handler(self._too_long, CHECKED)

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            connection, self._connection, self._held = self._connection, None, False
            connection.close()

    def let_go(self) -> None:
        """Leave the snapshot, if one is held: the next read sees what there is by then."""
        if self._held and self._connection is not None:
            self._held = False
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:  # one that cannot be left would be read from for ever
                self._renew()

    def read(self, steps: Sequence[Step], *, hold: bool = False) -> list[list[tuple[Any, ...]]] | None:
        """The rows of each step, all of one moment; None for what takes too long here, or fails: ask a lane.

        `hold`: the other reads of this turn of the event loop may share the snapshot, for nobody here writes.
        """
        connection, now = self._connection, monotonic()
        if connection is None or (self._avoided and self._avoids(steps, now)):
            return None
        if self._looks_in_turn >= MOST_IN_TURN:
            return None
        if now > self._trusted and not self._is_there(now):
            return None
        self._until, self._looks = now + LONGEST, MOST_STEPS // CHECKED
        several = len(steps) > 1
        try:
            if hold and not self._held:
                self._hold(connection)
            several = several and not self._held
            if several:
                connection.execute("BEGIN")
            return [connection.execute(step[0], step[1]).fetchall() for step in steps]
        except sqlite3.Error:
            self._avoid(steps, now + (AVOIDED if self._looks <= 0 else BRIEFLY))
            return None
        finally:
            if self._looks < MOST_STEPS // CHECKED:
                self._count_looks(MOST_STEPS // CHECKED - self._looks)
            if several:
                roll_back(connection)

    def _hold(self, connection: sqlite3.Connection) -> None:
        """At the second read of a turn, take a snapshot for the rest of it."""
        if self._read_in_turn:
            connection.execute("BEGIN")
            self._held = True
        else:
            self._read_in_turn = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._read_in_turn = False
        self.let_go()

    def _count_looks(self, looks: int) -> None:
        if not self._looks_in_turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._looks_in_turn += looks

    def _end_turn(self) -> None:
        self._looks_in_turn = 0

    def _is_there(self, now: float) -> bool:
        """Whether the file is still the one at the path; another one is opened instead, for the next time."""
        there = identity(self._path)
        if there == self._opened:
            self._trusted = now + TRUST
        elif there is not None:
            self._renew()
        return self._trusted > now

    def _renew(self) -> None:
        self.close()
        with suppress(sqlite3.Error):
            self.open()

    def _too_long(self) -> bool:
        self._looks -= 1
        return self._looks <= 0 or monotonic() > self._until

    def _avoids(self, steps: Sequence[Step], now: float) -> bool:
        return any(self._avoided.get(step[0], 0.0) > now for step in steps)

    def _avoid(self, steps: Sequence[Step], until: float) -> None:
        if len(self._avoided) >= MOST_AVOIDED:
            self._avoided.clear()
        self._avoided |= dict.fromkeys((step[0] for step in steps), until)
