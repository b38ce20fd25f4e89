"""Counts of points spent in windows of a minute: this process's own, or those of all in a Redis."""

from __future__ import annotations

import time
from collections import OrderedDict
from math import ceil

from limits.aio.storage import Storage

WINDOW = 60
# How long Redis may take.
REDIS_SECONDS = 0.25
MOST_COUNTED = 100_000


def redis_storage(url: str | None) -> Storage | None:
    """Counts that several processes share, if there is a place for them."""
    if url is None:
        return None
    from limits.aio.storage import RedisStorage  # only here: it costs 9 MB
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return RedisStorage(
        f"async+{url}",
        implementation="redispy",
        key_prefix="tandem",
        protocol=2,  # which every Redis speaks, and all that is like one
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]
    )


async def count_points(storage: Storage, key: str, points: int) -> tuple[int, int]:
    """How much has been spent under a key, these points included, and in how many seconds its window ends."""
    count = await storage.incr(key, WINDOW, points)
    ends = await storage.get_expiry(key)
    return count, min(WINDOW, max(1, ceil(ends - time.time())))


class RateLimitCounters(Storage):
    """Counts of this process. The library's own walk through all of them at each request; here the oldest go first."""

    STORAGE_SCHEME = ["tandem"]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What can go wrong: nothing."""
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Spend some, in a window that begins now if there is none."""
        now = time.time()
        counts = self._counts
        while counts and (len(counts) > MOST_COUNTED or next(iter(counts.values()))[1] <= now):
            counts.popitem(last=False)
        count, ends = counts.get(key, (0, now + expiry))
        counts[key] = (count + amount, ends)
        return count + amount

    async def get(self, key: str) -> int:
        """What has been spent."""
        return self._counts.get(key, (0, 0.0))[0]

    async def get_expiry(self, key: str) -> float:
        """When its window ends."""
        return self._counts.get(key, (0, time.time()))[1]

    async def check(self) -> bool:
        """Whether it works."""
        return True

    async def reset(self) -> int | None:
        """Forget all."""
        self._counts.clear()
        return None

    async def clear(self, key: str) -> None:
        """Forget one."""
        self._counts.pop(key, None)
