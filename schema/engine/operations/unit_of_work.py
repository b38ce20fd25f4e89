"""`UnitOfWork`: one actor's transaction. Every operation takes one as its first argument."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from schema.engine.changes import TransactionResult
from schema.engine.driver import Query, TransactionFunction, UnboundedTransaction
from schema.engine.model.policy import Actor, ActorProfile
from schema.engine.model.resource import Resource
from schema.engine.operations.idempotency import IdempotencyKey, in_progress, key_owner, run_once
from schema.engine.query.planner import Plan
from schema.engine.query.selection import ListSelection, Selection
from schema.engine.sql.record_lookup import RecordQuery, Rows
from schema.engine.sql.statement import Statement, Values

if TYPE_CHECKING:
    from schema.engine.operations.directory import Directory

T = TypeVar("T")
S = TypeVar("S", bound=Selection | ListSelection)
Planner = Callable[[Resource, S, ActorProfile], Plan]


class UnitOfWork(NamedTuple):
    """One actor's transaction; with an idempotency key, it is carried out at most once."""

    directory: Directory
    actor: Actor
    idempotency_key: IdempotencyKey | None = None

    def plan(self, planner: Planner[S], resource: Resource, selection: S) -> Plan:
        """Return the plan that `planner` makes for this actor's profile, compiled now if it is not cached."""
        profile = self.actor.profile
        make = lambda: planner(resource, selection, profile)  # noqa: E731
        return self.directory.plans.get_or_make((planner, resource, selection, profile), make)

    def cached_plan(self, planner: Planner[S], resource: Resource, selection: S) -> Plan | None:
        """Return the plan if it is cached; if not, `await compile_plan(…)` gives it."""
        return self.directory.plans.probe((planner, resource, selection, self.actor.profile))

    async def compile_plan(self, planner: Planner[S], resource: Resource, selection: S) -> Plan:
        """Compile a plan when it is this actor's turn."""
        return await self.compile(lambda: self.plan(planner, resource, selection))

    async def compile(self, make: Callable[[], T]) -> T:
        """Call `make`, which takes milliseconds, when it is this actor's turn to compile."""
        async with self.directory.compile_turn(self.actor):
            return make()

    def record_query(self, plan: Plan, id: str, values: Values) -> RecordQuery:
        assert plan.batch is not None
        bound = {**values, "key": id, "actor": self.actor.id}
        return RecordQuery(plan.statement.sql, plan.statement.bind(bound), plan.batch, bound)

    def read(self, queries: Sequence[Query]) -> Coroutine[Any, Any, list[Rows]]:
        """Return the rows of each query, all from one snapshot."""
        return self.directory.read(queries, self.actor)

    async def write(self, function: TransactionFunction, *, independent: bool = False) -> Any:
        """Run a transaction function and return its result once it is committed.

        `independent`: it touches no row that another transaction could.
        """
        result: TransactionResult
        if self.idempotency_key is None:
            result = await self.directory.write(function, self.actor, independent=independent)
        else:
            result = await self._write_once(function, self.idempotency_key)
        return result.result

    async def _write_once(self, function: TransactionFunction, key: IdempotencyKey) -> TransactionResult:
        entry, pending = (key_owner(self.actor), key.key), self.directory.pending_keys
        if entry in pending:
            raise in_progress()
        pending.add(entry)
        try:
            plans = self.directory.plans
            compiled = lambda statement: plans.get_or_make(("idempotency", statement), lambda: Statement(statement))  # noqa: E731
            once = run_once(function, key, self.actor, compiled, several_writers=self.directory.is_postgres)
            unbounded = isinstance(function, UnboundedTransaction)
            result: TransactionResult = await self.directory.write(
                UnboundedTransaction(once) if unbounded else once, self.actor
            )
            return result
        finally:
            pending.discard(entry)
