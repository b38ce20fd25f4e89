"""Which waiting calls run together with the first one, and how their queries become one statement."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from schema.engine.driver import SingleQueryTransaction
from schema.engine.postgres.pool import QueuedCall
from schema.engine.sql.record_lookup import RecordQuery, SQLQuery, combine

NUL = "\0"
MAX_BATCH = 250


def dequeue_lookups(waiting: deque[QueuedCall]) -> list[QueuedCall]:
    """Dequeue the first call, and all that look up records by the same plan for the same actor."""
    key, space = waiting[0].task[0].batch_key, MAX_BATCH
    batch: list[QueuedCall] = []
    for call in waiting:
        if call.task[0].batch_key == key and (not batch or len(call.task) <= space):
            batch.append(call)
            space -= len(call.task)
    return dequeue(waiting, batch)


def dequeue_inserts(waiting: deque[QueuedCall]) -> list[QueuedCall]:
    """Dequeue the first call, and all with the same single query, or like it with several."""
    sql = _single_sql(waiting[0])
    return dequeue(waiting, [call for call in waiting if _single_sql(call) == sql][:MAX_BATCH])


def dequeue(waiting: deque[QueuedCall], batch: list[QueuedCall]) -> list[QueuedCall]:
    rest = [] if len(batch) == len(waiting) else [call for call in waiting if call not in batch]
    waiting.clear()
    waiting.extend(rest)
    return batch


def one_value(queries: Sequence[Any]) -> SQLQuery:
    """Return the statement of one value for record queries of one batch, or for a single list query."""
    return combine(queries, storable) if isinstance(queries[0], RecordQuery) else queries[0]


def unstorable(parameters: tuple[Any, ...]) -> bool:
    """Whether a parameter holds a NUL, which PostgreSQL stores in no text, so that no row can match."""
    return any(type(value) is str and NUL in value for value in parameters)


def storable(keys: list[str]) -> list[str]:
    return [key for key in keys if NUL not in key]


def _single_sql(call: QueuedCall) -> str | None:
    return call.task.sql if isinstance(call.task, SingleQueryTransaction) else None
