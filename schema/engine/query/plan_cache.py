"""The cache of compiled plans: one per directory, bounded by number and by size."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from sqlalchemy.engine.interfaces import Dialect

from schema.engine.cache import Cache
from schema.engine.query.planner import Plan
from schema.engine.sql.dialect import SQLITE
from schema.engine.sql.statement import Statement

MAX_PLANS = 1000
MAX_BYTES = 32 * 1024 * 1024
# Measured: a plan and its selection take about 23 bytes for each character of SQL.
PLAN_BYTES, BYTES_PER_CHARACTER = 2048, 24
Cached = TypeVar("Cached")


class PlanCache(Cache[Hashable, Any]):
    """Plans and statements by selection and actor profile, compiled for one database."""

    def __init__(self, dialect: Dialect = SQLITE, most: int = MAX_PLANS, most_bytes: int = MAX_BYTES) -> None:
        super().__init__(most, most_bytes)
        self._dialect = dialect

    def get_or_make(self, key: Hashable, make: Callable[[], Cached]) -> Cached:
        """The plan under the key; without one, the result of `make` is kept."""
        plan: Any = self.get(key)
        if plan is None:
            plan = make()
            if isinstance(plan, Plan | Statement):
                plan = plan.on(self._dialect)
            self.put(key, plan, plan_bytes(plan))
        return plan  # type: ignore[no-any-return]


def plan_bytes(plan: Any) -> int:
    statements = (getattr(plan, "statement", plan), getattr(plan, "batch", None))
    return PLAN_BYTES + BYTES_PER_CHARACTER * sum(len(getattr(statement, "sql", "")) for statement in statements)
