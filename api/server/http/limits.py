"""How much a connection may take up: bytes, headers, seconds. And the watch that looks at all connections every second.

A good request pays nothing for it: no timer is its own, it only notes what time the watch has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

# How many may have made room for others and not have hung up yet.
MOST_CLOSING = 256
# Gets the status of the answer, and the address that is to pay for it: none where the request is paid for.
OnRefusal = Callable[[int, str | None], None]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take up, in bytes, in seconds, in pieces; and how many connections there may be."""

    url: int = 8192
    head: int = 32 * 1024
    headers: int = 100
    # What a body may be on the wire, the framing of its chunks included; what it may hold, the doors say.
    body: int = 2 * 1024 * 1024
    pipelined: int = 100
    connections: int = 4096
    reading: float = 10
    request: float = 16
    # Where connections are scarce, a body that has not come within this makes room for others.
    upload: float = 2
    idle: float = 95
    farewell: float = 2
    taking: float = 20
    every: float = 1


class SweptConnection(Protocol):
    """What the watch looks after."""

    def check(self, now: float) -> None:
        """Do what is due."""

    def evictable(self) -> bool:
        """Whether nothing is lost when it goes."""

    def make_room(self) -> None:
        """Go, so that somebody else can come."""

    def cut(self) -> None:
        """Be gone at once."""


class ConnectionSweeper:
    """Looks at every connection once a second. `now` is the time of its last look, on the loop's clock.

    `on_refusal` hears of each answer to what no endpoint got to see, or not in time.
    """

    def __init__(self, limits: ConnectionLimits, on_refusal: OnRefusal | None = None) -> None:
        self.limits = limits
        self.on_refusal = on_refusal or _ignored
        self.now = 0.0
        # When somebody was refused last.
        self.refused = -1.0
        self.leaving = False
        self.guests: dict[SweptConnection, None] = {}
        # Those that have made room and are not gone yet, the oldest first: they hold a file each.
        self._parting: dict[SweptConnection, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stamp: tuple[object, bytes] = (None, b"")

    def admit(self, guest: SweptConnection, loop: asyncio.AbstractEventLoop) -> bool:
        """Take it in. Where the house is full, one of the oldest that ask for nothing goes, or else nobody comes in."""
        if self._loop is not loop:
            self._loop, self.now = loop, loop.time()
            loop.call_later(self.limits.every, self._look)
        full = len(self.guests) >= self.limits.connections
        admitted = not full or self._evicted()
        self.guests[guest] = None
        return admitted

    def forget(self, guest: SweptConnection) -> None:
        """It is gone."""
        self.guests.pop(guest, None)
        self._parting.pop(guest, None)

    def stamp(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The headers that all answers have, as lines; written anew when the server has new ones, once a second."""
        if self._stamp[0] is not headers:
            self._stamp = (headers, b"".join(b"%b: %b\r\n" % header for header in headers))
        return self._stamp[1]

    def _look(self) -> None:
        assert self._loop is not None
        if not self.guests and not self._parting:
            self._loop = None
            return
        self.now = now = self._loop.time()
        for guest in [*self._parting, *self.guests]:
            guest.check(now)
        self._loop.call_later(self.limits.every, self._look)

    def _evicted(self) -> bool:
        # In the order of their arrival; a look at all of them for each that comes would be what an attacker wants. Who
        # may stay goes to the end, so that the next look is at others.
        for guest in list(islice(self.guests, 100)):
            if guest.evictable():
                self.forget(guest)
                self._parting[guest] = None
                guest.make_room()
                if len(self._parting) > MOST_CLOSING:
                    next(iter(self._parting)).cut()
                return True
            self.guests[guest] = self.guests.pop(guest)
        return False


def _ignored(status: int, address: str | None) -> None:
    """Where nobody counts."""
