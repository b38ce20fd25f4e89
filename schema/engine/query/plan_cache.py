"""The plans that a directory keeps, by what they are for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from sqlalchemy.engine.interfaces import Dialect

from schema.engine.cache import Cache
from schema.engine.query.planner import Plan
from schema.engine.sql.dialect import SQLITE
from schema.engine.sql.statement import Statement

PLANS_KEPT = 1000
PLANS_BYTES = 32 * 1024 * 1024
# Measured: a plan with the selection it is for takes some 23 bytes for each character of its SQL.
PLAN_BYTES, BYTES_A_CHARACTER = 2048, 24
Made = TypeVar("Made")


class PlanCache(Cache[Hashable, Any]):
    """Plans and statements by their keys, all for one kind of database."""

    def __init__(self, dialect: Dialect = SQLITE) -> None:
        super().__init__(PLANS_KEPT, PLANS_BYTES)
        self._dialect = dialect

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The plan kept under the key, made if there is none."""
        found: Any = self.find(key)
        if found is None:
            made: Any = make()
            found = made.on(self._dialect) if isinstance(made, Plan | Statement) else made
            self.keep(key, found, size_of(found))
        return found  # type: ignore[no-any-return]


def size_of(plan: Any) -> int:
    """How many bytes a plan or a statement takes, by estimate."""
    statements = (getattr(plan, "statement", plan), getattr(plan, "batch", None))
    return PLAN_BYTES + BYTES_A_CHARACTER * sum(len(getattr(it, "sql", "")) for it in statements)
