"""PostgreSQL as a directory's database: read as `reading.py` has it, and written to.

New records that are made at the same moment are one transaction. Every other write is a transaction of its own, and is
tried again where PostgreSQL says that it may be.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from math import inf
from time import monotonic, perf_counter
from typing import Any

from schema.engine.concurrency import QUARTER
from schema.engine.driver import (
    Query,
    QueryGenerator,
    RowQuery,
    SingleQuery,
    StatementObserver,
    TransactionFunction,
    batches,
)
from schema.engine.errors import DISK_FAILURE, DatabaseUnavailable
from schema.engine.metrics import SIZES, Histogram, QueryTimings
from schema.engine.postgres.batch import MOST_TOGETHER, taken
from schema.engine.postgres.pool import LostBefore, Outcome, QueuedCall
from schema.engine.postgres.reads import Reading, came_of, lost
from schema.engine.postgres.session import FULL, READ_ONLY, READS_ALONE, TRY_AGAIN, Connection, code_of, is_undone
from schema.engine.sql.record_lookup import RecordQuery, Rows

TRIES = 4
LATELY = 1.0  # seconds for which a write that found the disk full is taken to say how the next one will end
GROUPS = 2  # trips at a time
# Neither a standby nor told to take no changes. A session is told so when it begins: the next may be told otherwise.
WRITABLE = "SELECT NOT (pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool)"
UNKNOWN = (
    "the connection to the database was lost while a change was being committed:"
    " whether it was made is not known, so look before you try again"
)


class PostgresDriver(Reading):
    """A PostgreSQL that is written to as well."""

    def __init__(
        self,
        url: str,
        deadline: float,
        committed: Callable[[Any], None],
        trips: tuple[QueryTimings, QueryTimings, QueryTimings],
        size: int = 10,
        watch: StatementObserver | None = None,
        share: int = QUARTER,
    ) -> None:
        super().__init__(url, deadline, trips, size, watch, share)
        self._committed = committed
        self.groups = Histogram(SIZES)
        self._full = -inf
        self._groups = self._pool.queue(self._write_together, GROUPS, _alike)
        self._writes = self._pool.fair_queue(self._write)

    async def check(self) -> None:
        """`DatabaseUnavailable` unless it can be read and written, as far as that can be told in passing."""
        ((writable,),) = (await self.read([(WRITABLE, ())]))[0]
        if not writable:
            self._pool.renew()
            raise DatabaseUnavailable(READS_ALONE)
        if monotonic() - self._full < LATELY:
            raise DatabaseUnavailable(DISK_FAILURE)

    async def write(self, job: TransactionFunction, writer: Hashable = None, *, apart: bool = False) -> Any:
        """The job's result, once it is committed; jobs that are apart from all others are committed together."""
        began = perf_counter()
        try:
            return await self._pool.do(self._groups if apart else self._writes, job, writer)
        finally:
            self._noted_writes.note(job, began)

    async def lag(self) -> float | None:
        """There is no replica."""
        return None

    def waiting(self) -> dict[str, int]:
        """How many errands wait, by what they wait for."""
        return {
            **super().waiting(), "creation": len(self._groups.waiting), "write": len(self._writes.waiting),
        }  # fmt: skip

    async def _write_together(self, connection: Connection, jobs: Sequence[TransactionFunction]) -> list[Outcome]:
        """All in one transaction, and that in one trip if it can be; if it fails, each in its own."""
        at_once = isinstance(jobs[0], SingleQuery) and not self._pooled
        if at_once or len(jobs) > 1:
            try:
                together = self._at_once if at_once else self._transaction
                return [(result, None) for result in await together(connection, jobs)]
            except FateUnknown as error:
                return [(None, error)] * len(jobs)
            except Exception as error:
                if lost(connection, error):
                    return [(None, LostBefore())] * len(jobs)
                await _roll_back(connection)
        return [outcome for job in jobs for outcome in await self._write(connection, [job])]

    async def _write(self, connection: Connection, jobs: Sequence[TransactionFunction]) -> list[Outcome]:
        """A transaction of its own, tried again where that may help."""
        for left in reversed(range(TRIES)):
            try:
                return [(result, None) for result in await self._transaction(connection, jobs)]
            except Exception as error:
                meant = came_of(connection, error)
                if not lost(connection, error):
                    await _roll_back(connection)
                if code_of(error) in FULL:
                    self._full = monotonic()
                if code_of(error) == READ_ONLY:
                    self._pool.renew(connection)
                if left == 0 or code_of(error) not in TRY_AGAIN:
                    return [(None, meant)]
            self._pool.repeated += 1
            await asyncio.sleep(random.uniform(0.005, 0.05) * (TRIES - left))  # noqa: S311
        raise AssertionError("the last try returns")

    async def _transaction(self, connection: Connection, jobs: Sequence[TransactionFunction]) -> list[Any]:
        await self._run(connection, "BEGIN")
        results = await self._driven(connection, [job() for job in jobs])
        try:
            await self._run(connection, "COMMIT")
        except Exception as error:
            if code_of(error)[:2] in ("23", "40"):
                raise
            raise FateUnknown(UNKNOWN) from error
        return self._done(results)

    async def _at_once(self, connection: Connection, jobs: Sequence[Any]) -> list[Any]:
        """Jobs of one step each, all the same: PostgreSQL makes a transaction of what is sent off together."""
        sql = jobs[0].sql
        self._tell(sql)
        try:
            rows = await connection.fetchmany(sql, [job.parameters for job in jobs])
        except Exception as error:
            if lost(connection, error) and not is_undone(error):
                raise FateUnknown(UNKNOWN) from error
            raise
        return self._done([job.told([row]) for job, row in zip(jobs, rows, strict=True)])

    def _done(self, results: list[Any]) -> list[Any]:
        self.groups.note(len(results))
        self._full = -inf
        # Also of what nobody waits for any more: what is committed has happened.
        for result in results:
            self._committed(result)
        return results

    async def _driven(self, connection: Connection, jobs: Sequence[QueryGenerator]) -> list[Any]:
        """Give jobs the rows that they ask for until all have returned; what they ask alike is asked at once."""
        results: dict[int, Any] = {}
        rows: dict[int, Rows | None] = dict.fromkeys(range(len(jobs)))
        while rows:
            asked: dict[int, Query] = {}
            for number, brought in rows.items():
                try:
                    asked[number] = next(jobs[number]) if brought is None else jobs[number].send(brought)
                except StopIteration as end:
                    results[number] = end.value
            rows = dict(zip(asked, await self._asked(connection, list(asked.values())), strict=True))
        return [results[number] for number in range(len(jobs))]

    async def _asked(self, connection: Connection, steps: list[Query]) -> list[Rows]:
        found: dict[int, Rows] = {}
        for places in batches(steps, insertions=True):
            first = steps[places[0]]
            if len(places) > 1 and not isinstance(first, RecordQuery | RowQuery):
                if self._watch is not None:
                    self._watch(first[0])
                await connection.executemany(first[0], [steps[place][1] for place in places])
                found |= {place: [] for place in places}
            else:
                answers = await self._company(connection, [steps[place] for place in places])
                found |= zip(places, answers, strict=True)
        return [found[place] for place in range(len(steps))]


class FateUnknown(DatabaseUnavailable):
    """Whether a change was made is not known."""


def _alike(waiting: deque[QueuedCall]) -> list[QueuedCall]:
    """The first, and all that are the same step, or like it are several."""
    first = _step(waiting[0])
    return taken(waiting, [errand for errand in waiting if _step(errand) == first][:MOST_TOGETHER])


def _step(errand: QueuedCall) -> str | None:
    return errand.task.sql if isinstance(errand.task, SingleQuery) else None


async def _roll_back(connection: Connection) -> None:
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")
