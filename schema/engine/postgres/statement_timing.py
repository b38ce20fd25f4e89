"""How long statements take, so that those which are short go together and a long one keeps nobody waiting.

A statement is unknown until it has been run once, and goes alone until it is known to be short.
"""

from __future__ import annotations

from time import monotonic

from schema.engine.cache import Cache

LONGEST = 0.01  # seconds that a trip of several should last
SHORT = LONGEST / 2
MOST = 16
APART = 10.0  # seconds for which a statement goes alone after a trip of several took too long
REMEMBERED = 1000
# How much the last time counts against those before. Shorter ones count more: a machine that has other work to do makes
# what is short look long, and nothing makes what is long look short.
SHORTER, LONGER = 0.5, 0.05


class StatementTiming:
    """What statements took by their text."""

    def __init__(self) -> None:
        self._seconds: Cache[str, float] = Cache(REMEMBERED, REMEMBERED * 64)
        self._apart: dict[str, float] = {}

    def together(self, sql: str) -> int:
        """How many of a statement make a short trip: 1 where it is not known, or is not short."""
        seconds = self._seconds.get(sql)
        if self._apart and self._apart.get(sql, 0.0) > monotonic():
            return 1
        return 1 if seconds is None or seconds > SHORT else max(2, min(MOST, int(LONGEST / max(seconds, 1e-6))))

    def note(self, sql: str, times: int, seconds: float) -> None:
        """So many of a statement have taken so long."""
        each, before = seconds / times, self._seconds.get(sql)
        if before is not None:
            each = before + (SHORTER if each < before else LONGER) * (each - before)
        self._seconds.put(sql, each, 64)

    def overdue(self, sql: str) -> None:
        """A trip of several took too long: for a while the statement goes alone, however short it mostly is."""
        if len(self._apart) >= REMEMBERED:
            self._apart.clear()
        self._apart[sql] = monotonic() + APART
