"""A trial on a PostgreSQL, and what it makes of a statement.

The trial's tables are temporary ones of a session's own, made like those that are there and hiding them. The session
may write to nothing else: its transactions are read-only ones, and PostgreSQL sees to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import orjson
from sqlmodel import SQLModel

from schema.engine.database_url import postgres_address
from schema.engine.driver import Query, QueryGenerator
from schema.engine.errors import BadRequest, DatabaseUnavailable
from schema.engine.model.resource import Resource
from schema.engine.operations import write_statements
from schema.engine.operations.directory import Directory, TransactionResult
from schema.engine.postgres.session import connect, translate_error
from schema.engine.sql.dialect import postgres
from schema.explain.sqlite import SORTS, example, walks

SECONDS = 5.0
_READ_ONLY = "default_transaction_read_only=on"
# A table of a few rows is read as a whole, indexes or not. Forbidden that, the planner does as with one of many.
_AS_IF_LARGE = "SET LOCAL enable_seqscan = off"


def guarded(url: str) -> str:
    """The URL of the same database, where nothing but temporary tables can be written to."""
    server = postgres_address(url)
    if server.pooled:
        raise BadRequest("a trial needs a session of its own: name the server itself, without pgbouncer=true")
    return f"{server.url}{'&' if '?' in server.url else '?'}{_READ_ONLY}"


async def furnish(directory: Directory, resources: Iterable[Resource], ids: Iterable[str]) -> None:
    """Put temporary tables before those that are there, with one record of each model under each of the ids.

    The directory has a single connection, and is `guarded`: should it be lost, nothing else can be written to.
    """
    wanted = [(resource, id) for resource in resources for id in ids]

    def job() -> QueryGenerator:
        yield "SET TRANSACTION READ WRITE", ()
        for table in SQLModel.metadata.sorted_tables:
            yield f'CREATE TEMPORARY TABLE "{table.name}" (LIKE "{table.name}" INCLUDING ALL)', ()
        for resource, id in wanted:
            statement = write_statements.insert_statement(resource).on(postgres())
            # What is like another already, or lacks what it refers to, is no loss.
            sql = f"{statement.sql} ON CONFLICT DO NOTHING"
            yield sql, statement.bind(write_statements.column_values(resource.fields, example(resource, id)))
        return TransactionResult(None)

    try:
        await directory.write(job)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            "a trial needs the tables of a migrated database, and the right to make temporary ones (TEMPORARY)"
        ) from error


def planned(url: str, step: Query, narrowed: Collection[str]) -> tuple[list[str], list[str]]:
    """What the database says that it would do, and what takes longer in it with every row there is.

    The plan is the one that serves everybody, as for the service itself, and it is never run.
    """
    return asyncio.run(_planned(url, step, narrowed))


async def _planned(url: str, step: Query, narrowed: Collection[str]) -> tuple[list[str], list[str]]:
    connection = await connect(postgres_address(url), SECONDS)
    given = f"({', '.join(['NULL'] * len(step[1]))})" if step[1] else ""
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(f"PREPARE explained AS {step[0]}")
            lines = [line for (line,) in await connection.fetch(f"EXPLAIN EXECUTE explained{given}")]
            await connection.execute(_AS_IF_LARGE)
            ((found,),) = await connection.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE explained{given}")
    except asyncpg.PostgresError as error:
        raise DatabaseUnavailable(getattr(translate_error(error), "detail", None) or str(error)) from error
    finally:
        connection.terminate()
    return lines, list(dict.fromkeys(_remarks(orjson.loads(found)[0]["Plan"], narrowed)))


def _remarks(node: dict[str, Any], narrowed: Collection[str]) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name", "")
    if kind in ("Seq Scan", "Index Scan", "Index Only Scan") and "Index Cond" not in node and table in narrowed:
        yield walks(table)
    if kind == "Sort":
        yield SORTS
    for part in node.get("Plans", ()):
        yield from _remarks(part, narrowed)
