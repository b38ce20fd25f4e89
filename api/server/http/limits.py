"""Limits on a connection (bytes, headers, seconds, connections) and the sweeper that enforces the timeouts.

One timer a second checks all connections: a request starts no timer of its own, it only notes the sweeper's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

# How many connections may be half closed by the server at a time; each holds a file descriptor until the client closes.
MAX_CLOSING = 256
# Called with the status of a response that the application did not write, and with the client's address if it has to
# pay for it: None where the request has been charged already.
OnRefusal = Callable[[int, str | None], None]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits in bytes, seconds and numbers. `body` includes the framing of chunks; the APIs limit the content."""

    url: int = 8192
    head: int = 32 * 1024
    headers: int = 100
    body: int = 2 * 1024 * 1024
    pipelined: int = 100
    connections: int = 4096
    # For a head, and then for a body.
    read_timeout: float = 10
    request_timeout: float = 16
    # Once `connections` is reached, a request whose body takes longer than this is closed in favour of a new client.
    upload_timeout: float = 2
    idle_timeout: float = 95
    # For the client to close after the server has.
    close_timeout: float = 2
    # For the client to read what waits to be sent, at 8 KiB a second or faster.
    write_timeout: float = 20
    sweep_interval: float = 1


class Closable(Protocol):
    """A connection that can be aborted."""

    transport: asyncio.Transport


C = TypeVar("C", bound=Closable)


class ClosingConnections(Generic[C]):
    """Connections that the server has closed and the client has not, the oldest first; at most `most` are kept open."""

    def __init__(self, most: int = MAX_CLOSING) -> None:
        self._most = most
        self._connections: dict[C, None] = {}

    def __iter__(self) -> Iterator[C]:
        return iter(self._connections)

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: C) -> None:
        """Add a connection, and abort the oldest if there are too many."""
        self._connections[connection] = None
        if len(self._connections) > self._most:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.transport.abort()

    def discard(self, connection: C) -> None:
        """Remove a connection, if it is there."""
        self._connections.pop(connection, None)


class SweptConnection(Closable, Protocol):
    """What the sweeper calls of `Connection`."""

    def check(self, now: float) -> None: ...
    def is_evictable(self) -> bool: ...
    def evict(self) -> None: ...


class ConnectionSweeper:
    """Checks every connection once a second, and closes one where there are too many.

    `now` is the time of the last check on the event loop's clock. `draining` is set when a graceful shutdown begins.
    """

    def __init__(self, limits: ConnectionLimits, on_refusal: OnRefusal | None = None) -> None:
        self.limits = limits
        self.on_refusal = on_refusal or (lambda status, address: None)
        self.now = 0.0
        self.last_refusal = -1.0
        self.draining = False
        self._connections: dict[SweptConnection, None] = {}
        self._closing: ClosingConnections[SweptConnection] = ClosingConnections()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._default_lines: tuple[object, bytes] = (None, b"")

    def admit(self, connection: SweptConnection, loop: asyncio.AbstractEventLoop) -> bool:
        """Add a connection; False if there are too many and none of the oldest can be evicted."""
        if self._loop is not loop:
            self._loop, self.now = loop, loop.time()
            loop.call_later(self.limits.sweep_interval, self._sweep)
        full = len(self._connections) >= self.limits.connections
        admitted = not full or self._evict_one()
        self._connections[connection] = None
        return admitted

    def discard(self, connection: SweptConnection) -> None:
        """Remove a connection, if it is there."""
        self._connections.pop(connection, None)
        self._closing.discard(connection)

    def default_lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's default headers as header lines; formatted again only when uvicorn replaces the list."""
        if self._default_lines[0] is not headers:
            self._default_lines = (headers, b"".join(b"%b: %b\r\n" % header for header in headers))
        return self._default_lines[1]

    def _sweep(self) -> None:
        assert self._loop is not None
        if not self._connections and not self._closing:
            self._loop = None
            return
        self.now = now = self._loop.time()
        for connection in [*self._closing, *self._connections]:
            connection.check(now)
        self._loop.call_later(self.limits.sweep_interval, self._sweep)

    def _evict_one(self) -> bool:
        # Oldest first, at most 100 for each new connection: checking all of them would let an attacker buy much work
        # with little. Those that stay move to the end, so the next call checks others.
        for connection in list(islice(self._connections, 100)):
            if connection.is_evictable():
                self.discard(connection)
                self._closing.add(connection)
                connection.evict()
                return True
            self._connections[connection] = self._connections.pop(connection)
        return False
