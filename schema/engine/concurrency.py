"""A concurrency limit that is shared fairly among owners, with a bounded waiting queue.

While slots are scarce, an owner may hold its share of them: a quarter unless set otherwise. It may hold more as long as
fewer than half of all slots are taken, so that an owner who is alone is not slowed down. A slot that becomes free goes
to the owner who was served longest ago. Fewer than four slots are not divided into shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from schema.engine.errors import DirectoryError, Overloaded

DEFAULT_SHARE = 25  # percent
_MIN_SHARED = 4
_MAX_REMEMBERED = 1000


class Borrower(Protocol):
    """Holds a slot or waits for one. Its owner is computed only when slots are scarce."""

    @property
    def owner(self) -> Hashable:
        """The credential, address or actor whose share the slot counts towards."""


@dataclass(frozen=True, slots=True, eq=False)
class SimpleBorrower:
    """A borrower whose owner is known."""

    owner: Hashable


T = TypeVar("T", bound=Borrower)


def fair_share(capacity: int, percent: int) -> int:
    """Return how many slots one owner may hold while they are scarce; all, if there are too few to share."""
    return max(1, capacity * percent // 100) if capacity >= _MIN_SHARED else capacity


class FairShare:
    """The slots, their borrowers, and whose turn is next. Not thread-safe."""

    def __init__(self, capacity: int, percent: int = DEFAULT_SHARE) -> None:
        self.capacity = self.available = capacity
        self._share = fair_share(capacity, percent)
        # While more slots than this are available, no owner's share is computed.
        self._reserved = capacity - max(capacity // 2, self._share) if capacity >= _MIN_SHARED else 0
        self._borrowers: dict[Borrower, None] = {}
        self._last_served: dict[Hashable, int] = {}
        self._served = 0

    def try_acquire(self, borrower: Borrower) -> bool:
        """Take a slot, if one is available to the borrower's owner."""
        if self.available > self._reserved or self._below_share(borrower.owner):
            self.available -= 1
            self._borrowers[borrower] = None
            return True
        return False

    def release(self, borrower: Borrower) -> None:
        """Give a slot back."""
        del self._borrowers[borrower]
        self.available += 1

    def acquire_next(self, waiting: Iterable[T]) -> T | None:
        """Take a slot for the borrower whose owner was served longest ago; among equals, for the first."""
        if self.available <= 0:
            return None
        seen: set[Hashable] = set()
        chosen: T | None = None
        for borrower in waiting:
            owner = borrower.owner
            if owner in seen:
                continue
            seen.add(owner)
            earlier = chosen is None or self._last_served.get(owner, 0) < self._last_served.get(chosen.owner, 0)
            if earlier and (self.available > self._reserved or self._below_share(owner)):
                chosen = borrower
        if chosen is not None:
            self._mark_served(chosen.owner)
            self.available -= 1
            self._borrowers[chosen] = None
        return chosen

    def _below_share(self, owner: Hashable) -> bool:
        return self.available > 0 and sum(borrower.owner == owner for borrower in self._borrowers) < self._share

    def _mark_served(self, owner: Hashable) -> None:
        if len(self._last_served) >= _MAX_REMEMBERED:
            self._last_served.clear()
        self._served += 1
        self._last_served[owner] = self._served


class ConcurrencyLimit(FairShare):
    """A fair share of slots with a waiting queue, half of which one owner may fill.

    `full_message` is the error's text when the queue is full; `timeout_error` makes the error for a borrower who has
    waited too long.
    """

    def __init__(
        self,
        capacity: int,
        max_waiting: int,
        percent: int = DEFAULT_SHARE,
        *,
        full_message: str,
        timeout_error: Callable[[], DirectoryError],
    ) -> None:
        super().__init__(capacity, percent)
        self._max_waiting = max_waiting
        self._full_message = full_message
        self._timeout_error = timeout_error
        self._waiting: dict[Borrower, asyncio.Future[None]] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def acquire(self, borrower: Borrower, seconds: float) -> None:
        """Take a slot as soon as it is the owner's turn. Each acquired slot must be released.

        Raises:
            Overloaded: the queue is full, or the owner's half of it.
            DirectoryError: from `timeout_error`, after so many seconds without a slot.
        """
        if self.try_acquire(borrower):
            return
        if self._is_full(borrower.owner):
            raise Overloaded(self._full_message)
        loop = asyncio.get_running_loop()
        turn = self._waiting[borrower] = loop.create_future()
        timer = loop.call_later(seconds, self._expire, borrower)
        try:
            await turn
        except asyncio.CancelledError:
            # The slot may have been granted in the turn of the event loop in which the task was cancelled.
            granted = self._waiting.pop(borrower, None) is None and turn.done() and not turn.cancelled()
            if granted and turn.exception() is None:
                self.release(borrower)
            raise
        finally:
            timer.cancel()

    @asynccontextmanager
    async def slot(self, owner: Hashable, seconds: float) -> AsyncIterator[None]:
        """Hold a slot within the block. Raises as `acquire` does."""
        borrower = SimpleBorrower(owner)
        await self.acquire(borrower, seconds)
        try:
            yield
        finally:
            self.release(borrower)

    def release(self, borrower: Borrower) -> None:
        """Give the slot back, or hand it to the next borrower who waits."""
        super().release(borrower)
        while self._waiting and (successor := self.acquire_next(self._waiting)) is not None:
            turn = self._waiting.pop(successor)
            if turn.done():
                super().release(successor)
            else:
                turn.set_result(None)

    def _is_full(self, owner: Hashable) -> bool:
        waiting, half = len(self._waiting), self._max_waiting // 2
        if waiting < half:
            return False
        shared = half >= _MIN_SHARED
        own = sum(borrower.owner == owner for borrower in self._waiting) if shared else 0
        return waiting >= self._max_waiting or (shared and own >= half)

    def _expire(self, borrower: Borrower) -> None:
        turn = self._waiting.pop(borrower, None)
        if turn is not None and not turn.done():
            turn.set_exception(self._timeout_error())
