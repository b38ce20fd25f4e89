"""A directory that records the queries that it runs."""

from __future__ import annotations

from collections.abc import Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schema.engine.driver import Query, QueryGenerator, TransactionFunction
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.engine.query.planner import Plan
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import Statement


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The queries of one read, or of one write transaction."""

    kind: Literal["read", "write"]
    queries: list[Query] = field(default_factory=list)


class RecordingDirectory(Directory):
    """A directory over a trial database."""

    def __init__(self, database: str) -> None:
        super().__init__(database, pool=1)
        self.round_trips: list[RoundTrip] = []

    def read(self, queries: Sequence[Query], owner: Actor | None = None) -> Coroutine[Any, Any, list[Rows]]:
        self.round_trips.append(RoundTrip("read", list(queries)))
        return super().read(queries, owner)

    def write(
        self, function: TransactionFunction, owner: Actor | None = None, *, independent: bool = False
    ) -> Coroutine[Any, Any, Any]:
        round_trip = RoundTrip("write")
        self.round_trips.append(round_trip)
        return super().write(lambda: _recorded(function, round_trip), owner, independent=independent)

    def plan_of(self, sql: str) -> tuple[Hashable, Statement | None]:
        """Return the cache key and the statement that the SQL comes from; Nones where it is not cached.

        A GraphQL document caches a plan a second time under a key of its own, always after the planner's key.
        """
        for key, plan in self.plans.items():
            statement = plan.statement if isinstance(plan, Plan) else plan
            if isinstance(statement, Statement) and statement.sql == sql:
                return key, statement
        return None, None


def _recorded(function: TransactionFunction, round_trip: RoundTrip) -> QueryGenerator:
    """Run a transaction function; of one that is repeated, the last run is recorded."""
    round_trip.queries.clear()
    queries = function()
    rows: Rows | None = None
    while True:
        try:
            query = next(queries) if rows is None else queries.send(rows)
        except StopIteration as end:
            return end.value
        round_trip.queries.append(query)
        rows = yield query
