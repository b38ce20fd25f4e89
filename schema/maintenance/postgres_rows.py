"""Whether the rows of a PostgreSQL are what the models allow; of a large table's rows, a sample."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Table
from sqlmodel import SQLModel

from schema.engine.model.field import lower_case
from schema.engine.model.resource import Resource
from schema.engine.postgres.session import Connection
from schema.engine.sql.dialect import postgres
from schema.maintenance.finding import Finding

SAMPLE = 100_000  # rows


async def checks(what: str, connection: Connection) -> Finding:
    """The CHECKs of the models, whether or not the tables have them."""
    for table in SQLModel.metadata.sorted_tables:
        source = await _sampled(connection, table)
        for check in table.constraints:
            if isinstance(check, CheckConstraint):
                allowed = check.sqltext.compile(dialect=postgres(), compile_kwargs={"literal_binds": True})
                if await connection.fetchval(f"SELECT 1 FROM {source} WHERE NOT ({allowed}) LIMIT 1"):  # noqa: S608
                    wrong = f"rows of {table.name} are not as {check.name} has it"
                    return Finding(what, wrong, f"SELECT … WHERE NOT ({allowed}) lists them; mend them")
    return Finding(what, told="no row was found that breaks one")


async def references(what: str, connection: Connection) -> Finding:
    """The foreign keys of the models."""
    for table in SQLModel.metadata.sorted_tables:
        source = await _sampled(connection, table)
        for key in (key for column in table.columns for key in column.foreign_keys):
            far = key.column
            sql = (
                f'SELECT 1 FROM {source} WHERE near."{key.parent.name}" IS NOT NULL AND NOT EXISTS'  # noqa: S608
                f' (SELECT 1 FROM "{far.table.name}" AS far WHERE far."{far.name}" = near."{key.parent.name}") LIMIT 1'
            )
            if await connection.fetchval(sql):
                wrong = f"rows of {table.name} refer by {key.parent.name} to records that are not there"
                return Finding(what, wrong, "delete or mend them")
    return Finding(what, told="all lead to records that are there")


async def keys(what: str, connection: Connection, resource: Resource) -> Finding:
    """Lower-cased texts are stored beside the texts; they are right unless somebody wrote past Tandem."""
    source = await _sampled(connection, resource.table)
    for field in (field for field in resource.fields.values() if field.key_column):
        sql = f'SELECT id, "{field.name}", "{field.key_column}" FROM {source}'  # noqa: S608
        async for id, text, key in connection.cursor(sql, prefetch=1000):
            if key != (None if text is None else lower_case(text)):
                advice = f"change its {field.name} to another value and back, through the API"
                return Finding(what, f"{field.key_column} of {id} is not its {field.name} in lower case", advice)
    return Finding(what, told="each is its text in lower case")


async def _sampled(connection: Connection, table: Table) -> str:
    """A table's rows by the name `near`, or about so many of them as are looked at."""
    rows = await connection.fetchval("SELECT reltuples FROM pg_class WHERE oid = to_regclass($1)", f'"{table.name}"')
    share = min(100.0, 100 * SAMPLE / max(rows or 0, 1))
    sample = f" TABLESAMPLE SYSTEM ({share:.4f})" if share < 100 else ""
    return f'"{table.name}" AS near{sample}'
