"""The cost of statements on PostgreSQL: the rows that plan nodes process, and the buffers that they access.

Each statement is prepared and run with `EXPLAIN (ANALYZE, BUFFERS)` under its generic plan, as in the service. A row
counts once for each plan node that returns or filters it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.scaling.query_cost import QueryCost
from schema.engine.database_url import PostgresAddress, postgres_address
from schema.engine.operations.directory import Directory
from schema.engine.postgres import driver
from schema.engine.postgres.session import connect

STATEMENT_TIMEOUT = 600.0  # seconds
_MEASURED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")
_FILTERED_ROWS = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")


class PostgresRecorder:
    """Records PostgreSQL's statements. `new_email` identifies the user that requests create."""

    def __init__(self, database: str, new_email: str) -> None:
        self._database = database
        self._new_email = new_email
        self._recorded: list[tuple[str, tuple[Any, ...]]] = []
        self._connection: Any = None

    @asynccontextmanager
    async def open_directory(self) -> AsyncIterator[Directory]:
        """A directory whose statements are recorded with their parameters."""
        original, driver.connect = driver.connect, self._connect  # type: ignore[attr-defined]
        self._connection = await connect(postgres_address(self._database), STATEMENT_TIMEOUT)
        try:
            async with Directory(self._database) as directory:
                yield directory
        finally:
            driver.connect = original  # type: ignore[attr-defined]
            await self._connection.close()

    def clear(self) -> None:
        """Forget the recorded statements."""
        self._recorded.clear()

    async def cost(self) -> QueryCost:
        """The cost of the recorded statements. What they write is rolled back."""
        await asyncio.sleep(0.001)  # asyncpg calls its query loggers in a later iteration of the event loop
        own = [
            (sql, parameters)
            for sql, parameters in self._recorded
            if sql.startswith(_MEASURED) and "pg_catalog" not in sql
        ]
        if any("INSERT INTO" in sql for sql, _ in own):
            await self._connection.execute('DELETE FROM "user" WHERE email_key = $1', self._new_email)
        await self._connection.execute("BEGIN")
        plans = [await self._explain(sql, parameters) for sql, parameters in own]
        await self._connection.execute("ROLLBACK")
        buffers = sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)
        return QueryCost(len(plans), round(sum(map(_rows, plans))), buffers)

    async def _explain(self, sql: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
        arguments = f"({', '.join(map(literal, parameters))})" if parameters else ""
        await self._connection.execute(f"PREPARE measured AS {sql}")
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured{arguments}"
        ((output,),) = await self._connection.fetch(explain)
        await self._connection.execute("DEALLOCATE measured")
        plan: dict[str, Any] = json.loads(output)[0]["Plan"]
        return plan

    async def _connect(self, server: PostgresAddress, deadline: float) -> Any:
        connection = await connect(server, deadline)
        connection.add_query_logger(self._record)
        return connection

    def _record(self, logged: Any) -> None:
        """Record a statement once for each set of parameters that it was sent with."""
        is_batch = bool(logged.args) and all(isinstance(parameters, tuple) for parameters in logged.args)
        batch = logged.args if is_batch else [logged.args]
        self._recorded += [(logged.query, tuple(parameters)) for parameters in batch]


def literal(value: Any) -> str:
    """A parameter as SQL: `EXECUTE` takes only literals."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return _quoted(f"{{{','.join(json.dumps(item, ensure_ascii=False) for item in value)}}}")
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _rows(plan: dict[str, Any]) -> float:
    """The rows that a plan node and the nodes below it return or filter."""
    processed = plan["Actual Rows"] + sum(plan.get(name, 0) for name in _FILTERED_ROWS)
    return float(processed * plan["Actual Loops"]) + sum(map(_rows, plan.get("Plans", [])))
