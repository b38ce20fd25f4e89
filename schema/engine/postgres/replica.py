"""A PostgreSQL with a replica: reads go to the replica, but who has just written reads where it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from time import monotonic
from typing import Any

from schema.engine.concurrency import QUARTER
from schema.engine.driver import Query, StatementObserver, TransactionFunction
from schema.engine.errors import DatabaseUnavailable
from schema.engine.metrics import Connections, Histogram, QueryTimings
from schema.engine.model.policy import SERVICE
from schema.engine.postgres.driver import PostgresDriver
from schema.engine.postgres.reads import Reading
from schema.engine.sql.record_lookup import Rows

REMEMBERED = 10.0  # seconds that the replica may be behind without anybody missing what they have written
MOST_REMEMBERED = 10_000
LOOK = 1.0  # seconds that the replica may take to say how far it is behind


class ReplicatedDriver:
    """Two databases, of which one is written to."""

    def __init__(
        self,
        url: str,
        replica: str,
        deadline: float,
        committed: Callable[[Any], None],
        trips: tuple[QueryTimings, QueryTimings, QueryTimings],
        size: int = 10,
        watch: StatementObserver | None = None,
        share: int = QUARTER,
    ) -> None:
        self._primary = PostgresDriver(url, deadline, committed, trips, size, watch, share)
        self._replica = Reading(replica, deadline, trips, size, watch, share)
        self._until: dict[Hashable, float] = {}

    async def open(self) -> None:
        """Connect to both."""
        await self._primary.open()
        await self._replica.open()

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        await self._primary.close()
        await self._replica.close()

    async def check(self) -> None:
        """`DatabaseUnavailable` unless it can be read and written; the replica may be away."""
        await self._primary.check()

    async def read(self, steps: Sequence[Query], reader: Hashable = None) -> list[Rows]:
        """The rows of each step, all of one moment; on the primary if the replica cannot be reached."""
        if self._until.get(reader, 0.0) <= monotonic():
            try:
                return await self._replica.read(steps, reader)
            except DatabaseUnavailable:
                pass
        return await self._primary.read(steps, reader)

    async def read_anew(self, steps: Sequence[Query]) -> list[Rows]:
        """The rows of each step, from the primary."""
        return await self._primary.read(steps)

    def generation(self) -> Hashable:
        """Changes when the primary may be another one."""
        return self._primary.generation()

    def waiting(self) -> dict[str, int]:
        """How many errands wait, by what they wait for."""
        return {**self._primary.waiting(), **{f"replica {name}": n for name, n in self._replica.waiting().items()}}

    def connections(self) -> dict[str, Connections]:
        """Those of each pool."""
        return {**self._primary.connections(), "replica": self._replica.connections()["primary"]}

    async def lag(self) -> float | None:
        """How many seconds the replica is behind; None if it is none, `DatabaseUnavailable` if it does not say."""
        try:
            return await asyncio.wait_for(self._replica.behind(), LOOK)
        except TimeoutError as error:
            raise DatabaseUnavailable("the replica does not answer") from error

    @property
    def groups(self) -> Histogram:
        """How many writes were committed together."""
        return self._primary.groups

    async def write(self, job: TransactionFunction, writer: Hashable = None, *, apart: bool = False) -> Any:
        """The job's result, once it is committed."""
        try:
            return await self._primary.write(job, writer, apart=apart)
        finally:
            now = monotonic()
            if len(self._until) > MOST_REMEMBERED:
                self._until = {who: until for who, until in self._until.items() if until > now}
            self._until[writer] = self._until[SERVICE] = now + REMEMBERED
