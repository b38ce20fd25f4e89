"""A connection, its thread, and the errands that wait for it.

A trip to a thread costs more than most statements, so the errands that wait at the same moment share one. What is done
on a trip is the business of the readers (`readers.py`) and of the writer (`sqlite.py`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiosqlite

from schema.engine.errors import DATABASE_TIMEOUT, DatabaseCorrupt, DatabaseUnavailable, Overloaded, Timeout
from schema.engine.sqlite.database_file import Identity, identity

MOST_WAITING = 1000
Outcome = tuple[Any, BaseException | None]
log = logging.getLogger("tandem.database")


@dataclass(slots=True, eq=False)
class QueuedCall:
    """Something to be done on the thread, and who waits for it."""

    task: Any
    done: asyncio.Future[Any]
    late: bool = False


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, with a shorter way in: one call for a whole trip."""

    def run(self, trip: Callable[[sqlite3.Connection], None]) -> None:
        """Run `trip` on the thread. It reports by itself."""
        self._tx.put_nowait((None, partial(trip, self._conn)))

    def renew(self) -> sqlite3.Connection:
        """On the thread: the same anew, over what is at the path now."""
        self._conn.close()
        self._connection = self._connector()
        return self._conn

    def interrupt_now(self) -> None:
        """End the statement that is running, whichever it is."""
        self._conn.interrupt()


class ConnectionThread(ABC):
    """Takes errands to one connection, all that wait on each trip, and brings back what came of them."""

    trust = 0.1  # seconds for which a file is taken to be still there

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection], deadline: float) -> None:
        self.damaged = False
        self._path = path
        self._connect = connect
        self._deadline = deadline
        self._opened: Identity | None = None
        self._broken = False
        self._trusted = 0.0
        self._connection: _Connection | None = None
        self._waiting: deque[QueuedCall] = deque()
        self._travelling: list[QueuedCall] = []
        self._called = False

    def waiting(self) -> int:
        """How many errands wait."""
        return len(self._waiting)

    async def open(self) -> None:
        """Connect; `DatabaseUnavailable` where that fails."""
        try:
            self._opened = identity(self._path)
            connection = _Connection(self._connect, 64)
            await connection
            self._connection = connection
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"the database cannot be opened: {error}") from error

    async def close(self) -> None:
        """Finish what waits, and disconnect: a connection that is left open holds up the exit."""
        await asyncio.gather(*(it.done for it in (*self._waiting, *self._travelling)), return_exceptions=True)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def busy(self) -> int:
        """How many errands are under way or wait."""
        return len(self._waiting) + len(self._travelling)

    async def do(self, task: Any, seconds: float | None = None) -> Any:
        """What came of the task, or the error that it ended in; `Timeout` past the deadline, or after `seconds`."""
        if self._connection is None:
            raise DatabaseUnavailable("the database is closed")
        if len(self._waiting) >= MOST_WAITING:
            raise Overloaded("too many requests wait for the database")
        loop = asyncio.get_running_loop()
        errand = QueuedCall(task, loop.create_future())
        self._waiting.append(errand)
        if not self._travelling and not self._called:
            self._called = True
            loop.call_soon(self._depart, loop)
        timer = loop.call_later(self._deadline if seconds is None else seconds, self._expire, errand)
        try:
            return await errand.done
        except asyncio.CancelledError:
            self._expire(errand)  # Nobody waits any more, so it is late: a read need not go on.
            raise
        finally:
            timer.cancel()

    @abstractmethod
    def _trip(self, connection: sqlite3.Connection, errands: list[QueuedCall]) -> list[Outcome]:
        """Do the errands, on the thread, and say what came of each."""

    @abstractmethod
    def _interruptible(self, errand: QueuedCall) -> bool:
        """Whether an interrupt would now hit this errand and nothing else that matters."""

    def _still_coming(self) -> bool:
        """Whether the next trip should wait another turn of the loop, since others are about to come."""
        return False

    def _depart(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take all that wait along, except those for whom nobody waits any more."""
        self._called = self._still_coming()
        if self._called:
            loop.call_soon(self._depart, loop)
            return
        self._travelling = [errand for errand in self._waiting if not errand.done.done()]
        self._waiting.clear()
        if self._travelling and self._connection is not None:
            self._connection.run(partial(self._travel, self._travelling, loop))

    def _travel(
        self, errands: list[QueuedCall], loop: asyncio.AbstractEventLoop, connection: sqlite3.Connection
    ) -> None:
        try:
            outcomes = self._trip(self._current(connection), errands)
        except BaseException as error:  # Whatever it is, those who wait must hear of it.
            outcomes = [(None, error)] * len(errands)
        loop.call_soon_threadsafe(self._arrive, errands, outcomes, loop)

    def _current(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """The connection; a new one if another file is in place of its own, or if its own failed it."""
        if time.monotonic() < self._trusted:
            return connection
        there = identity(self._path)
        if there is None:
            raise DatabaseUnavailable("the database's file is gone")
        if there != self._opened or self._broken:
            assert self._connection is not None
            self._trusted = 0
            connection = self._renewed(self._connection)
            self.damaged = self.damaged and there == self._opened
            self._opened, self._broken = there, False
        self._trusted = time.monotonic() + self.trust
        return connection

    def _renewed(self, connection: _Connection) -> sqlite3.Connection:
        try:
            return connection.renew()
        except sqlite3.Error as error:
            self._broken = True
            raise DatabaseUnavailable(f"the database cannot be opened: {error}") from error

    def _arrive(self, errands: list[QueuedCall], outcomes: list[Outcome], loop: asyncio.AbstractEventLoop) -> None:
        for errand, (result, error) in zip(errands, outcomes, strict=True):
            if not errand.done.done():
                errand.done.set_result(result) if error is None else errand.done.set_exception(error)
            if isinstance(error, DatabaseCorrupt) and not self.damaged:
                self.damaged = True
                log.error("the database at %s is damaged: `python -m api doctor` says more", self._path)
        self._travelling = []
        if self._waiting:
            self._depart(loop)

    def _expire(self, errand: QueuedCall) -> None:
        """Past its deadline: one that waits is given up, one that reads is interrupted, one that writes is let be."""
        errand.late = True
        if errand not in self._travelling:
            if not errand.done.done():
                errand.done.set_exception(Timeout(DATABASE_TIMEOUT))
        elif self._interruptible(errand) and self._connection is not None:
            self._connection.interrupt_now()
