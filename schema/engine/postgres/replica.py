"""PostgreSQL with a read replica: reads go to the replica, except those of an actor who has just written."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from time import monotonic
from typing import Any

from schema.engine.driver import Query, TransactionFunction
from schema.engine.errors import DatabaseUnavailable
from schema.engine.metrics import Connections, Histogram
from schema.engine.model.policy import SERVICE
from schema.engine.postgres.driver import PostgresDriver
from schema.engine.sql.record_lookup import Rows

# How long an actor who has written reads from the primary. A replica may be so far behind before actors miss writes.
READ_OWN_WRITES_SECONDS = 10.0
MAX_WRITERS = 10_000
LAG_TIMEOUT = 1.0  # seconds


class ReplicatedDriver:
    """A `Driver` over a primary and its replica."""

    def __init__(self, primary: PostgresDriver, replica: PostgresDriver) -> None:
        self._primary = primary
        self._replica = replica
        self._primary_until: dict[Hashable, float] = {}

    async def open(self) -> None:
        await self._primary.open()
        await self._replica.open()

    async def close(self) -> None:
        await self._primary.close()
        await self._replica.close()

    async def check(self) -> None:
        """Check the primary; without the replica, it serves all reads."""
        await self._primary.check()

    async def read(self, queries: Sequence[Query], owner: Hashable = None) -> list[Rows]:
        """Read from the replica, or from the primary if the actor has just written or the replica is not available."""
        if self._primary_until.get(owner, 0.0) <= monotonic():
            try:
                return await self._replica.read(queries, owner)
            except DatabaseUnavailable:
                pass
        return await self._primary.read(queries, owner)

    async def read_fresh(self, queries: Sequence[Query]) -> list[Rows]:
        return await self._primary.read(queries)

    async def write(
        self, transaction: TransactionFunction, owner: Hashable = None, *, independent: bool = False
    ) -> Any:
        try:
            return await self._primary.write(transaction, owner, independent=independent)
        finally:
            now = monotonic()
            if len(self._primary_until) > MAX_WRITERS:
                self._primary_until = {writer: until for writer, until in self._primary_until.items() if until > now}
            self._primary_until[owner] = self._primary_until[SERVICE] = now + READ_OWN_WRITES_SECONDS

    def generation(self) -> Hashable:
        return self._primary.generation()

    def waiting(self) -> dict[str, int]:
        replica = {f"replica {queue}": number for queue, number in self._replica.waiting_reads().items()}
        return {**self._primary.waiting(), **replica}

    def connections(self) -> dict[str, Connections]:
        return {**self._primary.connections(), "replica": self._replica.connections()["primary"]}

    async def lag(self) -> float | None:
        try:
            return await asyncio.wait_for(self._replica.standby_lag(), LAG_TIMEOUT)
        except TimeoutError as error:
            raise DatabaseUnavailable("the replica does not answer") from error

    @property
    def commit_sizes(self) -> Histogram:
        return self._primary.commit_sizes
