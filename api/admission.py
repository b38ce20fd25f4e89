"""Which WebSockets are open in this process, and whether there is room for one more.

An address has a share of its own for sockets that have shown no valid credential. Where all sockets are taken, the
oldest that has not been initialised is evicted; only where there is none is the newcomer refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from api.rest.problems import TooManyRequests
from schema.engine.errors import Overloaded

# When an uninitialised socket has ended in any case.
RETRY_SECONDS = 5


class Opening:
    """One open socket. `deadline` is the timeout that its initialisation runs under."""

    __slots__ = ("address", "deadline", "evicted")

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.deadline: asyncio.Timeout | None = None
        self.evicted = False

    def evict(self) -> None:
        """Have the socket end: what it waits for raises `TimeoutError`."""
        self.evicted = True
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(0)


class Admission:
    """At most `limit` sockets in all, and `per_address` of one address without a valid credential; 0 for no limit."""

    def __init__(self, limit: int, per_address: int = 0) -> None:
        self._limit = limit
        self._per_address = per_address
        self._open: set[Opening] = set()
        # In the order of their handshakes.
        self._uninitialised: dict[Opening, None] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, address: str | None) -> Opening:
        """Count a socket from its handshake on; `address` is None where its credential is known to be good.

        Raises:
            TooManyRequests: the address has its share open.
            Overloaded: all sockets are taken, and all are initialised.
        """
        if address is not None and 0 < self._per_address <= self._by_address[address]:
            raise TooManyRequests(
                f"an address may have {self._per_address} WebSockets open without a valid credential",
                [(b"retry-after", b"%d" % RETRY_SECONDS)],
            )
        if len(self._open) >= self._limit and not self._evict_oldest():
            raise Overloaded("too many WebSockets are open")
        opening = Opening(address)
        self._open.add(opening)
        self._uninitialised[opening] = None
        if address is not None:
            self._by_address[address] += 1
        return opening

    def initialised(self, opening: Opening, *, credential: bool) -> None:
        """Evict it no more; one with a valid `credential` takes none of its address's share."""
        self._uninitialised.pop(opening, None)
        if credential:
            self._release(opening)

    def leave(self, opening: Opening) -> None:
        """Count a socket no more. Calling it again does nothing."""
        self._open.discard(opening)
        self._uninitialised.pop(opening, None)
        self._release(opening)

    def _evict_oldest(self) -> bool:
        oldest = next(iter(self._uninitialised), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.evict()
        return True

    def _release(self, opening: Opening) -> None:
        address, opening.address = opening.address, None
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
