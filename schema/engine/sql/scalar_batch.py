"""Statements that bring one value each, as one statement that brings all of them.

What has to be of one moment is so without a transaction round it, and takes one trip where it would take one for each
statement and two for the transaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from schema.engine.sql.record_lookup import SQLQuery

KEPT = 500
_PLACE = re.compile(r"\$(\d+)")


def combine_scalars(statements: Sequence[SQLQuery]) -> SQLQuery:
    """The one statement, a column for each of them."""
    sql = _bundled(tuple([(sql, len(parameters)) for sql, parameters in statements]))
    return sql, tuple([value for _, parameters in statements for value in parameters])


@lru_cache(KEPT)
def _bundled(statements: tuple[tuple[str, int], ...]) -> str:
    """Their text, the parameters numbered through: PostgreSQL's `$1`. No literal of ours has such a thing in it."""
    columns, before = [], 0
    for sql, count in statements:
        columns.append(f"({_moved(sql, before)})" if before else f"({sql})")
        before += count
    return f"SELECT {', '.join(columns)}"


def _moved(sql: str, by: int) -> str:
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", sql)
