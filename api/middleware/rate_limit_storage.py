"""Counters of the rate limit, in windows of a minute: of this process, or of all processes in Redis."""

from __future__ import annotations

import time
from collections import OrderedDict
from math import ceil

from limits.aio.storage import Storage

WINDOW = 60
REDIS_TIMEOUT_SECONDS = 0.25
MOST_COUNTERS = 100_000


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


async def count_points(storage: Storage, key: str, points: int) -> tuple[int, int]:
    """Add points to a counter; return its value and the seconds until its window ends."""
    count = await storage.incr(key, WINDOW, points)
    expires_at = await storage.get_expiry(key)
    return count, min(WINDOW, max(1, ceil(expires_at - time.time())))


class RateLimitCounters(Storage):
    """Counters of this process, at most 100,000; the oldest are dropped.

    `limits`' own MemoryStorage has no bound and iterates over all counters with each request:
    `docs/decisions/0011-rate-limit-counters.md`.
    """

    STORAGE_SCHEME = ["tandem"]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter, in a window that begins now if there is none."""
        now = time.time()
        counts = self._counts
        while counts and (len(counts) > MOST_COUNTERS or next(iter(counts.values()))[1] <= now):
            counts.popitem(last=False)
        count, expires_at = counts.get(key, (0, now + expiry))
        counts[key] = (count + amount, expires_at)
        return count + amount

    async def get(self, key: str) -> int:
        return self._counts.get(key, (0, 0.0))[0]

    async def get_expiry(self, key: str) -> float:
        return self._counts.get(key, (0, time.time()))[1]

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        self._counts.clear()
        return None

    async def clear(self, key: str) -> None:
        self._counts.pop(key, None)
