"""A number of places shared fairly among owners, and a line of those who wait for one.

An owner may hold a share of the places, a quarter unless set otherwise, and more as long as fewer than half of all are
taken. So whoever asks for much cannot keep others out, and whoever is alone is not slowed down by it. Places that
become free go to the owner who was served longest ago. Below four places there is nothing to share.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from schema.engine.errors import DirectoryError, Overloaded

QUARTER = 25
_FEWEST_SHARED = 4
_MOST_REMEMBERED = 1000


class Holder(Protocol):
    """Whoever holds a place or waits for one. Its owner is looked at only when places are scarce."""

    @property
    def owner(self) -> Hashable:
        """On whose behalf."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A holder whose owner is known."""

    owner: Hashable


T = TypeVar("T", bound=Holder)


def share_of(places: int, percent: int) -> int:
    """How many of so many places one owner may hold while they are scarce: all, where there are too few to share."""
    return max(1, places * percent // 100) if places >= _FEWEST_SHARED else places


class FairShare:
    """Who holds the places, and whose turn is next. Not for use by several threads."""

    def __init__(self, places: int, percent: int = QUARTER) -> None:
        self.places = self.free = places
        shared = places >= _FEWEST_SHARED
        self._share = share_of(places, percent)
        # As long as more places than this are free, nobody's share is looked at.
        self._reserved = places - max(places // 2, self._share) if shared else 0
        self._holders: dict[Holder, None] = {}
        self._turns: dict[Hashable, int] = {}
        self._turn = 0

    def take(self, holder: Holder) -> bool:
        """Take a place, if there is one that the owner may have."""
        if self.free > self._reserved or self._may(holder.owner):
            self.free -= 1
            self._holders[holder] = None
            return True
        return False

    def give_back(self, holder: Holder) -> None:
        """Free the place."""
        del self._holders[holder]
        self.free += 1

    def take_next(self, waiting: Iterable[T]) -> T | None:
        """Take a place for the one whose owner was served longest ago; among equals, for the first."""
        if self.free <= 0:
            return None
        looked_at: set[Hashable] = set()
        chosen: T | None = None
        for one in waiting:
            owner = one.owner
            if owner in looked_at:
                continue
            looked_at.add(owner)
            sooner = chosen is None or self._turns.get(owner, 0) < self._turns.get(chosen.owner, 0)
            if sooner and (self.free > self._reserved or self._may(owner)):
                chosen = one
        if chosen is not None:
            self._note_turn(chosen.owner)
            self.free -= 1
            self._holders[chosen] = None
        return chosen

    def _may(self, owner: Hashable) -> bool:
        return self.free > 0 and sum(holder.owner == owner for holder in self._holders) < self._share

    def _note_turn(self, owner: Hashable) -> None:
        if len(self._turns) >= _MOST_REMEMBERED:
            self._turns.clear()
        self._turn += 1
        self._turns[owner] = self._turn


class ConcurrencyLimit:
    """A fair share of places, and a line in front of them, half of which one owner may fill.

    `full` is what is said where the line is full, `late` makes the error for whoever has waited for too long.
    """

    def __init__(
        self, places: int, waiting: int, percent: int = QUARTER, *, full: str, late: Callable[[], DirectoryError]
    ) -> None:
        self.turned_away = 0
        self._share = FairShare(places, percent)
        self._most_waiting = waiting
        self._full = full
        self._late = late
        self._waiting: dict[Holder, asyncio.Future[None]] = {}

    @property
    def places(self) -> int:
        """How many there are."""
        return self._share.places

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self._share.free

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter_at_once(self, holder: Holder) -> bool:
        """Take a place, if there is one that the owner may have now."""
        return self._share.take(holder)

    async def enter(self, holder: Holder, seconds: float) -> None:
        """Take a place as soon as it is this owner's turn. Each place taken has to be left.

        Raises:
            Overloaded: the line is full, or the owner's half of it.
            DirectoryError: what `late` makes, if there was no place within so many seconds.
        """
        if self._share.take(holder):
            return
        if self._is_full(holder.owner):
            self.turned_away += 1
            raise Overloaded(self._full)
        loop = asyncio.get_running_loop()
        place = self._waiting[holder] = loop.create_future()
        timer = loop.call_later(seconds, self._expire, holder)
        try:
            await place
        except asyncio.CancelledError:
            # It may have been given the place in the same moment in which it was cancelled.
            given = self._waiting.pop(holder, None) is None and place.done() and not place.cancelled()
            if given and place.exception() is None:
                self.leave(holder)
            raise
        finally:
            timer.cancel()

    @asynccontextmanager
    async def hold(self, owner: Hashable, seconds: float) -> AsyncIterator[None]:
        """Have a place within; raises what `enter` does."""
        place = Slot(owner)
        await self.enter(place, seconds)
        try:
            yield
        finally:
            self.leave(place)

    def leave(self, holder: Holder) -> None:
        """Free the place, or hand it to whoever is next."""
        self._share.give_back(holder)
        while self._waiting and (following := self._share.take_next(self._waiting)) is not None:
            place = self._waiting.pop(following)
            if place.done():
                self._share.give_back(following)
            else:
                place.set_result(None)

    def _is_full(self, owner: Hashable) -> bool:
        waiting, half = len(self._waiting), self._most_waiting // 2
        if waiting < half:
            return False
        shared = self._most_waiting // 2 >= _FEWEST_SHARED
        own = sum(one.owner == owner for one in self._waiting) if shared else 0
        return waiting >= self._most_waiting or (shared and own >= half)

    def _expire(self, holder: Holder) -> None:
        place = self._waiting.pop(holder, None)
        if place is not None and not place.done():
            self.turned_away += 1
            place.set_exception(self._late())
