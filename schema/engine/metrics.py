"""Counters and histograms of the engine: plain numbers, updated on the request path and read by the exporter."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any, NamedTuple

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Called in the task that waited for the database, with the kind of access (`read`, `write`, …), its queries or
# transaction function, and the seconds it took.
QueryObserver = Callable[[str, Any, float], None]
QUERY_OBSERVER: ContextVar[QueryObserver | None] = ContextVar("QUERY_OBSERVER", default=None)


class Histogram:
    """Counts by upper bound: `counts[n]` is for values up to `bounds[n]`, the last for values above every bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Connections(NamedTuple):
    """The state of a connection pool.

    `limit`, `open` and `idle` are numbers of connections now; `lost` counts connections that broke since the start,
    `repeated` the reads and transactions that ran again because their connection was lost or others were in their way.
    """

    limit: int
    open: int
    idle: int
    lost: int
    repeated: int


class QueryTimings:
    """How long one kind of access to the database took, the wait for a connection included."""

    __slots__ = ("kind", "seconds")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.seconds = Histogram(SECONDS)

    def observe(self, queries: Any, started: float) -> None:
        """Record an access that started at `started` (`perf_counter`) and has just ended."""
        seconds = perf_counter() - started
        self.seconds.observe(seconds)
        observer = QUERY_OBSERVER.get()
        if observer is not None:
            observer(self.kind, queries, seconds)


class DriverTimings(NamedTuple):
    """The timings of each kind of access; only SQLite reads inline."""

    inline: QueryTimings
    read: QueryTimings
    write: QueryTimings
