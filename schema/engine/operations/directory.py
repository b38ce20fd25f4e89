"""`Directory`: the database with its change stream, plan cache and statistics; one for each process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from schema.engine.changes import ChangeStream, TransactionResult
from schema.engine.concurrency import DEFAULT_SHARE, ConcurrencyLimit
from schema.engine.database_url import is_postgres
from schema.engine.driver import Driver, Query, StatementObserver, TransactionFunction
from schema.engine.errors import DatabaseUnavailable, Overloaded
from schema.engine.metrics import DriverTimings, QueryTimings
from schema.engine.model.policy import Actor
from schema.engine.operations.cursor_key import CursorKey
from schema.engine.operations.idempotency import IdempotencyKey
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.plan_cache import PlanCache
from schema.engine.sql.dialect import SQLITE, postgres
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.driver import SQLiteDriver

MAX_COMPILING, COMPILE_WAIT_SECONDS = 1000, 5.0
_BUSY = "too many new queries are waiting to be compiled"


class Directory:
    """An open database. It is an asynchronous context manager.

    Args:
        url: the path of an SQLite file, or a PostgreSQL URL.
        deadline: seconds that a query or transaction may take.
        on_statement: called with the text of each statement.
        pool: connections to PostgreSQL.
        replica: URL of a PostgreSQL replica to read from.
        share: percent of the readers or connections that one actor may use while others wait.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline: float = 10.0,
        on_statement: StatementObserver | None = None,
        pool: int = 10,
        replica: str | None = None,
        share: int = DEFAULT_SHARE,
    ) -> None:
        self.changes = ChangeStream()
        self.pending_keys: set[tuple[str, str]] = set()
        self.timings = DriverTimings(QueryTimings("inline"), QueryTimings("read"), QueryTimings("write"))
        self.is_postgres = is_postgres(url)
        self._compile_turns = ConcurrencyLimit(
            1, MAX_COMPILING, full_message=_BUSY, timeout_error=lambda: Overloaded(_BUSY)
        )
        dialect = postgres() if self.is_postgres else SQLITE
        self.plans = PlanCache(dialect)
        self.driver: Driver
        if self.is_postgres:
            self.driver = _postgres_driver(
                url, replica, deadline, self._publish, self.timings, pool, on_statement, share
            )
        else:
            self.driver = SQLiteDriver(url, deadline, self._publish, self.timings, on_statement, share)
        self.cursor_key = CursorKey(self.driver, dialect)

    async def open(self) -> Directory:
        """Connect. Raises `DatabaseUnavailable` if there is no such database."""
        await self.driver.open()
        with suppress(DatabaseUnavailable):  # If it is down, or not migrated yet, each list tries again.
            await self.cursor_key.signer()
        return self

    async def close(self) -> None:
        """Finish what has begun, and disconnect."""
        await self.driver.close()

    async def __aenter__(self) -> Directory:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def unit_of_work(self, actor: Actor, idempotency_key: IdempotencyKey | None = None) -> UnitOfWork:
        """Begin one actor's transaction; with an idempotency key, it is carried out at most once."""
        return UnitOfWork(self, actor, idempotency_key)

    def read(self, queries: Sequence[Query], owner: Actor | None = None) -> Coroutine[Any, Any, list[Rows]]:
        """Return the rows of each query, all from one snapshot; the `owner` sees at least their own writes."""
        return self.driver.read(queries, owner)

    def write(
        self, function: TransactionFunction, owner: Actor | None = None, *, independent: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """Return a transaction's committed result; `independent`: it touches no row that another one could."""
        return self.driver.write(function, owner, independent=independent)

    @asynccontextmanager
    async def compile_turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Wait for a turn to occupy the event loop for milliseconds, to compile a query that is new.

        Turns are taken one at a time, by one owner after another. In between, the event loop runs everything else
        that is ready.
        """
        async with self._compile_turns.slot(owner, COMPILE_WAIT_SECONDS):
            yield
            await asyncio.sleep(0)

    def _publish(self, result: TransactionResult) -> None:
        self.changes.publish(result.changes)


def _postgres_driver(url: str, replica: str | None, *options: Any) -> Driver:
    # Imported here: with SQLite, PostgreSQL's driver need not be loaded.
    from schema.engine.postgres.driver import PostgresDriver
    from schema.engine.postgres.replica import ReplicatedDriver

    primary = PostgresDriver(url, *options)
    return ReplicatedDriver(primary, PostgresDriver(replica, *options)) if replica else primary
