"""A directory that does what it is asked, and takes note of each trip to the database."""

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
    """A trip, and the steps that were taken on it; a write's are all in one transaction."""

    kind: Literal["read", "write"]
    steps: list[Query] = field(default_factory=list)


class Recorder(Directory):
    """A directory over a database that is there to be tried on."""

    def __init__(self, place: str) -> None:
        super().__init__(place, pool=1)
        self.trips: list[RoundTrip] = []

    def read(self, steps: Sequence[Query], reader: Actor | None = None) -> Coroutine[Any, Any, list[Rows]]:
        """As ever."""
        self.trips.append(RoundTrip("read", list(steps)))
        return super().read(steps, reader)

    def write(
        self, job: TransactionFunction, writer: Actor | None = None, *, independent: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """As ever."""
        trip = RoundTrip("write")
        self.trips.append(trip)
        return super().write(lambda: _noted(job, trip), writer, independent=independent)

    def planned(self, sql: str) -> tuple[Hashable, Statement | None]:
        """What a statement was planned for, and the statement; it may have been made for this once."""
        for key, plan in self.plans.items():
            statement = plan.statement if isinstance(plan, Plan) else plan
            if isinstance(statement, Statement) and statement.sql == sql and not _is_second(key):
                return key, statement
        return None, None


def _is_second(key: Hashable) -> bool:
    """Whether the key is a document's own, under which GraphQL keeps a plan beside the selection's."""
    return isinstance(key, tuple) and hasattr(key[0], "prepare")


def _noted(job: TransactionFunction, trip: RoundTrip) -> QueryGenerator:
    """The steps of a job that may be run again; the last run counts."""
    trip.steps.clear()
    running = job()
    rows: Rows | None = None
    while True:
        try:
            step = next(running) if rows is None else running.send(rows)
        except StopIteration as end:
            return end.value
        trip.steps.append(step)
        rows = yield step
