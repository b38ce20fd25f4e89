"""A pool of PostgreSQL connections, and the queues of calls that wait for one.

Calls of one queue that fit together run as one batch, and a queue runs only so many batches at a time: meanwhile calls
gather, and a statement for twenty costs little more than one for one. A lost connection is replaced when the next one
is needed. While no connection can be opened, no call waits longer than one attempt takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schema.engine import database_errors
from schema.engine.concurrency import DEFAULT_SHARE, FairShare
from schema.engine.errors import DATABASE_TIMEOUT, DatabaseUnavailable, QueryTimeout, Timeout
from schema.engine.metrics import Connections
from schema.engine.postgres.session import Connection

MAX_WAITING = 1000  # calls in one queue
CLOSE_TIMEOUT = 5.0  # seconds
Outcome = tuple[Any, BaseException | None]
RunBatch = Callable[[Connection, Sequence[Any]], Awaitable[list[Outcome]]]
Dequeue = Callable[[deque["QueuedCall"]], list["QueuedCall"]]


class ConnectionLost(Exception):
    """The connection was lost and nothing was committed, so the call can run again."""


@dataclass(slots=True, eq=False)
class QueuedCall:
    """A call for a connection: queries to read, or a transaction function. It is a `Borrower`."""

    task: Any
    future: asyncio.Future[Any]
    owner: Hashable = None
    batch: asyncio.Task[None] | None = None
    retried: bool = False


@dataclass(slots=True, eq=False)
class Queue:
    """Calls of one sort.

    `run` runs a batch, at most `max_running` at a time. `dequeue` takes the calls of the next batch from the queue;
    with a `share` instead, each call runs alone, and owners take turns and have a fair share. A batch of a
    `cancellable` queue is cancelled when no caller waits for it any more.
    """

    run: RunBatch
    max_running: int
    dequeue: Dequeue
    cancellable: bool = False
    share: FairShare | None = None
    waiting: deque[QueuedCall] = field(default_factory=deque)
    running: int = 0

    def is_ready(self) -> bool:
        while self.waiting and self.waiting[0].future.done():
            self.waiting.popleft()
        return bool(self.waiting) and self.running < self.max_running

    def next_batch(self) -> list[QueuedCall]:
        """Take the calls of the next batch from the queue; none if no owner may run one now."""
        if self.share is None:
            return [call for call in self.dequeue(self.waiting) if not call.future.done()]
        call = self.share.acquire_next(call for call in self.waiting if not call.future.done())
        if call is None:
            return []
        self.waiting.remove(call)
        return [call]


class Pool:
    """Up to `size` connections, opened when they are needed."""

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], size: int, deadline: float, share: int = DEFAULT_SHARE
    ) -> None:
        self._connect = connect
        self._size = size
        self._deadline = deadline
        self._share = FairShare(size, share)
        self._queues: list[Queue] = []
        self._idle: list[Connection] = []
        self._open = self._lost = self.repeated = 0
        self._retired: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._closed = True

    def add_queue(self, run: RunBatch, max_running: int, dequeue: Dequeue) -> Queue:
        """Add a queue whose calls run in batches."""
        queue = Queue(run, max_running, dequeue)
        self._queues.append(queue)
        return queue

    def add_fair_queue(self, run: RunBatch, *, cancellable: bool = False) -> Queue:
        """Add a queue whose calls run alone; all such queues share the connections fairly among owners."""
        queue = Queue(run, self._size, lambda waiting: [waiting.popleft()], cancellable, self._share)
        self._queues.append(queue)
        return queue

    async def open(self) -> None:
        """Open the first connection, or raise why it cannot be opened. The pool serves calls either way."""
        self._closed = False
        self._open += 1
        try:
            self._idle.append(await self._connect())
        except BaseException:
            self._open -= 1
            raise

    async def close(self) -> None:
        """Finish all calls, and close the connections."""
        pending = [call.future for queue in self._queues for call in queue.waiting]
        await asyncio.gather(*pending, return_exceptions=True)
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_close(connection) for connection in idle))
        self._open -= len(idle)

    def connections(self) -> Connections:
        return Connections(self._size, self._open, len(self._idle), self._lost, self.repeated)

    def replace_connections(self, used: Connection | None = None) -> None:
        """Close the idle connections now and the used one after its batch, so that new sessions take their place."""
        for connection in self._idle:
            connection.terminate()
        if used is not None:
            self._retired.add(used)

    async def run(self, queue: Queue, task: Any, owner: Hashable = None) -> Any:
        """Run the task in a batch of the queue and return its result; `Timeout` past the deadline."""
        if self._closed:
            raise database_errors.closed()
        if len(queue.waiting) >= MAX_WAITING:
            raise database_errors.queue_full()
        loop = asyncio.get_running_loop()
        call = QueuedCall(task, loop.create_future(), owner)
        queue.waiting.append(call)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._start_batches)
        timer = loop.call_later(self._deadline, _expire, queue, call)
        try:
            return await call.future
        except asyncio.CancelledError:
            _cancel_batch(queue, call)
            raise
        finally:
            timer.cancel()

    def _start_batches(self) -> None:
        self._scheduled = False
        for queue in self._queues:
            while queue.is_ready():
                connection = self._take_connection()
                if connection is None:
                    return
                calls = queue.next_batch()
                if not calls:
                    self._idle.append(connection)
                    if queue.share is None:
                        continue
                    break
                queue.running += 1
                task = self._create_task(self._run_batch(queue, calls, connection))
                for call in calls:
                    call.batch = task

    def _take_connection(self) -> Connection | None:
        """Take an idle connection; if there is none, begin to open one and return None."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._count_lost()
        if self._open < self._size:
            self._open += 1
            self._create_task(self._open_connection())
        return None

    def _create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _open_connection(self) -> None:
        try:
            self._idle.append(await self._connect())
        except Exception as error:
            self._open -= 1
            if self._open == 0:  # No connection is left to serve those who wait.
                for queue in self._queues:
                    _resolve(queue.waiting, [(None, error)] * len(queue.waiting))
                    queue.waiting.clear()
        self._start_batches()

    async def _run_batch(self, queue: Queue, calls: Sequence[QueuedCall], connection: Connection) -> None:
        try:
            outcomes = await queue.run(connection, [call.task for call in calls])
            self._resolve_or_retry(queue, calls, outcomes)
        except BaseException as error:  # The callers must get an answer, whatever was raised.
            _resolve(calls, [(None, error)] * len(calls))
        finally:
            queue.running -= 1
            if queue.share is not None:
                queue.share.release(calls[0])
            await self._put_back(connection)
            self._start_batches()

    def _resolve_or_retry(self, queue: Queue, calls: Sequence[QueuedCall], outcomes: Sequence[Outcome]) -> None:
        """Resolve the calls; those that lost their connection run once more, on another one."""
        for call, (result, error) in zip(calls, outcomes, strict=True):
            if not isinstance(error, ConnectionLost):
                _resolve([call], [(result, error)])
            elif call.retried:
                _resolve([call], [(None, DatabaseUnavailable("the connection to the database was lost"))])
            else:
                call.retried, call.batch = True, None
                self.repeated += 1
                queue.waiting.append(call)

    async def _put_back(self, connection: Connection) -> None:
        """Roll back what is open and return the connection to the pool; drop it if that fails."""
        try:
            if not connection.is_closed() and connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        if connection in self._retired:
            self._retired.remove(connection)
            connection.terminate()
        if connection.is_closed():
            self._count_lost()
        else:
            self._idle.append(connection)

    def _count_lost(self) -> None:
        self._open -= 1
        self._lost += 1


def _resolve(calls: Iterable[QueuedCall], outcomes: Sequence[Outcome]) -> None:
    for call, (result, error) in zip(calls, outcomes, strict=True):
        if not call.future.done():
            call.future.set_result(result) if error is None else call.future.set_exception(error)


def _expire(queue: Queue, call: QueuedCall) -> None:
    """End a call past its deadline: one that waits fails, a running read is cancelled, a running write goes on."""
    if not call.future.done() and (call.batch is None or queue.cancellable):
        error = Timeout if call.batch is None else QueryTimeout
        call.future.set_exception(error(DATABASE_TIMEOUT))
        _cancel_batch(queue, call)


def _cancel_batch(queue: Queue, call: QueuedCall) -> None:
    if queue.cancellable and call.batch is not None:
        call.batch.cancel()


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=CLOSE_TIMEOUT)
    except Exception:
        connection.terminate()
