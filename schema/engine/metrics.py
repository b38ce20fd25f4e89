"""Figures of what goes on: plain numbers that cost a request next to nothing. What shows them reads them when asked.

`TOLD` is for who wants to know of single trips to the database: it is called in the task that made the trip.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any, NamedTuple

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Given what kind of trip it was, what went along, and how many seconds it took.
QueryObserver = Callable[[str, Any, float], None]
QUERY_OBSERVER: ContextVar[QueryObserver | None] = ContextVar("TOLD", default=None)


class Histogram:
    """How often each size occurred: `counts[n]` is for what is at most `bounds[n]`, the last for what is beyond all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0

    def note(self, value: float) -> None:
        """It occurred once more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Connections(NamedTuple):
    """A pool's connections: how many there may be, how many there are, and how many of these do nothing; how many were
    lost until now, and how often something was done again: on another one, or where the database said that this helps.
    """

    limit: int
    open: int
    idle: int
    lost: int
    repeated: int


class QueryTimings:
    """How long a directory's trips of one kind took."""

    __slots__ = ("kind", "seconds")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.seconds = Histogram(SECONDS)

    def note(self, load: Any, began: float) -> None:
        """One that began at `began`, by `perf_counter`, has come back."""
        took = perf_counter() - began
        self.seconds.note(took)
        told = QUERY_OBSERVER.get()
        if told is not None:
            told(self.kind, load, took)
