"""Counters of the rate limit, in windows of a minute: of this process, or of all processes in Redis."""

from __future__ import annotations

import time
from collections import OrderedDict
from math import ceil

from limits.aio.storage import Storage

WINDOW = 60
REDIS_TIMEOUT_SECONDS = 0.25
MAX_COUNTERS = 100_000


def redis_storage(url: str | None) -> Storage | None:
    """Counters in the Redis at `url`."""
    if url is None:
        return None
    from limits.aio.storage import RedisStorage  # imported only if used: it takes 9 MB
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return RedisStorage(
        f"async+{url}",
        implementation="redispy",
        key_prefix="tandem",
        protocol=2,  # which all versions of Redis and its forks support
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]
    )


async def count_in(storage: Storage, key: str, points: int) -> tuple[int, int]:
    """Add points to a shared counter; return its value and the seconds until its window ends."""
    count = await storage.incr(key, WINDOW, points)
    return count, _seconds_until(await storage.get_expiry(key))


class RateLimitCounters:
    """Counters of this process, at most 100,000; the oldest are dropped.

    `limits`' own MemoryStorage has no bound and iterates over all counters with each request:
    `docs/decisions/0011-rate-limit-counters.md`.
    """

    def __init__(self) -> None:
        # In the order of their expiry: the count, and when its window ends.
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counters)

    def count(self, key: str, points: int) -> tuple[int, int]:
        """Add points to a counter; return its value and the seconds until its window ends."""
        now, counters = time.time(), self._counters
        while counters and (len(counters) > MAX_COUNTERS or next(iter(counters.values()))[1] <= now):
            counters.popitem(last=False)
        count, ends = counters.get(key, (0, now + WINDOW))
        counters[key] = (count + points, ends)
        return count + points, _seconds_until(ends)


def _seconds_until(ends: float) -> int:
    return min(WINDOW, max(1, ceil(ends - time.time())))
