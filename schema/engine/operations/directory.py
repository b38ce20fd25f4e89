"""The only open connections: `Directory`, one for each process, and `Work`, one for each verb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from schema.engine.changes import ChangeFeed
from schema.engine.changes import TransactionResult as TransactionResult
from schema.engine.concurrency import DEFAULT_SHARE, ConcurrencyLimit
from schema.engine.database_url import is_postgres
from schema.engine.driver import Driver, Query, StatementObserver, TransactionFunction, UnboundedWrite
from schema.engine.errors import DatabaseUnavailable, Overloaded
from schema.engine.metrics import Connections, Histogram, QueryTimings
from schema.engine.model.policy import Actor
from schema.engine.model.resource import Resource
from schema.engine.operations.cursor_key import CursorKey
from schema.engine.operations.idempotency import IdempotencyKey, in_progress, key_owner, run_once
from schema.engine.query.plan_cache import PlanCache
from schema.engine.query.planner import Plan, plan_list, plan_record
from schema.engine.query.selection import ListSelection, Selection
from schema.engine.sql.dialect import SQLITE, postgres
from schema.engine.sql.record_lookup import Rows, record_query
from schema.engine.sql.statement import Statement, Values
from schema.engine.sqlite.driver import SQLiteDriver

# How many queries may wait to be compiled, and for how long.
MOST_COMPILED, TURN_SECONDS = 1000, 5.0
_BUSY = "too many new queries wait to be compiled"
T = TypeVar("T")


class Directory:
    """The database, its lanes, and the plans made for it. Open it before use, and close it.

    `place` is an SQLite file's path, or a PostgreSQL's URL. What is said of `pool` and `replica` is for the latter. One
    actor may hold a `share` (in percent) of the readers or connections while others want them.
    """

    def __init__(
        self,
        place: str,
        *,
        deadline: float = 10.0,
        on_statement: StatementObserver | None = None,
        pool: int = 10,
        replica: str | None = None,
        share: int = DEFAULT_SHARE,
    ) -> None:
        self.feed = ChangeFeed()
        self.idempotency_keys: set[tuple[str, str]] = set()
        self.inline_reads, self.reads, self.writes = trips = (
            QueryTimings("inline"),
            QueryTimings("read"),
            QueryTimings("write"),
        )
        self.is_postgres = is_postgres(place)
        self._turns = ConcurrencyLimit(1, MOST_COMPILED, full_message=_BUSY, timeout_error=lambda: Overloaded(_BUSY))
        dialect = postgres() if self.is_postgres else SQLITE
        self.plans = PlanCache(dialect)
        self.database: Driver
        if self.is_postgres:
            self.database = _server(place, replica, deadline, self._tell, trips, pool, on_statement, share)
        else:
            self.database = SQLiteDriver(place, deadline, self._tell, trips, on_statement, share)
        self.cursor_key = CursorKey(self.database, dialect)

    async def open(self) -> Directory:
        """Connect; `DatabaseUnavailable` where there is no such database."""
        await self.database.open()
        with suppress(DatabaseUnavailable):  # One that is away, or lacks a migration, is asked again with each list.
            await self.cursor_key.signer()
        return self

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        await self.database.close()

    async def __aenter__(self) -> Directory:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def unit_of_work(self, actor: Actor, repeat: IdempotencyKey | None = None) -> UnitOfWork:
        """What one actor does in one transaction; under a key, if it is to be done once."""
        return UnitOfWork(self, actor, repeat)

    def _tell(self, written: TransactionResult) -> None:
        self.feed.publish(written.changes)

    async def check(self) -> None:
        """`DatabaseUnavailable` unless it can be read and written, as far as that can be told in passing."""
        await self.database.check()

    def read(self, steps: Sequence[Query], reader: Actor | None = None) -> Coroutine[Any, Any, list[Rows]]:
        """The rows of each step, all of one moment; `reader` sees at least what they have written themselves."""
        return self.database.read(steps, reader)

    def write(
        self, job: TransactionFunction, writer: Actor | None = None, *, independent: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """The job's result, once it is committed; `independent`: it touches nothing that another job could."""
        return self.database.write(job, writer, independent=independent)

    @asynccontextmanager
    async def compile_turn(self, owner: Hashable) -> AsyncIterator[None]:
        """A turn to do what holds the event loop's thread for milliseconds: to compile a query that is new.

        There is one at a time, for one owner after another; then whatever else is ready runs before the next.
        """
        async with self._turns.slot(owner, TURN_SECONDS):
            yield
            await asyncio.sleep(0)

    @property
    def waiting(self) -> dict[str, int]:
        """How many errands wait, by what they wait for."""
        return self.database.waiting()

    @property
    def connections(self) -> dict[str, Connections]:
        """What there is to say of each pool of connections, if there are any."""
        return self.database.connections()

    async def lag(self) -> float | None:
        """How many seconds a replica is behind, if there is one; `DatabaseUnavailable` if that is not to be known."""
        return await self.database.lag()

    @property
    def commit_sizes(self) -> Histogram:
        """How many writes were committed together."""
        return self.database.commit_sizes


def _server(place: str, replica: str | None, *told: Any) -> Driver:
    # Only here: where the directory is a file, PostgreSQL's driver need not be loaded.
    from schema.engine.postgres.driver import PostgresDriver
    from schema.engine.postgres.replica import ReplicatedDriver

    return ReplicatedDriver(place, replica, *told) if replica else PostgresDriver(place, *told)


class UnitOfWork(NamedTuple):
    """One actor's transaction: the verbs in `operations.py` are given one each."""

    directory: Directory
    actor: Actor
    repeat: IdempotencyKey | None = None

    def list_plan(self, resource: Resource, branch: ListSelection) -> Plan:
        """The plan for a page of a model's records."""
        kind = self.actor.profile
        return self.directory.plans.get_or_make((resource, branch, kind), lambda: plan_list(resource, branch, kind))

    def record_plan(self, resource: Resource, asked: Selection | ListSelection) -> Plan:
        """The plan for one record, or for a list below it."""
        kind = self.actor.profile
        return self.directory.plans.get_or_make(
            ("one", resource, asked, kind), lambda: plan_record(resource, asked, kind)
        )

    def known_list_plan(self, resource: Resource, branch: ListSelection) -> Plan | None:
        """The same, if it has been compiled before."""
        return self.directory.plans.probe((resource, branch, self.actor.profile))

    def known_record_plan(self, resource: Resource, asked: Selection | ListSelection) -> Plan | None:
        """The same, if it has been compiled before."""
        return self.directory.plans.probe(("one", resource, asked, self.actor.profile))

    async def compile(self, make: Callable[[], T]) -> T:
        """What takes a while to compile, when it is this actor's turn."""
        async with self.directory.compile_turn(self.actor):
            return make()

    def record_query(self, plan: Plan, id: str, values: Values) -> Query:
        """The step of a record's plan, for the record with this id."""
        assert plan.batch is not None
        return record_query(plan.statement, plan.batch, {**values, "key": id, "actor": self.actor.id})

    def read(self, steps: Sequence[Query]) -> Coroutine[Any, Any, list[Rows]]:
        """The rows of each step, all of one moment."""
        return self.directory.read(steps, self.actor)

    async def write(self, job: TransactionFunction, *, independent: bool = False) -> Any:
        """The result of a job that returns `Written`, committed; `independent`: it touches nothing of others'."""
        if self.repeat is None:
            written: TransactionResult = await self.directory.write(job, self.actor, independent=independent)
        else:
            written = await self._once(job, self.repeat)
        return written.result

    async def _once(self, job: TransactionFunction, repeat: IdempotencyKey) -> Any:
        """The same, if it was not done before; `UnderWay` if it is being done."""
        mark, marks = (key_owner(self.actor), repeat.key), self.directory.idempotency_keys
        if mark in marks:
            raise in_progress()
        marks.add(mark)
        try:
            plans = self.directory.plans
            compile = lambda it: plans.get_or_make(("repeat", it), lambda: Statement(it))  # noqa: E731
            once = run_once(job, repeat, self.actor, compile, shared=self.directory.is_postgres)
            return await self.directory.write(
                UnboundedWrite(once) if isinstance(job, UnboundedWrite) else once, self.actor
            )
        finally:
            marks.discard(mark)
