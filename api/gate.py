"""How many requests run at a time, and how many more may wait for a moment. Nothing here knows what a request is.

Where there is room, to enter costs one comparison. Where there is none, a few wait in the order in which they came; the
rest, and those who have waited too long, are told to come back. Whoever leaves hands the place to the first who waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from schema.engine.errors import Overloaded

PATIENCE_SECONDS = 0.25


class Gate:
    """A number of places, and a queue of twice as many in front of them."""

    def __init__(self, places: int, patience: float = PATIENCE_SECONDS) -> None:
        self.free = self.places = places
        self.turned_away = 0
        self._patience = patience
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Take a place, at once or as soon as one is free; else `Overloaded`. Each place taken has to be left."""
        if self.free > 0:
            self.free -= 1
            return
        if len(self._waiting) >= 2 * self.places:
            raise self._refusal("too many requests are waiting")
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting[place] = None
        late = loop.call_later(self._patience, self._give_up, place)
        try:
            await place
        except asyncio.CancelledError:
            self._waiting.pop(place, None)
            # The place may have been handed over in the same moment in which the caller went away.
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()
            raise
        finally:
            late.cancel()

    def leave(self) -> None:
        """Give the place to whoever has waited longest, or free it."""
        while self._waiting:
            place, _ = self._waiting.popitem(last=False)
            if not place.done():
                place.set_result(None)
                return
        self.free += 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if self._waiting.pop(place, self) is None and not place.done():
            place.set_exception(self._refusal("no request has ended in time to make room for this one"))

    def _refusal(self, sentence: str) -> Overloaded:
        self.turned_away += 1
        return Overloaded(sentence)
