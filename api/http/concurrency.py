"""How many requests and WebSocket operations run at a time; docs/limits.md describes the limit."""

from __future__ import annotations

from schema.engine.concurrency import DEFAULT_SHARE, ConcurrencyLimit
from schema.engine.errors import Overloaded

# How long a request waits for a slot.
WAIT_SECONDS = 0.25


def request_limit(capacity: int, percent: int = DEFAULT_SHARE) -> ConcurrencyLimit:
    """The concurrency limit for requests: so many may run, and twice as many wait.

    One client may use `percent` of the slots while they are scarce.
    """
    timeout_message = f"no slot became free within {WAIT_SECONDS * 1000:g} ms"
    return ConcurrencyLimit(
        capacity,
        2 * capacity,
        percent,
        full_message="too many requests are waiting",
        timeout_error=lambda: Overloaded(timeout_message),
    )
