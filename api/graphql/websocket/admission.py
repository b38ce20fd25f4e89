"""Which WebSockets are open in this process, and whether there is room for one more.

An address has a share of its own for sockets that have shown no valid credential, and each credential has a share of
all sockets, and more as long as fewer than half are taken. Where all sockets are taken, the oldest that has not been
initialised is evicted; only where there is none is the newcomer refused.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from api.http.problem_details import TooManyRequests
from schema.engine.concurrency import QUARTER, share_of
from schema.engine.errors import Overloaded

# When an uninitialised socket has ended in any case.
RETRY_SECONDS = 5


class Opening:
    """One open socket. `deadline` is the timeout that its initialisation runs under."""

    __slots__ = ("address", "credential", "deadline", "evicted")

    def __init__(self, address: str | None, credential: str | None = None) -> None:
        self.address = address
        self.credential = credential
        self.deadline: asyncio.Timeout | None = None
        self.evicted = False

    def evict(self) -> None:
        """Have the socket end: what it waits for raises `TimeoutError`."""
        self.evicted = True
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(0)


class Admission:
    """At most `limit` sockets in all, and `per_address` of one address without a valid credential; 0 for no limit.

    A credential may have `percent` of all, and more as long as fewer than half are open.
    """

    def __init__(self, limit: int, per_address: int = 0, percent: int = QUARTER) -> None:
        self._limit = limit
        self._share = share_of(limit, percent)
        self._per_address = per_address
        self._open: set[Opening] = set()
        # In the order of their handshakes.
        self._uninitialised: dict[Opening, None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_credential: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, address: str | None, credential: str | None = None) -> Opening:
        """Count a socket from its handshake on: for its `credential` where that is known to be good, or its `address`.

        Raises:
            TooManyRequests: the address or the credential has its share open.
            Overloaded: all sockets are taken, and all are initialised.
        """
        if credential is not None:
            self._check_share(credential, len(self._open))
        if address is not None and 0 < self._per_address <= self._by_address[address]:
            raise TooManyRequests(
                f"an address may have {self._per_address} WebSockets open without a valid credential",
                [(b"retry-after", b"%d" % RETRY_SECONDS)],
            )
        if len(self._open) >= self._limit and not self._evict_oldest():
            raise Overloaded("too many WebSockets are open")
        opening = Opening(address, credential)
        self._open.add(opening)
        if credential is not None:
            self._by_credential[credential] += 1
        self._uninitialised[opening] = None
        if address is not None:
            self._by_address[address] += 1
        return opening

    def initialised(self, opening: Opening, credential: str | None) -> None:
        """Evict it no more; one with a valid `credential` takes of that one's share, and none of its address's.

        Raises:
            TooManyRequests: the credential has its share open.
        """
        if credential is not None and opening.credential is None:
            self._check_share(credential, len(self._open) - 1)
            self._release(opening)
            opening.credential = credential
            self._by_credential[credential] += 1
        self._uninitialised.pop(opening, None)

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

    def _check_share(self, credential: str, others: int) -> None:
        """Refuse a credential that has its share, where half of all or more are open beside the socket in question."""
        if self._by_credential[credential] >= self._share and 2 * others >= self._limit:
            raise TooManyRequests(
                f"a credential may have {self._share} WebSockets open while half of all {self._limit} are",
                [(b"retry-after", b"%d" % RETRY_SECONDS)],
            )

    def _release(self, opening: Opening) -> None:
        """Take it from what its address or its credential has."""
        for counts, name in ((self._by_address, opening.address), (self._by_credential, opening.credential)):
            if name is not None:
                counts[name] -= 1
                if not counts[name]:
                    del counts[name]
        opening.address = opening.credential = None
