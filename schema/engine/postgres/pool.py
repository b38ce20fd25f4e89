"""Connections to a PostgreSQL, and the errands that wait for one.

Errands stand in queues. Those that can go together share a trip, and a queue has only so many trips under way at a
time: while they last, company gathers, and a statement for twenty costs little more than one for one. A connection
that is lost is replaced when it is next needed; while none can be had, nobody waits longer than one attempt takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schema.engine.concurrency import QUARTER, FairShare
from schema.engine.errors import DATABASE_TIMEOUT, DatabaseUnavailable, Overloaded, QueryTimeout, Timeout
from schema.engine.metrics import Connections
from schema.engine.postgres.session import Connection

MOST_WAITING = 1000
PARTING = 5.0  # seconds that a connection may take to say goodbye
Outcome = tuple[Any, BaseException | None]
RoundTrip = Callable[[Connection, Sequence[Any]], Awaitable[list[Outcome]]]


class LostBefore(Exception):
    """The connection was lost, and nothing can have come of the errand: it may be done again."""


@dataclass(slots=True, eq=False)
class QueuedCall:
    """Something to be done, and who waits for it."""

    task: Any
    done: asyncio.Future[Any]
    owner: Hashable = None
    trip: asyncio.Task[None] | None = None
    again: bool = False


@dataclass(slots=True, eq=False)
class Queue:
    """Errands of one kind. `trip` does them, `most` trips at a time; `together` says how many from the front go along.

    `breakable`: a trip for which nobody waits any more is broken off. With a `share` each errand goes alone, owners in
    turn, and an owner has a fair share of the trips.
    """

    trip: RoundTrip
    most: int
    together: Callable[[deque[QueuedCall]], list[QueuedCall]]
    breakable: bool = False
    share: FairShare | None = None
    waiting: deque[QueuedCall] = field(default_factory=deque)
    under_way: int = 0

    def ready(self) -> bool:
        """Whether a trip could begin."""
        while self.waiting and self.waiting[0].done.done():
            self.waiting.popleft()
        return bool(self.waiting) and self.under_way < self.most

    def take(self) -> list[QueuedCall]:
        """Those that go along on the next trip, if any may go now."""
        if self.share is None:
            return [errand for errand in self.together(self.waiting) if not errand.done.done()]
        errand = self.share.take_next(errand for errand in self.waiting if not errand.done.done())
        if errand is None:
            return []
        self.waiting.remove(errand)
        return [errand]


class Pool:
    """Up to `size` connections, opened as they are needed."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, deadline: float, share: int = QUARTER
    ) -> None:
        self._connect = connect
        self._size = size
        self._deadline = deadline
        self._share = FairShare(size, share)
        self._queues: list[Queue] = []
        self._idle: list[Connection] = []
        self._open = self._lost = self.repeated = 0
        self._unwanted: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._called = False
        self._closed = True

    def queue(self, trip: RoundTrip, most: int, together: Callable[[deque[QueuedCall]], list[QueuedCall]]) -> Queue:
        """A further queue, whose errands go together."""
        made = Queue(trip, most, together)
        self._queues.append(made)
        return made

    def fair_queue(self, trip: RoundTrip, *, breakable: bool = False) -> Queue:
        """A further queue, whose errands go alone; owners share the trips of all such queues."""
        made = Queue(trip, self._size, one, breakable, self._share)
        self._queues.append(made)
        return made

    async def open(self) -> None:
        """Open a first connection: the error is raised where there is none to be had."""
        self._closed = False
        self._open += 1
        try:
            self._idle.append(await self._connect())
        except BaseException:
            self._open -= 1
            raise

    async def close(self) -> None:
        """Finish what waits and what is under way, and disconnect."""
        pending = [errand.done for queue in self._queues for errand in queue.waiting]
        await asyncio.gather(*pending, return_exceptions=True)
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_part(connection) for connection in idle))
        self._open -= len(idle)

    def connections(self) -> Connections:
        """How many there are, and what has befallen them."""
        return Connections(self._size, self._open, len(self._idle), self._lost, self.repeated)

    def renew(self, used: Connection | None = None) -> None:
        """Let go of what is idle, and of the one that is used, after its trip: others may be told otherwise."""
        for connection in self._idle:
            connection.terminate()
        if used is not None:
            self._unwanted.add(used)

    async def do(self, queue: Queue, task: Any, owner: Hashable = None) -> Any:
        """What came of the task, or the error that it ended in; `Timeout` past the deadline."""
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        if len(queue.waiting) >= MOST_WAITING:
            raise Overloaded("too many requests wait for the database")
        loop = asyncio.get_running_loop()
        errand = QueuedCall(task, loop.create_future(), owner)
        queue.waiting.append(errand)
        if not self._called:
            self._called = True
            loop.call_soon(self._depart)
        timer = loop.call_later(self._deadline, _expire, queue, errand)
        try:
            return await errand.done
        except asyncio.CancelledError:
            _break_off(queue, errand)
            raise
        finally:
            timer.cancel()

    def _depart(self) -> None:
        """Begin all trips that can begin."""
        self._called = False
        for queue in self._queues:
            while queue.ready():
                connection = self._take()
                if connection is None:
                    return
                errands = queue.take()
                if not errands:
                    self._idle.append(connection)
                    if queue.share is None:
                        continue
                    break
                queue.under_way += 1
                self._start(self._travel(queue, errands, connection), errands)

    def _take(self) -> Connection | None:
        """A connection that is idle; if there is none, one is on its way."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._lose()
        if self._open < self._size:
            self._open += 1
            self._start(self._enlarge(), [])
        return None

    def _start(self, doing: Any, errands: Sequence[QueuedCall]) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for errand in errands:
            errand.trip = task

    async def _enlarge(self) -> None:
        try:
            self._idle.append(await self._connect())
        except Exception as error:
            self._open -= 1
            if self._open == 0:  # Nobody can be served: those who wait are told, rather than left to wait.
                for queue in self._queues:
                    _tell(queue.waiting, [(None, error)] * len(queue.waiting))
                    queue.waiting.clear()
        self._depart()

    async def _travel(self, queue: Queue, errands: Sequence[QueuedCall], connection: Connection) -> None:
        try:
            outcomes = await queue.trip(connection, [errand.task for errand in errands])
            self._arrive(queue, errands, outcomes)
        except BaseException as error:  # Whatever it is, those who wait must hear of it.
            _tell(errands, [(None, error)] * len(errands))
        finally:
            queue.under_way -= 1
            if queue.share is not None:
                queue.share.give_back(errands[0])
            await self._settle(connection)
            self._depart()

    def _arrive(self, queue: Queue, errands: Sequence[QueuedCall], outcomes: Sequence[Outcome]) -> None:
        """Tell those who wait; what the connection was lost before goes once more, on another one."""
        for errand, (result, error) in zip(errands, outcomes, strict=True):
            if not isinstance(error, LostBefore):
                _tell([errand], [(result, error)])
            elif errand.again:
                _tell([errand], [(None, DatabaseUnavailable("the connection to the database was lost"))])
            else:
                errand.again, errand.trip = True, None
                self.repeated += 1
                queue.waiting.append(errand)

    async def _settle(self, connection: Connection) -> None:
        """Put a connection back as it was; one that cannot be is dropped."""
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        if connection in self._unwanted:
            self._unwanted.remove(connection)
            connection.terminate()
        if connection.is_closed():
            self._lose()
        else:
            self._idle.append(connection)

    def _lose(self) -> None:
        self._open -= 1
        self._lost += 1


def one(waiting: deque[QueuedCall]) -> list[QueuedCall]:
    """Each errand goes alone."""
    return [waiting.popleft()]


def _tell(errands: Sequence[QueuedCall] | deque[QueuedCall], outcomes: Sequence[Outcome]) -> None:
    for errand, (result, error) in zip(errands, outcomes, strict=True):
        if not errand.done.done():
            errand.done.set_result(result) if error is None else errand.done.set_exception(error)


def _expire(queue: Queue, errand: QueuedCall) -> None:
    """Past its deadline: one that waits is given up, one that reads is broken off, one that writes is let be."""
    if not errand.done.done() and (errand.trip is None or queue.breakable):
        errand.done.set_exception(Timeout(DATABASE_TIMEOUT) if errand.trip is None else QueryTimeout(DATABASE_TIMEOUT))
        _break_off(queue, errand)


def _break_off(queue: Queue, errand: QueuedCall) -> None:
    if queue.breakable and errand.trip is not None:
        errand.trip.cancel()


async def _part(connection: Connection) -> None:
    try:
        await connection.close(timeout=PARTING)
    except Exception:
        connection.terminate()
