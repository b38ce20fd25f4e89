"""A SQLite connection on a thread of its own, and the queue of calls in front of it.

Handing a call to another thread costs more than most statements, so the calls that wait at the same moment are run as
one batch. Subclasses say what a batch does: `Reader` and `Writer`.
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

from schema.engine import database_errors
from schema.engine.errors import DATABASE_TIMEOUT, DatabaseCorrupt, DatabaseUnavailable, Timeout
from schema.engine.sqlite.database_file import FileIdentity, file_identity

MAX_WAITING = 1000
Outcome = tuple[Any, BaseException | None]
log = logging.getLogger("tandem.database")


@dataclass(slots=True, eq=False)
class QueuedCall:
    """A call for the thread: queries to read, or a transaction function."""

    task: Any
    future: asyncio.Future[Any]
    expired: bool = False


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, entered once per batch instead of once per statement.

    The private attributes used here are listed in `tests/test_private_attributes.py`.
    """

    def submit(self, batch: Callable[[sqlite3.Connection], None]) -> None:
        """Run `batch` on the thread; it reports its outcome itself."""
        self._tx.put_nowait((None, partial(batch, self._conn)))

    def replace(self, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """Close the connection and open another. Call this on the thread."""
        self._conn.close()
        self._connection = connect()
        return self._conn

    def interrupt_now(self) -> None:
        """End the running statement. Unlike `interrupt`, this is no coroutine, so a timer can call it."""
        self._conn.interrupt()


class ConnectionThread(ABC):
    """Runs queued calls on one connection in batches, and resolves their futures."""

    identity_ttl = 0.1  # seconds for which the file at the path is assumed to be the same

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection], deadline: float) -> None:
        self.corrupt = False
        self._path = path
        self._connect = connect
        self._deadline = deadline
        self._opened: FileIdentity | None = None
        self._broken = False
        self._check_file_at = 0.0
        self._connection: _Connection | None = None
        self._waiting: deque[QueuedCall] = deque()
        self._running: list[QueuedCall] = []
        self._scheduled = False

    async def open(self) -> None:
        """Connect, or raise `DatabaseUnavailable`."""
        try:
            self._opened = file_identity(self._path)
            connection = _Connection(self._connect, 64)
            await connection
            self._connection = connection
        except sqlite3.Error as error:
            raise _cannot_open(error) from error

    async def close(self) -> None:
        """Finish all calls and disconnect. aiosqlite's thread is no daemon, so an open connection blocks the exit."""
        await asyncio.gather(*(call.future for call in (*self._waiting, *self._running)), return_exceptions=True)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def waiting(self) -> int:
        return len(self._waiting)

    def is_busy(self) -> bool:
        return bool(self._running or self._waiting)

    async def run(self, task: Any, seconds: float | None = None) -> Any:
        """Run the task in the next batch and return its result.

        Raises:
            Timeout: it had not begun after so many seconds (by default the deadline), or it was interrupted then.
        """
        if self._connection is None:
            raise database_errors.closed()
        if len(self._waiting) >= MAX_WAITING:
            raise database_errors.queue_full()
        loop = asyncio.get_running_loop()
        call = QueuedCall(task, loop.create_future())
        self._waiting.append(call)
        if not self._running and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._start_batch, loop)
        timer = loop.call_later(self._deadline if seconds is None else seconds, self._expire, call)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._expire(call)  # No caller waits for the result any more, so a read need not go on.
            raise
        finally:
            timer.cancel()

    @abstractmethod
    def _run_batch(self, connection: sqlite3.Connection, calls: list[QueuedCall]) -> list[Outcome]:
        """Run the calls on the thread, and return each one's result or error."""

    @abstractmethod
    def _is_interruptible(self, call: QueuedCall) -> bool:
        """Whether an interrupt would now end this call and nothing that must go on."""

    def _expects_more(self) -> bool:
        """Whether the next batch should wait another turn of the event loop, because more calls are about to arrive."""
        return False

    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = self._expects_more()
        if self._scheduled:
            loop.call_soon(self._start_batch, loop)
            return
        self._running = [call for call in self._waiting if not call.future.done()]
        self._waiting.clear()
        if self._running and self._connection is not None:
            self._connection.submit(partial(self._run_on_thread, self._running, loop))

    def _run_on_thread(
        self, calls: list[QueuedCall], loop: asyncio.AbstractEventLoop, connection: sqlite3.Connection
    ) -> None:
        try:
            outcomes = self._run_batch(self._current(connection), calls)
        except BaseException as error:  # The callers must get an answer, whatever was raised.
            outcomes = [(None, error)] * len(calls)
        loop.call_soon_threadsafe(self._finish_batch, calls, outcomes, loop)

    def _current(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return the connection, or a new one if the file was replaced or the last attempt to reopen it failed."""
        if time.monotonic() < self._check_file_at:
            return connection
        identity = file_identity(self._path)
        if identity is None:
            raise DatabaseUnavailable("the database file does not exist any more")
        if identity != self._opened or self._broken:
            assert self._connection is not None
            self._check_file_at = 0
            connection = self._reopened(self._connection)
            self.corrupt = self.corrupt and identity == self._opened
            self._opened, self._broken = identity, False
        self._check_file_at = time.monotonic() + self.identity_ttl
        return connection

    def _reopened(self, connection: _Connection) -> sqlite3.Connection:
        try:
            return connection.replace(self._connect)
        except sqlite3.Error as error:
            self._broken = True
            raise _cannot_open(error) from error

    def _finish_batch(self, calls: list[QueuedCall], outcomes: list[Outcome], loop: asyncio.AbstractEventLoop) -> None:
        for call, (result, error) in zip(calls, outcomes, strict=True):
            if not call.future.done():
                call.future.set_result(result) if error is None else call.future.set_exception(error)
            if isinstance(error, DatabaseCorrupt) and not self.corrupt:
                self.corrupt = True
                log.error("the database at %s is corrupt; `python -m api doctor` reports the details", self._path)
        self._running = []
        if self._waiting:
            self._start_batch(loop)

    def _expire(self, call: QueuedCall) -> None:
        """End a call past its deadline: a waiting one fails, a running read is interrupted, a running write goes on."""
        call.expired = True
        if call not in self._running:
            if not call.future.done():
                call.future.set_exception(Timeout(DATABASE_TIMEOUT))
        elif self._is_interruptible(call) and self._connection is not None:
            self._connection.interrupt_now()


def _cannot_open(error: sqlite3.Error) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the database cannot be opened: {error}")
