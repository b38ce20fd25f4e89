"""PostgreSQL as it is read from, on the connections of `pool.py`.

Records that are looked up at the same moment, alike, are one statement. Every other read is a statement of its own, or
several in one snapshot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from schema.engine.errors import DatabaseUnavailable, DirectoryError, Hopeless
from schema.engine.figures import Connections, Trips
from schema.engine.lookup import Lookup, Rows, apart, together
from schema.engine.place import server_at
from schema.engine.pool import Errand, LostBefore, Outcome, Pool, one
from schema.engine.server import LAG, Connection, connect, is_loss, meaning
from schema.engine.step import Step, Watch, companies

NUL = "\0"
LOOKUPS = 2  # trips at a time
MOST_TOGETHER = 250
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Reading:
    """A PostgreSQL that is read from."""

    def __init__(
        self, url: str, deadline: float, trips: tuple[Trips, Trips, Trips], size: int, watch: Watch | None
    ) -> None:
        _, self._noted, self._noted_writes = trips
        self._pooled = server_at(url).pooled
        self._watch = watch
        self._pool = Pool(partial(connect, server_at(url), deadline), size, deadline)
        self._lookups = self._pool.queue(self._look_up, LOOKUPS, _company)
        self._reads = self._pool.queue(self._read, size, one, breakable=True)

    async def open(self) -> None:
        """Connect. A database that is not there yet is looked for with each request; one that is wrong is an error."""
        try:
            await self._pool.open()
        except Hopeless:
            raise
        except DatabaseUnavailable:
            pass

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        await self._pool.close()

    async def read(self, steps: Sequence[Step], reader: Hashable = None) -> list[Rows]:
        """The rows of each step, all of one moment."""
        began, first = perf_counter(), steps[0] if steps else None
        try:
            if len(steps) == 1 and isinstance(first, Lookup):
                return [await self._pool.do(self._lookups, first)]
            return await self._pool.do(self._reads, steps)  # type: ignore[no-any-return]
        finally:
            self._noted.note(steps, began)

    def waiting(self) -> dict[str, int]:
        """How many errands wait, by what they wait for."""
        return {"look-up": len(self._lookups.waiting), "read": len(self._reads.waiting)}

    def connections(self) -> dict[str, Connections]:
        """Those of each pool."""
        return {"primary": self._pool.connections()}

    async def behind(self) -> float | None:
        """How many seconds it is behind its primary; None of what has none."""
        ((seconds,),) = (await self.read([(LAG, ())]))[0]
        return seconds  # type: ignore[no-any-return]

    async def _look_up(self, connection: Connection, lookups: Sequence[Lookup]) -> list[Outcome]:
        try:
            return [(rows, None) for rows in await self._found(connection, lookups)]
        except Exception as error:
            if len(lookups) == 1 or lost(connection, error):
                return [(None, came_of(connection, error))] * len(lookups)
        return [outcome for lookup in lookups for outcome in await self._look_up(connection, [lookup])]

    async def _read(self, connection: Connection, tasks: Sequence[Sequence[Step]]) -> list[Outcome]:
        try:
            return [(await self._snapshot(connection, tasks[0]), None)]
        except Exception as error:
            return [(None, came_of(connection, error))]

    async def _snapshot(self, connection: Connection, steps: Sequence[Step]) -> list[Rows]:
        parties = companies(steps)
        if len(parties) <= 1:
            return await self._company(connection, steps)
        found: dict[int, Rows] = {}
        await self._run(connection, SNAPSHOT)
        for places in parties:
            answers = await self._company(connection, [steps[place] for place in places])
            found |= zip(places, answers, strict=True)
        await self._run(connection, "COMMIT")
        return [found[place] for place in range(len(steps))]

    async def _company(self, connection: Connection, steps: Sequence[Step]) -> list[Rows]:
        """The rows of steps that are one statement."""
        lookups = [step for step in steps if isinstance(step, Lookup)]
        if lookups:
            return await self._found(connection, lookups)
        return [await self._rows(connection, step[0], step[1]) for step in steps]

    async def _found(self, connection: Connection, lookups: Sequence[Lookup]) -> list[Rows]:
        if len(lookups) == 1:
            return [await self._rows(connection, lookups[0].sql, lookups[0].parameters)]
        return apart(lookups, await self._rows(connection, *together(lookups, _storable)))

    async def _rows(self, connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Rows:
        if self._watch is not None:
            self._watch(sql)
        if any(type(value) is str and NUL in value for value in parameters):
            return []  # PostgreSQL stores no such text, so there is nothing to find.
        if self._pooled and not connection.is_in_transaction():
            return await _within(connection, sql, parameters)
        return await connection.fetch(sql, *parameters)  # type: ignore[no-any-return]

    async def _run(self, connection: Connection, sql: str) -> None:
        if self._watch is not None:
            self._watch(sql)
        await connection.execute(sql)


async def _within(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Rows:
    """A statement in a transaction: behind a pgbouncer only one of these is sure to stay where it has begun.

    The driver's own would take itself for begun for ever, if its BEGIN failed or was broken off.
    """
    await connection.execute("BEGIN READ ONLY")
    try:
        rows: Rows = await connection.fetch(sql, *parameters)
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


def _company(waiting: deque[Errand]) -> list[Errand]:
    """The first, and all that look up records in the same way."""
    company = waiting[0].task.company
    taken = [errand for errand in waiting if errand.task.company == company][:MOST_TOGETHER]
    if len(taken) == len(waiting):
        waiting.clear()
    else:
        left = [errand for errand in waiting if errand not in taken]
        waiting.clear()
        waiting.extend(left)
    return taken


def _storable(keys: list[str]) -> list[str]:
    return [key for key in keys if NUL not in key]
