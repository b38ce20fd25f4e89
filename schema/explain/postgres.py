"""Temporary PostgreSQL tables to try requests on, and PostgreSQL's query plans.

The tables hide those of the same names in one session, whose transactions are read-only otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import orjson
from sqlmodel import SQLModel

from schema.engine.changes import TransactionResult
from schema.engine.database_url import postgres_address
from schema.engine.driver import QueryGenerator
from schema.engine.errors import BadRequest, DatabaseUnavailable
from schema.engine.model.resource import Resource
from schema.engine.operations import write_statements
from schema.engine.operations.directory import Directory
from schema.engine.postgres.session import connect, translate_error
from schema.engine.sql.dialect import postgres
from schema.explain.plan_warnings import SORT, full_scan
from schema.explain.sample import sample_row

SECONDS = 5.0
_READ_ONLY = "default_transaction_read_only=on"
# A table of a few rows is read as a whole despite its indexes; without sequential scans it is planned like a large one.
_AS_IF_LARGE = "SET LOCAL enable_seqscan = off"


def read_only_url(url: str) -> str:
    """Return the URL of the same database for sessions that can write to temporary tables alone.

    Raises:
        BadRequest: the URL names a connection pool.
    """
    server = postgres_address(url)
    if server.pooled:
        raise BadRequest("a trial needs a session of its own: name the server itself, without pgbouncer=true")
    return f"{server.url}{'&' if '?' in server.url else '?'}{_READ_ONLY}"


async def create_trial_tables(directory: Directory, resources: Iterable[Resource], ids: Iterable[str]) -> None:
    """Create temporary tables that hide the real ones, with one record of each model under each id.

    The directory has a single connection, with a `read_only_url`: if it is lost, its successor can write to nothing.
    """
    records = [(resource, id) for resource in resources for id in ids]

    def create() -> QueryGenerator:
        yield "SET TRANSACTION READ WRITE", ()
        for table in SQLModel.metadata.sorted_tables:
            yield f'CREATE TEMPORARY TABLE "{table.name}" (LIKE "{table.name}" INCLUDING ALL)', ()
        for resource, id in records:
            statement = write_statements.insert_statement(resource).on(postgres())
            # Skips a record that equals another in a unique field, or whose references do not exist.
            sql = f"{statement.sql} ON CONFLICT DO NOTHING"
            yield sql, statement.bind(write_statements.column_values(resource.fields, sample_row(resource, id)))
        return TransactionResult(None)

    try:
        await directory.write(create)
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(
            "a trial needs the tables of a migrated database, and the right to create temporary ones (TEMPORARY)"
        ) from error


def explain(url: str, sql: str, parameters: tuple[Any, ...], filtered: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the lines of a query's generic plan and the warnings; `filtered` are the tables that it searches.

    The query is not run.

    Raises:
        DatabaseUnavailable: PostgreSQL cannot be reached, or cannot plan it.
    """
    return asyncio.run(_explain(url, sql, len(parameters), filtered))


async def _explain(url: str, sql: str, count: int, filtered: Collection[str]) -> tuple[list[str], list[str]]:
    connection = await connect(postgres_address(url), SECONDS)
    parameters = f"({', '.join(['NULL'] * count)})" if count else ""
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(f"PREPARE explained AS {sql}")
            lines = [line for (line,) in await connection.fetch(f"EXPLAIN EXECUTE explained{parameters}")]
            await connection.execute(_AS_IF_LARGE)
            ((plan,),) = await connection.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE explained{parameters}")
    except asyncpg.PostgresError as error:
        raise DatabaseUnavailable(getattr(translate_error(error), "detail", None) or str(error)) from error
    finally:
        connection.terminate()
    return lines, list(dict.fromkeys(_warnings(orjson.loads(plan)[0]["Plan"], filtered)))


def _warnings(node: dict[str, Any], filtered: Collection[str]) -> Iterator[str]:
    type, table = node["Node Type"], node.get("Relation Name", "")
    if type in ("Seq Scan", "Index Scan", "Index Only Scan") and "Index Cond" not in node and table in filtered:
        yield full_scan(table)
    if type == "Sort":
        yield SORT
    for child in node.get("Plans", ()):
        yield from _warnings(child, filtered)
