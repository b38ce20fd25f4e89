"""Limits on the open WebSockets of this process: in all, for each address, and for each credential.

An address has a limit for sockets that have shown no valid credential. A credential has a share of all sockets, and may
exceed it while fewer than half are open. When all sockets are open, the oldest uninitialised one is evicted; a new one
is refused only if there is none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from api.http.problem_details import TooManyRequests
from schema.engine.concurrency import DEFAULT_SHARE, fair_share
from schema.engine.errors import Overloaded

# An uninitialised socket has ended by then.
RETRY_SECONDS = 5


@dataclass(slots=True, eq=False)
class OpenSocket:
    """One open socket. `deadline` is the timeout that its initialisation runs under."""

    address: str | None
    credential: str | None = None
    deadline: asyncio.Timeout | None = None
    evicted: bool = False

    def evict(self) -> None:
        """End the initialisation: what it awaits raises `TimeoutError`."""
        self.evicted = True
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(0)


class Admission:
    """Admits at most `limit` sockets, and `per_address` of one address without a valid credential (0: no limit).

    A credential has a share of `percent`.
    """

    def __init__(self, limit: int, per_address: int = 0, percent: int = DEFAULT_SHARE) -> None:
        self._limit = limit
        self._share = fair_share(limit, percent)
        self._per_address = per_address
        self._open: set[OpenSocket] = set()
        # In the order of their handshakes.
        self._uninitialised: dict[OpenSocket, None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_credential: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, address: str | None, credential: str | None = None) -> OpenSocket:
        """Count a socket from its handshake on, for its `credential` if that is known to be valid, or its `address`.

        Raises:
            TooManyRequests: the address or the credential is at its limit.
            Overloaded: all sockets are open, and all are initialised.
        """
        if credential is not None:
            self._check_share(credential, len(self._open))
        if address is not None and 0 < self._per_address <= self._by_address[address]:
            raise TooManyRequests(
                f"an address must have at most {self._per_address} WebSockets without a valid credential",
                [(b"retry-after", b"%d" % RETRY_SECONDS)],
            )
        if len(self._open) >= self._limit and not self._evict_oldest():
            raise Overloaded("too many WebSockets are open")
        socket = OpenSocket(address, credential)
        self._open.add(socket)
        self._uninitialised[socket] = None
        if credential is not None:
            self._by_credential[credential] += 1
        if address is not None:
            self._by_address[address] += 1
        return socket

    def initialise(self, socket: OpenSocket, credential: str | None) -> None:
        """Protect a socket from eviction; with a valid `credential`, count it for that instead of its address.

        Raises:
            TooManyRequests: the credential is at its limit.
        """
        if credential is not None and socket.credential is None:
            self._check_share(credential, len(self._open) - 1)
            self._release(socket)
            socket.credential = credential
            self._by_credential[credential] += 1
        self._uninitialised.pop(socket, None)

    def remove(self, socket: OpenSocket) -> None:
        """Stop counting a socket. Idempotent."""
        self._open.discard(socket)
        self._uninitialised.pop(socket, None)
        self._release(socket)

    def _evict_oldest(self) -> bool:
        oldest = next(iter(self._uninitialised), None)
        if oldest is None:
            return False
        self.remove(oldest)
        oldest.evict()
        return True

    def _check_share(self, credential: str, others: int) -> None:
        """Raise `TooManyRequests` if the credential has its share, and the `others` are half of the limit or more."""
        if self._by_credential[credential] >= self._share and 2 * others >= self._limit:
            raise TooManyRequests(
                f"a credential must have at most {self._share} WebSockets while half of all {self._limit} are open",
                [(b"retry-after", b"%d" % RETRY_SECONDS)],
            )

    def _release(self, socket: OpenSocket) -> None:
        """Stop counting a socket for its address or its credential."""
        for counts, name in ((self._by_address, socket.address), (self._by_credential, socket.credential)):
            if name is not None:
                counts[name] -= 1
                if not counts[name]:
                    del counts[name]
        socket.address = socket.credential = None
