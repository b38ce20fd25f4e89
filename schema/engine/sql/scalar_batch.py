"""Statements that return one value each, combined into one: `SELECT (first), (second)`.

One statement reads one snapshot without a transaction around it, and takes one round trip to PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from schema.engine.sql.record_lookup import SQLQuery

CACHED_STATEMENTS = 500
_PARAMETER = re.compile(r"\$(\d+)")


def combine_scalars(queries: Sequence[SQLQuery]) -> SQLQuery:
    """One query with a column for each of `queries`."""
    sql = _combined_sql(tuple([(sql, len(parameters)) for sql, parameters in queries]))
    return sql, tuple([value for _, parameters in queries for value in parameters])


@lru_cache(CACHED_STATEMENTS)
def _combined_sql(statements: tuple[tuple[str, int], ...]) -> str:
    """Number the parameters (`$1`) through. No literal of a plan contains a `$` before a digit."""
    columns, offset = [], 0
    for sql, count in statements:
        columns.append(f"({_shifted(sql, offset)})" if offset else f"({sql})")
        offset += count
    return f"SELECT {', '.join(columns)}"


def _shifted(sql: str, offset: int) -> str:
    return _PARAMETER.sub(lambda parameter: f"${int(parameter[1]) + offset}", sql)
