"""Whether the tables of a PostgreSQL are what the models say, with all that keeps them so."""

from __future__ import annotations

from schema.engine.postgres.session import Connection
from schema.maintenance.finding import Finding
from schema.migrations import commands


async def text(what: str, connection: Connection) -> Finding:
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        return Finding(what, f"it is stored as {encoding}", "export, make a database in UTF8, migrate it, import")
    sql = (
        "SELECT c.relname || '.' || a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " JOIN pg_collation AS o ON o.oid = a.attcollation WHERE c.oid = ANY($1) AND a.attnum > 0"
        " AND NOT a.attisdropped AND o.collname <> 'C' ORDER BY 1"
    )
    others = [name for (name,) in await connection.fetch(sql, await _own(connection))]
    if others:
        advice = 'ALTER TABLE … ALTER COLUMN … TYPE … COLLATE "C": pages come in another order until then'
        return Finding(what, f"{', '.join(others[:5])}: sorted otherwise than by code point", advice)
    return Finding(what, told=f"{encoding}, sorted by code point whatever the server's locale is")


async def search(what: str, connection: Connection) -> Finding:
    found = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'pg_trgm'")
    if found is None:
        return Finding(what, "the extension pg_trgm is not there", "CREATE EXTENSION pg_trgm, then `migrate`")
    return Finding(what, told=f"pg_trgm {found}")


async def migration(what: str, connection: Connection) -> Finding:
    found = await connection.fetchval("SELECT version_num FROM alembic_version")
    if found == commands.newest():
        return Finding(what, told=f"{found}, the newest")
    return Finding(what, f"it is at {found}, and {commands.newest()} is the newest", "`python -m api migrate`")


async def indexes(what: str, connection: Connection) -> Finding:
    sql = (
        "SELECT i.indexrelid::regclass::text FROM pg_index AS i WHERE i.indrelid = ANY($1)"
        " AND NOT (i.indisvalid AND i.indisready) ORDER BY 1"
    )
    broken = [name for (name,) in await connection.fetch(sql, await _own(connection))]
    if broken:
        return Finding(what, f"not valid: {', '.join(broken)}", f"REINDEX INDEX CONCURRENTLY {broken[0]}")
    return Finding(what, told="all are valid")


async def constraints(what: str, connection: Connection) -> Finding:
    tables = await _own(connection)
    sql = "SELECT conrelid::regclass::text, conname::text FROM pg_constraint WHERE conrelid = ANY($1)"
    unproven = await connection.fetch(f"{sql} AND NOT convalidated ORDER BY 1, 2", tables)
    if unproven:
        table, name = unproven[0]
        return Finding(
            what, f"{name} was never checked for old rows", f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
        )
    there = {name for _, name in await connection.fetch(sql, tables)}
    missing = sorted(set(commands.constraints()) - there)
    if missing:
        return Finding(what, f"missing: {', '.join(missing)}", "make them anew, as the migrations have them")
    off = await connection.fetchval(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgrelid = ANY($1) AND tgenabled <> 'O'", tables
    )
    if off:
        return Finding(what, f"foreign keys of {off} are switched off", f"ALTER TABLE {off} ENABLE TRIGGER ALL")
    return Finding(what, told="all are there, and hold for every row")


def drifted(url: str) -> Finding:
    try:
        differences = commands.drift(url)
    except Exception as error:  # That it cannot be looked at is a finding as well.
        return Finding("tables", f"they could not be looked at: {type(error).__name__}", "see to what is amiss above")
    if not differences:
        return Finding("tables", told="they are what the models say")
    wrong = f"they differ from the models in {len(differences)} places: {str(differences[0])[:200]}"
    return Finding("tables", wrong, "`python -m api migrate`, or undo what was changed by hand")


async def _own(connection: Connection) -> list[int]:
    """The directory's own tables, as they are found without a schema."""
    names = [f'"{name}"' for name in commands.tables()]
    rows = await connection.fetch("SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name", names)
    return [oid for (oid,) in rows if oid is not None]
