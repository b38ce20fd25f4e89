"""What statements cost PostgreSQL: the rows that its plans went through, and the buffers that they looked into.

Each is prepared and explained with `EXPLAIN (ANALYZE, BUFFERS)`, by the plan that serves everybody, as the service has
it. A row counts once for each part of a plan that gives it on or throws it away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.effort import Effort
from schema.engine.database_url import PostgresAddress, postgres_address
from schema.engine.operations.directory import Directory
from schema.engine.postgres import driver
from schema.engine.postgres.session import connect

PATIENCE = 600.0
_RUN_AGAIN = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
_DROPPED = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")


class PostgresObserver:
    """Listens to what PostgreSQL is told. `new` is the address of whoever is created, and created again."""

    def __init__(self, database: str, new: str) -> None:
        self._database = database
        self._new = new
        self._said: list[tuple[str, tuple[Any, ...]]] = []
        self._own: Any = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Directory]:
        """A directory that is listened to: its sessions tell what they are asked, with the parameters."""
        usual, driver.connect = driver.connect, self._connect  # type: ignore[attr-defined]
        self._own = await connect(postgres_address(self._database), PATIENCE)
        try:
            async with Directory(self._database) as directory:
                yield directory
        finally:
            driver.connect = usual  # type: ignore[attr-defined]
            await self._own.close()

    def clear(self) -> None:
        """Forget what was said."""
        self._said.clear()

    async def effort(self) -> Effort:
        """What the statements cost that were said since; what they write is taken back."""
        await asyncio.sleep(0.001)  # the driver tells a turn of the loop later
        ours = [it for it in self._said if it[0].startswith(_RUN_AGAIN) and "pg_catalog" not in it[0]]
        if any("INSERT INTO" in sql for sql, _ in ours):
            await self._own.execute('DELETE FROM "user" WHERE email_key = $1', self._new)
        await self._own.execute("BEGIN")
        plans = [await self._explained(sql, parameters) for sql, parameters in ours]
        await self._own.execute("ROLLBACK")
        buffers = sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)
        return Effort(len(plans), round(sum(map(_rows, plans))), buffers)

    async def _explained(self, sql: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
        given = f"({', '.join(map(literal, parameters))})" if parameters else ""
        await self._own.execute(f"PREPARE asked AS {sql}")
        ((told,),) = await self._own.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked{given}")
        await self._own.execute("DEALLOCATE asked")
        plan: dict[str, Any] = json.loads(told)[0]["Plan"]
        return plan

    async def _connect(self, server: PostgresAddress, deadline: float) -> Any:
        connection = await connect(server, deadline)
        connection.add_query_logger(self._note)
        return connection

    def _note(self, told: Any) -> None:
        """A statement with its parameters; of one that was sent off several times together, all of them."""
        several = bool(told.args) and all(isinstance(given, tuple) for given in told.args)
        self._said += [(told.query, tuple(given)) for given in (told.args if several else [told.args])]


def _rows(plan: dict[str, Any]) -> float:
    """The rows that a plan and its parts gave on or threw away."""
    passed = plan["Actual Rows"] + sum(plan.get(name, 0) for name in _DROPPED)
    return float(passed * plan["Actual Loops"]) + sum(map(_rows, plan.get("Plans", [])))


def literal(value: Any) -> str:
    """A parameter as SQL: `EXECUTE` takes no others."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return _quoted(f"{{{','.join(json.dumps(item, ensure_ascii=False) for item in value)}}}")
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
