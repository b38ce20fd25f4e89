"""PostgreSQL as it is read from, on the connections of `pool.py`.

Records that are looked up at the same moment, alike, are one statement. Lists that are asked for at the same moment by
the same statement are one trip, as long as they are short. Every other read goes alone; what is of one moment is one
statement if it can be, else a snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from schema.engine.concurrency import QUARTER
from schema.engine.database_url import postgres_address
from schema.engine.driver import ListQuery, Query, StatementObserver, batches
from schema.engine.errors import DatabaseMisconfigured, DatabaseUnavailable, DirectoryError
from schema.engine.metrics import Connections, QueryTimings
from schema.engine.postgres.batch import alike, joint, storable, taken, unstorable
from schema.engine.postgres.pool import LostBefore, Outcome, Pool, QueuedCall
from schema.engine.postgres.session import LAG, Connection, connect, is_loss, meaning
from schema.engine.postgres.statement_timing import StatementTiming
from schema.engine.sql.record_lookup import RecordQuery, Rows, combine, split_rows
from schema.engine.sql.scalar_batch import combine_scalars

LOOKUPS, LISTS = 2, 3  # trips at a time
PATIENCE = 0.1  # seconds until a trip of several lists is broken off
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Alone(Exception):
    """Nothing came of going together: each is to go alone."""


class Reading:
    """A PostgreSQL that is read from."""

    def __init__(
        self,
        url: str,
        deadline: float,
        trips: tuple[QueryTimings, QueryTimings, QueryTimings],
        size: int,
        watch: StatementObserver | None,
        share: int = QUARTER,
    ) -> None:
        _, self._noted, self._noted_writes = trips
        self._pooled = postgres_address(url).pooled
        self._watch = watch
        self._pool = Pool(partial(connect, postgres_address(url), deadline), size, deadline, share)
        self._lookups = self._pool.queue(self._look_up, LOOKUPS, alike)
        self._pace = StatementTiming()
        self._lists = self._pool.queue(self._list, LISTS, self._alike)
        self._reads = self._pool.fair_queue(self._read, breakable=True)

    async def open(self) -> None:
        """Connect. A database that is not there yet is looked for with each request; one that is wrong is an error."""
        try:
            await self._pool.open()
        except DatabaseMisconfigured:
            raise
        except DatabaseUnavailable:
            pass

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        await self._pool.close()

    async def read(self, steps: Sequence[Query], reader: Hashable = None) -> list[Rows]:
        """The rows of each step, all of one moment."""
        began = perf_counter()
        try:
            return await self._brought(steps, reader)
        finally:
            self._noted.note(steps, began)

    async def read_anew(self, steps: Sequence[Query]) -> list[Rows]:
        """As ever: no connection outlives the database that it leads to."""
        return await self.read(steps)

    def generation(self) -> Hashable:
        """Changes when a connection was lost: the next one may lead to another database."""
        return self._pool.connections().lost

    async def _brought(self, steps: Sequence[Query], owner: Hashable) -> list[Rows]:
        """What is known to be short goes with others of its kind; all else alone, owners in turn."""
        first = steps[0] if steps else None
        try:
            alike = isinstance(first, RecordQuery) and (len(steps) == 1 or len(batches(steps)) == 1)
            if first is not None and alike and self._is_short(first):
                return await self._pool.do(self._lookups, steps, owner)  # type: ignore[no-any-return]
            if isinstance(first, ListQuery) and len(steps) == 1 and not self._pooled and self._is_short(first):
                return [await self._pool.do(self._lists, first, owner)]
        except Alone:
            pass
        return await self._pool.do(self._reads, steps, owner)  # type: ignore[no-any-return]

    def _is_short(self, step: Query) -> bool:
        return self._pace.together(step[0]) > 1

    def waiting(self) -> dict[str, int]:
        """How many errands wait, by what they wait for."""
        return {
            "look-up": len(self._lookups.waiting), "list": len(self._lists.waiting), "read": len(self._reads.waiting),
        }  # fmt: skip

    def connections(self) -> dict[str, Connections]:
        """Those of each pool."""
        return {"primary": self._pool.connections()}

    async def behind(self) -> float | None:
        """How many seconds it is behind its primary; None of what has none."""
        ((seconds,),) = (await self.read([(LAG, ())]))[0]
        return seconds  # type: ignore[no-any-return]

    async def _look_up(self, connection: Connection, tasks: Sequence[Sequence[RecordQuery]]) -> list[Outcome]:
        """Parties of look-ups that are all alike; what takes long goes alone."""
        lookups = [lookup for task in tasks for lookup in task]
        try:
            found = iter(await self._found(connection, lookups, PATIENCE))
            return [([next(found) for _ in task], None) for task in tasks]
        except TimeoutError:
            self._pace.overdue(lookups[0].sql)
            return [(None, Alone())] * len(tasks)
        except Exception as error:
            if len(tasks) == 1 or lost(connection, error):
                return [(None, came_of(connection, error))] * len(tasks)
        return [outcome for task in tasks for outcome in await self._look_up(connection, [task])]

    async def _list(self, connection: Connection, listings: Sequence[ListQuery]) -> list[Outcome]:
        """Lists by the same statement, sent off together; what fails or takes long goes alone."""
        sql, given = listings[0].sql, [listing.parameters for listing in listings]
        began = perf_counter()
        try:
            if any(map(unstorable, given)):
                return [(None, Alone())] * len(listings)
            rows = await self._several(connection, sql, given, PATIENCE)
        except TimeoutError:
            self._pace.overdue(sql)
            return [(None, Alone())] * len(listings)
        except Exception as error:
            meant = LostBefore() if lost(connection, error) else Alone()
            return [(None, meant)] * len(listings)
        self._pace.note(sql, len(listings), perf_counter() - began)
        return [([row], None) for row in rows]

    def _alike(self, waiting: deque[QueuedCall]) -> list[QueuedCall]:
        """The first list, and those by the same statement, as many as make a short trip."""
        sql = waiting[0].task.sql
        return taken(waiting, [it for it in waiting if it.task.sql == sql][: self._pace.together(sql)])

    async def _read(self, connection: Connection, tasks: Sequence[Sequence[Query]]) -> list[Outcome]:
        try:
            return [(await self._snapshot(connection, tasks[0]), None)]
        except Exception as error:
            return [(None, came_of(connection, error))]

    async def _snapshot(self, connection: Connection, steps: Sequence[Query]) -> list[Rows]:
        parties = batches(steps)
        if len(steps) <= 1 or (len(parties) == 1 and isinstance(steps[0], RecordQuery)):
            return await self._company(connection, steps)
        if all(isinstance(step, ListQuery | RecordQuery) and not unstorable(step.parameters) for step in steps):
            return await self._bundle(connection, steps, parties)
        found: dict[int, Rows] = {}
        await self._run(connection, SNAPSHOT)
        for places in parties:
            answers = await self._company(connection, [steps[place] for place in places])
            found |= zip(places, answers, strict=True)
        await self._run(connection, "COMMIT")
        return [found[place] for place in range(len(steps))]

    async def _bundle(
        self, connection: Connection, steps: Sequence[Any], parties: Sequence[Sequence[int]]
    ) -> list[Rows]:
        """Lists and look-ups, as one statement."""
        found: dict[int, Rows] = {}
        (row,) = await self._rows(
            connection, *combine_scalars([joint([steps[place] for place in it]) for it in parties])
        )
        for places, value in zip(parties, row, strict=True):
            members = [steps[place] for place in places]
            alone = isinstance(members[0], ListQuery)
            found |= zip(places, [[(value,)]] if alone else split_rows(members, [(value,)]), strict=True)
        return [found[place] for place in range(len(steps))]

    async def _company(self, connection: Connection, steps: Sequence[Query]) -> list[Rows]:
        """The rows of steps that are one statement."""
        lookups = [step for step in steps if isinstance(step, RecordQuery)]
        if lookups:
            return await self._found(connection, lookups)
        if len(steps) > 1 and not self._pooled and not any(unstorable(step[1]) for step in steps):
            # A row for each tells whose each is; where one has none, they are asked one by one.
            rows = await self._several(connection, steps[0][0], [step[1] for step in steps])
            if len(rows) == len(steps):
                return [[row] for row in rows]
        return [await self._timed(connection, step) for step in steps]

    async def _timed(self, connection: Connection, step: Query) -> Rows:
        """A step's rows; how long a list takes is noted, whether it is brought or not."""
        began = perf_counter()
        try:
            return await self._rows(connection, step[0], step[1])
        finally:
            if isinstance(step, ListQuery):
                self._pace.note(step.sql, 1, perf_counter() - began)

    async def _found(
        self, connection: Connection, lookups: Sequence[RecordQuery], patience: float | None = None
    ) -> list[Rows]:
        """The rows of each look-up; how long they take is noted, whether they are brought or not."""
        began = perf_counter()
        try:
            if len(lookups) == 1:
                return [await self._rows(connection, lookups[0].sql, lookups[0].parameters, patience)]
            return split_rows(lookups, await self._rows(connection, *combine(lookups, storable), patience))
        finally:
            self._pace.note(lookups[0].sql, len(lookups), perf_counter() - began)

    async def _rows(
        self, connection: Connection, sql: str, parameters: tuple[Any, ...], patience: float | None = None
    ) -> Rows:
        self._tell(sql)
        if unstorable(parameters):
            return []
        if self._pooled and not connection.is_in_transaction():
            return await _within(connection, sql, parameters, patience)
        return await connection.fetch(sql, *parameters, timeout=patience)  # type: ignore[no-any-return]

    async def _several(
        self, connection: Connection, sql: str, given: Sequence[tuple[Any, ...]], patience: float | None = None
    ) -> Rows:
        """The rows of a statement that is sent off several times in one trip, one after another."""
        for _ in given:
            self._tell(sql)
        return await connection.fetchmany(sql, given, timeout=patience)  # type: ignore[no-any-return]

    async def _run(self, connection: Connection, sql: str) -> None:
        self._tell(sql)
        await connection.execute(sql)

    def _tell(self, sql: str) -> None:
        if self._watch is not None:
            self._watch(sql)


async def _within(connection: Connection, sql: str, parameters: tuple[Any, ...], patience: float | None) -> Rows:
    """A statement in a transaction: behind a pgbouncer only one of these is sure to stay where it has begun.

    The driver's own would take itself for begun for ever, if its BEGIN failed or was broken off.
    """
    await connection.execute("BEGIN READ ONLY")
    try:
        rows: Rows = await connection.fetch(sql, *parameters, timeout=patience)
    except Exception:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return rows


def lost(connection: Connection, error: BaseException) -> bool:
    """Whether the connection is gone with the error."""
    return connection.is_closed() or is_loss(error)


def came_of(connection: Connection, error: BaseException) -> BaseException:
    """What is said of an error to whom it hit; before a COMMIT, a loss means that nothing was done."""
    if isinstance(error, DirectoryError):
        return error
    return LostBefore() if lost(connection, error) else meaning(error)
