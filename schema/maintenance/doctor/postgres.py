"""Checks of a PostgreSQL database: server, configuration, tables, rows and replica.

They change nothing: every check is a read-only transaction with a time limit, and samples large tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import CheckConstraint, Table
from sqlmodel import SQLModel

from schema.engine.database_url import display_name, postgres_address
from schema.engine.errors import DirectoryError
from schema.engine.model.field import lower_case
from schema.engine.model.resource import Resource
from schema.engine.postgres.replica import READ_OWN_WRITES_SECONDS
from schema.engine.postgres.session import LAG_SQL, Connection, connect, translate_error
from schema.engine.sql.dialect import postgres
from schema.maintenance.doctor.finding import Finding, key_finding, migration_finding, tables_finding
from schema.migrations import commands

MEGABYTE = 2**20
CHECK_TIMEOUT = 60.0  # seconds
REPLICA_TIMEOUT = 5.0  # seconds
MIN_VERSION = 14
# Transactions since the oldest row was frozen; PostgreSQL refuses writes before 2**31.
MAX_TRANSACTION_AGE = 1_000_000_000
SAMPLE_SIZE = 100_000  # rows
MAX_LISTED = 5
SAFETY_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit", "default_transaction_read_only")
TIMEOUT_SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

Check = Callable[[str, Connection], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class ServerUsage:
    """How this host uses the server: the most connections that it opens, and the URL of the replica that it reads."""

    connections: int
    replica: str | None = None


def run_checks(url: str, resources: Sequence[Resource], usage: ServerUsage) -> Iterator[Finding]:
    findings = asyncio.run(_run_checks(url, resources, usage))
    yield from findings
    if len(findings) > 1:
        yield _check_tables(url)


async def _run_checks(url: str, resources: Sequence[Resource], usage: ServerUsage) -> list[Finding]:
    try:
        connection = await connect(postgres_address(url), CHECK_TIMEOUT)
    except DirectoryError as error:
        return [Finding("server", f"{display_name(url)}: {error.detail}", "check DATABASE_URL and the server")]
    try:
        checks: dict[str, Check] = {
            "server": partial(_check_server, url=url),
            "text": _check_text,
            "search": _check_search,
            "migration": _check_migration,
            "settings": _check_safety_settings,
            "limits": partial(_check_timeouts, pooled=postgres_address(url).pooled),
            "connections": partial(_check_connections, usage=usage),
            "indexes": _check_indexes,
            "constraints": _check_constraints,
            "cleaning": _check_transaction_age,
            "checks": _check_rows,
            "references": _check_references,
            **{f"keys of {resource.plural}": partial(_check_keys, resource=resource) for resource in resources},
        }
        findings = [finding async for finding in _each(checks, connection)]
    finally:
        connection.terminate()
    return [*findings, await _check_replica("replica", usage.replica)] if usage.replica else findings


async def _each(checks: dict[str, Check], connection: Connection) -> AsyncIterator[Finding]:
    for name, check in checks.items():
        try:
            async with connection.transaction(readonly=True):
                yield await check(name, connection)
        except Exception as error:  # A check that fails is a finding as well.
            reason = getattr(translate_error(error), "detail", None) or str(error)
            yield Finding(name, f"the check failed: {reason}", "correct the problems above, then check again")


async def _check_server(name: str, connection: Connection, url: str) -> Finding:
    version, number = await connection.fetchval("SHOW server_version"), connection.get_server_version().major
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    pooled = await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid()
    if number < MIN_VERSION:
        return Finding(name, f"PostgreSQL {version} is too old", f"use PostgreSQL {MIN_VERSION} or newer")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return Finding(name, "is a standby, which is read-only", "set DATABASE_URL to the primary")
    detail = f"{display_name(url)}, PostgreSQL {version.split()[0]}, {size / MEGABYTE:,.1f} MiB"
    return Finding(name, detail=f"{detail}{', through a pooler' if pooled else ''}")


async def _check_text(name: str, connection: Connection) -> Finding:
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        advice = "export, create a database in UTF8, migrate it, and import into it"
        return Finding(name, f"the encoding is {encoding}, expected UTF8", advice)
    sql = (
        "SELECT c.relname || '.' || a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " JOIN pg_collation AS o ON o.oid = a.attcollation WHERE c.oid = ANY($1) AND a.attnum > 0"
        " AND NOT a.attisdropped AND o.collname <> 'C' ORDER BY 1"
    )
    columns = [column for (column,) in await connection.fetch(sql, await _table_oids(connection))]
    if columns:
        advice = 'ALTER TABLE … ALTER COLUMN … TYPE … COLLATE "C": lists come in another order until then'
        return Finding(name, f"{', '.join(columns[:MAX_LISTED])}: not sorted by code point", advice)
    return Finding(name, detail=f"{encoding}, sorted by code point")


async def _check_search(name: str, connection: Connection) -> Finding:
    version = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'pg_trgm'")
    if version is None:
        advice = "CREATE EXTENSION pg_trgm, then `python -m api migrate`"
        return Finding(name, "the extension pg_trgm is missing", advice)
    return Finding(name, detail=f"pg_trgm {version}")


async def _check_migration(name: str, connection: Connection) -> Finding:
    return migration_finding(name, await connection.fetchval("SELECT version_num FROM alembic_version"))


async def _check_safety_settings(name: str, connection: Connection) -> Finding:
    settings = {setting: await connection.fetchval(f"SHOW {setting}") for setting in SAFETY_SETTINGS}
    if settings["default_transaction_read_only"] == "on":
        return Finding(name, "default_transaction_read_only is on: writes fail", "set it to off")
    unsafe = [setting for setting in ("fsync", "full_page_writes", "synchronous_commit") if settings[setting] == "off"]
    if unsafe:
        problem = f"{', '.join(f'{setting} is off' for setting in unsafe)}: acknowledged writes can be lost"
        return Finding(name, problem, f"set {', '.join(unsafe)} to on")
    return Finding(name, detail="acknowledged writes are durable")


async def _check_timeouts(name: str, connection: Connection, pooled: bool) -> Finding:
    """Sessions of our own set their timeouts; behind a pooler they have those of the role."""
    timeouts = {setting: await connection.fetchval(f"SHOW {setting}") for setting in TIMEOUT_SETTINGS}
    unset = [setting for setting, timeout in timeouts.items() if timeout == "0"]
    if pooled and unset:
        advice = f"ALTER ROLE … SET {unset[0]} = '15s', and so on: a pooler does not pass them with a connection"
        return Finding(name, f"no {', '.join(unset)}", advice)
    values = ", ".join(f"{setting} {timeout}" for setting, timeout in timeouts.items())
    return Finding(name, detail=values if pooled else "each session sets its own")


async def _check_connections(name: str, connection: Connection, usage: ServerUsage) -> Finding:
    sql = (
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true), '0')::int AS available,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS open,"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,"
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database"
    )
    available, open_, *limits = await connection.fetchrow(sql)
    available = min([available, *(limit for limit in limits if limit >= 0)])
    detail = f"this host opens up to {usage.connections}, the server allows {available}, {open_} are open"
    if usage.connections > available:
        advice = "lower TANDEM_POOL or WEB_CONCURRENCY, or raise max_connections (docs/scaling.md has the formula)"
        return Finding(name, detail, advice)
    return Finding(name, detail=detail)


async def _check_indexes(name: str, connection: Connection) -> Finding:
    sql = (
        "SELECT i.indexrelid::regclass::text FROM pg_index AS i WHERE i.indrelid = ANY($1)"
        " AND NOT (i.indisvalid AND i.indisready) ORDER BY 1"
    )
    invalid = [index for (index,) in await connection.fetch(sql, await _table_oids(connection))]
    if invalid:
        return Finding(name, f"not valid: {', '.join(invalid)}", f"REINDEX INDEX CONCURRENTLY {invalid[0]}")
    return Finding(name, detail="all are valid")


async def _check_constraints(name: str, connection: Connection) -> Finding:
    tables = await _table_oids(connection)
    sql = "SELECT conrelid::regclass::text, conname::text FROM pg_constraint WHERE conrelid = ANY($1)"
    not_validated = await connection.fetch(f"{sql} AND NOT convalidated ORDER BY 1, 2", tables)
    if not_validated:
        table, constraint = not_validated[0]
        advice = f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"
        return Finding(name, f"{constraint} is not validated for existing rows", advice)
    existing = {constraint for _, constraint in await connection.fetch(sql, tables)}
    missing = sorted(set(commands.constraints()) - existing)
    if missing:
        return Finding(name, f"missing: {', '.join(missing)}", "create them again as in the migrations")
    disabled = await connection.fetchval(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgrelid = ANY($1) AND tgenabled <> 'O'", tables
    )
    if disabled:
        return Finding(name, f"foreign keys of {disabled} are disabled", f"ALTER TABLE {disabled} ENABLE TRIGGER ALL")
    return Finding(name, detail="all exist and are validated")


async def _check_transaction_age(name: str, connection: Connection) -> Finding:
    age = await connection.fetchval("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()")
    detail = f"{age:,} transactions since the oldest row was frozen"
    if age > MAX_TRANSACTION_AGE:
        advice = "VACUUM FREEZE, and check for an old transaction or a replication slot that holds autovacuum back"
        return Finding(name, detail, advice)
    return Finding(name, detail=detail)


async def _check_rows(name: str, connection: Connection) -> Finding:
    """The models' CHECK constraints, whether or not the tables have them."""
    for table in SQLModel.metadata.sorted_tables:
        source = await _sample(connection, table)
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint):
                allowed = constraint.sqltext.compile(dialect=postgres(), compile_kwargs={"literal_binds": True})
                if await connection.fetchval(f"SELECT 1 FROM {source} WHERE NOT ({allowed}) LIMIT 1"):  # noqa: S608
                    problem = f"rows of {table.name} violate {constraint.name}"
                    return Finding(name, problem, f"SELECT … WHERE NOT ({allowed}) lists them; correct them")
    return Finding(name, detail="no row violates one")


async def _check_references(name: str, connection: Connection) -> Finding:
    for table in SQLModel.metadata.sorted_tables:
        source = await _sample(connection, table)
        for key in (key for column in table.columns for key in column.foreign_keys):
            target = key.column
            sql = (
                f'SELECT 1 FROM {source} WHERE source."{key.parent.name}" IS NOT NULL AND NOT EXISTS'  # noqa: S608
                f' (SELECT 1 FROM "{target.table.name}" AS target'
                f' WHERE target."{target.name}" = source."{key.parent.name}") LIMIT 1'
            )
            if await connection.fetchval(sql):
                problem = f"rows of {table.name} refer by {key.parent.name} to missing records"
                return Finding(name, problem, "delete or correct them")
    return Finding(name, detail="all refer to existing records")


async def _check_keys(name: str, connection: Connection, resource: Resource) -> Finding:
    """Compare lower-cased key columns with their texts: they differ only where something else wrote to the table."""
    source = await _sample(connection, resource.table)
    for field in (field for field in resource.fields.values() if field.key_column):
        sql = f'SELECT id, "{field.name}", "{field.key_column}" FROM {source}'  # noqa: S608
        async for record_id, text, key in connection.cursor(sql, prefetch=1000):
            if key != (None if text is None else lower_case(text)):
                return key_finding(name, field.name, field.key_column, record_id)
    return Finding(name, detail="match their texts in lower case")


def _check_tables(url: str) -> Finding:
    try:
        return tables_finding("tables", url)
    except Exception as error:  # A check that fails is a finding as well.
        return Finding("tables", f"the check failed: {type(error).__name__}", "correct the problems above")


async def _check_replica(name: str, url: str) -> Finding:
    advice = "check TANDEM_READ_DATABASE_URL and its server; reads go to the primary meanwhile"
    try:
        connection = await connect(postgres_address(url), REPLICA_TIMEOUT)
    except DirectoryError as error:
        return Finding(name, f"{display_name(url)}: {error.detail}", advice)
    try:
        (lag,) = await connection.fetchrow(LAG_SQL)
    finally:
        connection.terminate()
    if lag is None:
        return Finding(name, f"{display_name(url)} is not a standby", "set it to a streaming replica of the primary")
    detail = f"{display_name(url)} is {lag:.1f} s behind"
    if lag > READ_OWN_WRITES_SECONDS:
        advice = (
            f"beyond {READ_OWN_WRITES_SECONDS:.0f} s clients may not read their own writes: "
            "check what delays replication"
        )
        return Finding(name, detail, advice)
    return Finding(name, detail=detail)


async def _sample(connection: Connection, table: Table) -> str:
    """A FROM item named `source`: the table, or a sample of about `SAMPLE_SIZE` of its rows."""
    rows = await connection.fetchval("SELECT reltuples FROM pg_class WHERE oid = to_regclass($1)", f'"{table.name}"')
    percentage = min(100.0, 100 * SAMPLE_SIZE / max(rows or 0, 1))
    sample = f" TABLESAMPLE SYSTEM ({percentage:.4f})" if percentage < 100 else ""
    return f'"{table.name}" AS source{sample}'


async def _table_oids(connection: Connection) -> list[int]:
    """Tandem's tables, as the search path resolves their names."""
    names = [f'"{name}"' for name in commands.tables()]
    rows = await connection.fetch("SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name", names)
    return [oid for (oid,) in rows if oid is not None]
