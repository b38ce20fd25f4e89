"""The PostgreSQL driver, over the connections of `pool.py`.

Record queries of one plan that arrive at the same moment run as one statement, list queries with the same SQL in one
round trip, as long as they are known to be short. Any other read runs alone: as one statement if possible, otherwise in
a snapshot. Independent writes that arrive at the same moment share a transaction; any other write has its own, and is
retried when PostgreSQL reports a serialization failure, a deadlock or a lock that is not available.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import inf
from time import monotonic, perf_counter
from typing import Any

from schema.engine.concurrency import DEFAULT_SHARE
from schema.engine.database_url import postgres_address
from schema.engine.driver import (
    ListQuery,
    Query,
    QueryGenerator,
    RowQuery,
    SingleQueryTransaction,
    StatementObserver,
    TransactionFunction,
    batches,
)
from schema.engine.errors import DISK_FAILURE, DatabaseMisconfigured, DatabaseUnavailable, DirectoryError
from schema.engine.metrics import SIZES, Connections, DriverTimings, Histogram
from schema.engine.postgres.batch import dequeue, dequeue_inserts, dequeue_lookups, one_value, storable, unstorable
from schema.engine.postgres.pool import ConnectionLost, Outcome, Pool, QueuedCall
from schema.engine.postgres.session import (
    DISK_ERRORS,
    LAG_SQL,
    READ_ONLY_MESSAGE,
    READ_ONLY_TRANSACTION,
    RETRYABLE,
    Connection,
    code_of,
    connect,
    is_connection_loss,
    is_rolled_back,
    translate_error,
)
from schema.engine.postgres.statement_timing import StatementTiming
from schema.engine.sql.record_lookup import RecordQuery, Rows, combine, split_rows
from schema.engine.sql.scalar_batch import combine_scalars

LOOKUP_BATCHES, LIST_BATCHES, WRITE_BATCHES = 2, 3, 2  # batches that run at a time
BATCH_TIMEOUT = 0.1  # seconds until a batch of reads is cancelled, and its queries run separately
MAX_ATTEMPTS = 4
FAILURE_TTL = 1.0  # seconds for which a write that found the disk full makes `check` fail
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Neither a standby nor read-only by a setting. A session takes its settings when it begins, so a new one may differ.
WRITABLE = "SELECT NOT (pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool)"
OUTCOME_UNKNOWN = (
    "the connection to the database was lost during a commit, so it is unknown whether the change was applied:"
    " read the record before another attempt"
)


class RunSeparately(Exception):
    """The batch had no result: each of its queries is to run alone."""


class OutcomeUnknown(DatabaseUnavailable):
    """The connection was lost during a commit, so the change may or may not have been applied."""


class PostgresDriver:
    """A `Driver` over one PostgreSQL server."""

    def __init__(
        self,
        url: str,
        deadline: float,
        on_commit: Callable[[Any], None],
        timings: DriverTimings,
        size: int = 10,
        on_statement: StatementObserver | None = None,
        share: int = DEFAULT_SHARE,
    ) -> None:
        self._read_timings, self._write_timings = timings.read, timings.write
        address = postgres_address(url)
        self._pooled = address.pooled
        self._on_commit = on_commit
        self._on_statement = on_statement
        self._statement_timing = StatementTiming()
        self._disk_full_at = -inf
        self.commit_sizes = Histogram(SIZES)
        self._pool = Pool(partial(connect, address, deadline), size, deadline, share)
        # Queues are served in this order.
        self._lookups = self._pool.add_queue(self._run_lookups, LOOKUP_BATCHES, dequeue_lookups)
        self._lists = self._pool.add_queue(self._run_lists, LIST_BATCHES, self._dequeue_lists)
        self._reads = self._pool.add_fair_queue(self._run_read, cancellable=True)
        self._independent_writes = self._pool.add_queue(self._run_independent_writes, WRITE_BATCHES, dequeue_inserts)
        self._writes = self._pool.add_fair_queue(self._run_write)

    async def open(self) -> None:
        """Connect. A server that cannot be reached yet is tried with each request; a misconfigured one is an error."""
        try:
            await self._pool.open()
        except DatabaseMisconfigured:
            raise
        except DatabaseUnavailable:
            pass

    async def close(self) -> None:
        await self._pool.close()

    async def check(self) -> None:
        ((writable,),) = (await self.read([(WRITABLE, ())]))[0]
        if not writable:
            self._pool.replace_connections()
            raise DatabaseUnavailable(READ_ONLY_MESSAGE)
        if monotonic() - self._disk_full_at < FAILURE_TTL:
            raise DatabaseUnavailable(DISK_FAILURE)

    async def read(self, queries: Sequence[Query], owner: Hashable = None) -> list[Rows]:
        started = perf_counter()
        try:
            return await self._read(queries, owner)
        finally:
            self._read_timings.observe(queries, started)

    async def read_fresh(self, queries: Sequence[Query]) -> list[Rows]:
        """Read as usual: no connection outlives its database."""
        return await self.read(queries)

    async def write(
        self, transaction: TransactionFunction, owner: Hashable = None, *, independent: bool = False
    ) -> Any:
        started = perf_counter()
        try:
            return await self._pool.run(self._independent_writes if independent else self._writes, transaction, owner)
        finally:
            self._write_timings.observe(transaction, started)

    def generation(self) -> Hashable:
        """Return the number of lost connections: the next one may lead to another database."""
        return self._pool.connections().lost

    def waiting(self) -> dict[str, int]:
        return {
            **self.waiting_reads(),
            "creation": len(self._independent_writes.waiting),
            "write": len(self._writes.waiting),
        }

    def waiting_reads(self) -> dict[str, int]:
        return {
            "look-up": len(self._lookups.waiting),
            "list": len(self._lists.waiting),
            "read": len(self._reads.waiting),
        }

    def connections(self) -> dict[str, Connections]:
        return {"primary": self._pool.connections()}

    async def lag(self) -> float | None:
        return None

    async def standby_lag(self) -> float | None:
        """Return how many seconds this server is behind its primary; None if it has none."""
        ((seconds,),) = (await self.read([(LAG_SQL, ())]))[0]
        return seconds  # type: ignore[no-any-return]

    # Reads

    async def _read(self, queries: Sequence[Query], owner: Hashable) -> list[Rows]:
        """Run queries that are known to be short in a batch with others, and all else alone, owners in turn."""
        first = queries[0] if queries else None
        try:
            one_plan = isinstance(first, RecordQuery) and (len(queries) == 1 or len(batches(queries)) == 1)
            if first is not None and one_plan and self._is_short(first):
                return await self._pool.run(self._lookups, queries, owner)  # type: ignore[no-any-return]
            if isinstance(first, ListQuery) and len(queries) == 1 and not self._pooled and self._is_short(first):
                return [await self._pool.run(self._lists, first, owner)]
        except RunSeparately:
            pass
        return await self._pool.run(self._reads, queries, owner)  # type: ignore[no-any-return]

    def _is_short(self, query: Query) -> bool:
        return self._statement_timing.batch_size(query[0]) > 1

    async def _run_lookups(self, connection: Connection, calls: Sequence[Sequence[RecordQuery]]) -> list[Outcome]:
        """Run the record queries of all calls as one statement."""
        queries = [query for call in calls for query in call]
        try:
            rows = iter(await self._look_up(connection, queries, BATCH_TIMEOUT))
            return [([next(rows) for _ in call], None) for call in calls]
        except TimeoutError:
            self._statement_timing.run_separately(queries[0].sql)
            return [(None, RunSeparately())] * len(calls)
        except Exception as error:
            if len(calls) == 1 or _is_lost(connection, error):
                return [(None, _client_error(connection, error))] * len(calls)
        return [outcome for call in calls for outcome in await self._run_lookups(connection, [call])]

    async def _run_lists(self, connection: Connection, queries: Sequence[ListQuery]) -> list[Outcome]:
        """Run list queries with the same SQL in one round trip."""
        sql, parameters = queries[0].sql, [query.parameters for query in queries]
        started = perf_counter()
        try:
            if any(map(unstorable, parameters)):
                return [(None, RunSeparately())] * len(queries)
            rows = await self._fetch_many(connection, sql, parameters, BATCH_TIMEOUT)
        except TimeoutError:
            self._statement_timing.run_separately(sql)
            return [(None, RunSeparately())] * len(queries)
        except Exception as error:
            failure = ConnectionLost() if _is_lost(connection, error) else RunSeparately()
            return [(None, failure)] * len(queries)
        self._statement_timing.observe(sql, len(queries), perf_counter() - started)
        return [([row], None) for row in rows]

    def _dequeue_lists(self, waiting: deque[QueuedCall]) -> list[QueuedCall]:
        """Dequeue the first list query, and as many with the same SQL as fit into a short batch."""
        sql = waiting[0].task.sql
        same = [call for call in waiting if call.task.sql == sql]
        return dequeue(waiting, same[: self._statement_timing.batch_size(sql)])

    async def _run_read(self, connection: Connection, calls: Sequence[Sequence[Query]]) -> list[Outcome]:
        try:
            return [(await self._snapshot(connection, calls[0]), None)]
        except Exception as error:
            return [(None, _client_error(connection, error))]

    async def _snapshot(self, connection: Connection, queries: Sequence[Query]) -> list[Rows]:
        """Run queries in one snapshot: as one statement if possible, otherwise in a transaction."""
        groups = batches(queries)
        if len(queries) <= 1 or (len(groups) == 1 and isinstance(queries[0], RecordQuery)):
            return await self._run_group(connection, queries)
        if all(isinstance(query, ListQuery | RecordQuery) and not unstorable(query.parameters) for query in queries):
            return await self._one_statement(connection, queries, groups)
        results: dict[int, Rows] = {}
        await self._execute(connection, SNAPSHOT)
        for indexes in groups:
            rows = await self._run_group(connection, [queries[index] for index in indexes])
            results |= zip(indexes, rows, strict=True)
        await self._execute(connection, "COMMIT")
        return [results[index] for index in range(len(queries))]

    async def _one_statement(
        self, connection: Connection, queries: Sequence[Any], groups: Sequence[Sequence[int]]
    ) -> list[Rows]:
        """Run list and record queries as the columns of one statement."""
        results: dict[int, Rows] = {}
        statements = [one_value([queries[index] for index in indexes]) for indexes in groups]
        (row,) = await self._fetch(connection, *combine_scalars(statements))
        for indexes, value in zip(groups, row, strict=True):
            group = [queries[index] for index in indexes]
            is_list = isinstance(group[0], ListQuery)
            results |= zip(indexes, [[(value,)]] if is_list else split_rows(group, [(value,)]), strict=True)
        return [results[index] for index in range(len(queries))]

    async def _run_group(self, connection: Connection, queries: Sequence[Query]) -> list[Rows]:
        lookups = [query for query in queries if isinstance(query, RecordQuery)]
        if lookups:
            return await self._look_up(connection, lookups)
        if len(queries) > 1 and not self._pooled and not any(unstorable(query[1]) for query in queries):
            # If each query returned a row, their order says which is whose; otherwise run them one by one.
            rows = await self._fetch_many(connection, queries[0][0], [query[1] for query in queries])
            if len(rows) == len(queries):
                return [[row] for row in rows]
        return [await self._fetch_timed(connection, query) for query in queries]

    async def _fetch_timed(self, connection: Connection, query: Query) -> Rows:
        """Return a query's rows, and record how long a list query took, even if it failed."""
        started = perf_counter()
        try:
            return await self._fetch(connection, query[0], query[1])
        finally:
            if isinstance(query, ListQuery):
                self._statement_timing.observe(query.sql, 1, perf_counter() - started)

    async def _look_up(
        self, connection: Connection, queries: Sequence[RecordQuery], seconds: float | None = None
    ) -> list[Rows]:
        """Return the rows of each record query, and record how long they took, even if they failed."""
        started = perf_counter()
        try:
            if len(queries) == 1:
                return [await self._fetch(connection, queries[0].sql, queries[0].parameters, seconds)]
            return split_rows(queries, await self._fetch(connection, *combine(queries, storable), seconds))
        finally:
            self._statement_timing.observe(queries[0].sql, len(queries), perf_counter() - started)

    # Writes

    async def _run_independent_writes(
        self, connection: Connection, transactions: Sequence[TransactionFunction]
    ) -> list[Outcome]:
        """Run all in one transaction, in one round trip if possible; if that fails, each in its own."""
        single = isinstance(transactions[0], SingleQueryTransaction) and not self._pooled
        if single or len(transactions) > 1:
            try:
                run = self._run_single_queries if single else self._transaction
                return [(result, None) for result in await run(connection, transactions)]
            except OutcomeUnknown as error:
                return [(None, error)] * len(transactions)
            except Exception as error:
                if _is_lost(connection, error):
                    return [(None, ConnectionLost())] * len(transactions)
                await _roll_back(connection)
        return [outcome for each in transactions for outcome in await self._run_write(connection, [each])]

    async def _run_write(self, connection: Connection, transactions: Sequence[TransactionFunction]) -> list[Outcome]:
        """Run a transaction of its own, again if that may help."""
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            try:
                return [(result, None) for result in await self._transaction(connection, transactions)]
            except Exception as error:
                code, client_error = code_of(error), _client_error(connection, error)
                if not _is_lost(connection, error):
                    await _roll_back(connection)
                if code in DISK_ERRORS:
                    self._disk_full_at = monotonic()
                if code == READ_ONLY_TRANSACTION:
                    self._pool.replace_connections(connection)
                if attempts_left == 0 or code not in RETRYABLE:
                    return [(None, client_error)]
            self._pool.repeated += 1
            await asyncio.sleep(random.uniform(0.005, 0.05) * (MAX_ATTEMPTS - attempts_left))  # noqa: S311
        raise AssertionError("the last attempt returns")

    async def _transaction(self, connection: Connection, transactions: Sequence[TransactionFunction]) -> list[Any]:
        await self._execute(connection, "BEGIN")
        results = await self._drive(connection, [transaction() for transaction in transactions])
        try:
            await self._execute(connection, "COMMIT")
        except Exception as error:
            if code_of(error)[:2] in ("23", "40"):
                raise
            raise OutcomeUnknown(OUTCOME_UNKNOWN) from error
        return self._committed(results)

    async def _run_single_queries(self, connection: Connection, queries: Sequence[Any]) -> list[Any]:
        """Run single queries with the same SQL; PostgreSQL makes one transaction of what is sent together."""
        sql = queries[0].sql
        self._observe(sql)
        try:
            rows = await connection.fetchmany(sql, [query.parameters for query in queries])
        except Exception as error:
            if _is_lost(connection, error) and not is_rolled_back(error):
                raise OutcomeUnknown(OUTCOME_UNKNOWN) from error
            raise
        return self._committed([query.to_result([row]) for query, row in zip(queries, rows, strict=True)])

    def _committed(self, results: list[Any]) -> list[Any]:
        self.commit_sizes.observe(len(results))
        self._disk_full_at = -inf
        # Also for results that no caller waits for any more, because they are committed.
        for result in results:
            self._on_commit(result)
        return results

    async def _drive(self, connection: Connection, generators: Sequence[QueryGenerator]) -> list[Any]:
        """Run each generator's queries until all have returned; queries that can run together do."""
        results: dict[int, Any] = {}
        rows: dict[int, Rows | None] = dict.fromkeys(range(len(generators)))
        while rows:
            queries: dict[int, Query] = {}
            for index, sent in rows.items():
                try:
                    queries[index] = next(generators[index]) if sent is None else generators[index].send(sent)
                except StopIteration as end:
                    results[index] = end.value
            rows = dict(zip(queries, await self._run_groups(connection, list(queries.values())), strict=True))
        return [results[index] for index in range(len(generators))]

    async def _run_groups(self, connection: Connection, queries: list[Query]) -> list[Rows]:
        results: dict[int, Rows] = {}
        for indexes in batches(queries, inserts=True):
            first = queries[indexes[0]]
            if len(indexes) > 1 and not isinstance(first, RecordQuery | RowQuery):
                self._observe(first[0])
                await connection.executemany(first[0], [queries[index][1] for index in indexes])
                results |= {index: [] for index in indexes}
            else:
                rows = await self._run_group(connection, [queries[index] for index in indexes])
                results |= zip(indexes, rows, strict=True)
        return [results[index] for index in range(len(queries))]

    # Statements

    async def _fetch(
        self, connection: Connection, sql: str, parameters: tuple[Any, ...], seconds: float | None = None
    ) -> Rows:
        self._observe(sql)
        if unstorable(parameters):
            return []
        if self._pooled and not connection.is_in_transaction():
            return await _fetch_in_transaction(connection, sql, parameters, seconds)
        return await connection.fetch(sql, *parameters, timeout=seconds)  # type: ignore[no-any-return]

    async def _fetch_many(
        self, connection: Connection, sql: str, parameters: Sequence[tuple[Any, ...]], seconds: float | None = None
    ) -> Rows:
        """Run one statement several times in one round trip, and return the rows of all in order."""
        for _ in parameters:
            self._observe(sql)
        return await connection.fetchmany(sql, parameters, timeout=seconds)  # type: ignore[no-any-return]

    async def _execute(self, connection: Connection, sql: str) -> None:
        self._observe(sql)
        await connection.execute(sql)

    def _observe(self, sql: str) -> None:
        if self._on_statement is not None:
            self._on_statement(sql)


async def _fetch_in_transaction(
    connection: Connection, sql: str, parameters: tuple[Any, ...], seconds: float | None
) -> Rows:
    """Run a statement in a transaction, which behind PgBouncer is all that stays on one backend.

    asyncpg's own transaction object would count as begun for ever if its BEGIN failed or was cancelled.
    """
    await connection.execute("BEGIN READ ONLY")
    try:
        rows: Rows = await connection.fetch(sql, *parameters, timeout=seconds)
    except Exception:
        await _roll_back(connection)
        raise
    await connection.execute("COMMIT")
    return rows


async def _roll_back(connection: Connection) -> None:
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


def _is_lost(connection: Connection, error: BaseException) -> bool:
    return connection.is_closed() or is_connection_loss(error)


def _client_error(connection: Connection, error: BaseException) -> BaseException:
    """Return what the caller gets for an error. Before COMMIT, a lost connection means that nothing was done."""
    if isinstance(error, DirectoryError):
        return error
    return ConnectionLost() if _is_lost(connection, error) else translate_error(error)
