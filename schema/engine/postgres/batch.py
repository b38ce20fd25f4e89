"""Which errands for a PostgreSQL go along with the first that waits, and what their steps are together."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from schema.engine.postgres.pool import QueuedCall
from schema.engine.sql.record_lookup import RecordQuery, SQLQuery, combine

NUL = "\0"
MOST_TOGETHER = 250


def alike(waiting: deque[QueuedCall]) -> list[QueuedCall]:
    """The first, and all that look up records in the same way."""
    company, room = waiting[0].task[0].batch_key, MOST_TOGETHER
    along: list[QueuedCall] = []
    for errand in waiting:
        if errand.task[0].batch_key == company and (not along or len(errand.task) <= room):
            along.append(errand)
            room -= len(errand.task)
    return taken(waiting, along)


def taken(waiting: deque[QueuedCall], some: list[QueuedCall]) -> list[QueuedCall]:
    """Those that go along; the others wait on."""
    left = [] if len(some) == len(waiting) else [errand for errand in waiting if errand not in some]
    waiting.clear()
    waiting.extend(left)
    return some


def joint(members: Sequence[Any]) -> SQLQuery:
    """Look-ups that are alike, or a list, as a statement that brings one value."""
    return combine(members, storable) if isinstance(members[0], RecordQuery) else members[0]


def unstorable(parameters: tuple[Any, ...]) -> bool:
    """PostgreSQL stores no such text, so there is nothing to find."""
    return any(type(value) is str and NUL in value for value in parameters)


def storable(keys: list[str]) -> list[str]:
    return [key for key in keys if NUL not in key]
