"""How long statements take, so that short ones can share a round trip and long ones delay no other call.

A statement runs alone until it has run once and is known to be short.
"""

from __future__ import annotations

from time import monotonic

from schema.engine.cache import Cache

TARGET_SECONDS = 0.01  # for a batch
SHORT = TARGET_SECONDS / 2
MAX_EXECUTIONS = 16
SEPARATE_SECONDS = 10.0  # how long a statement runs alone after a batch of it took too long
MAX_REMEMBERED = 1000
# Weights of a new measurement against the average. Shorter ones weigh more: other processes on a busy machine make a
# short statement look long, and nothing makes a long one look short.
SHORTER_WEIGHT, LONGER_WEIGHT = 0.5, 0.05


class StatementTiming:
    """A moving average of seconds per statement, by SQL."""

    def __init__(self) -> None:
        self._seconds: Cache[str, float] = Cache(MAX_REMEMBERED, MAX_REMEMBERED * 64)
        self._separate_until: dict[str, float] = {}

    def batch_size(self, sql: str) -> int:
        """Return how many executions fit into a short batch: 1 if the statement is unknown, or not short."""
        seconds = self._seconds.get(sql)
        if self._separate_until and self._separate_until.get(sql, 0.0) > monotonic():
            return 1
        if seconds is None or seconds > SHORT:
            return 1
        return max(2, min(MAX_EXECUTIONS, int(TARGET_SECONDS / max(seconds, 1e-6))))

    def observe(self, sql: str, executions: int, seconds: float) -> None:
        """Record how many seconds so many executions took together."""
        each, average = seconds / executions, self._seconds.get(sql)
        if average is not None:
            each = average + (SHORTER_WEIGHT if each < average else LONGER_WEIGHT) * (each - average)
        self._seconds.put(sql, each, 64)

    def run_separately(self, sql: str) -> None:
        """Let the statement run alone for a while, because a batch of it took too long."""
        if len(self._separate_until) >= MAX_REMEMBERED:
            self._separate_until.clear()
        self._separate_until[sql] = monotonic() + SEPARATE_SECONDS
