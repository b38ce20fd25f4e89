"""How a PostgreSQL is set up and used: what about it, beside its tables, would do a directory harm."""

from __future__ import annotations

from dataclasses import dataclass

from schema.engine.database_url import display_name, postgres_address
from schema.engine.errors import DirectoryError
from schema.engine.postgres.replica import REMEMBERED
from schema.engine.postgres.session import LAG, Connection, connect
from schema.maintenance.finding import Finding

MEGABYTE = 2**20
SECONDS = 5.0  # that a replica may take to answer
OLDEST = 14
# Transactions that a database may be behind in its cleaning; past 2**31 it stops, to lose nothing.
OLDEST_ROW = 1_000_000_000
SAFETY = ("fsync", "full_page_writes", "synchronous_commit", "default_transaction_read_only")
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@dataclass(frozen=True, slots=True)
class Used:
    """How a server is used: by how many connections of this machine, and which replica is read."""

    connections: int
    replica: str | None = None


async def server(what: str, connection: Connection, url: str) -> Finding:
    version, number = await connection.fetchval("SHOW server_version"), connection.get_server_version().major
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    between = await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid()
    told = f"{display_name(url)}, PostgreSQL {version.split()[0]}, {size / MEGABYTE:,.1f} MiB"
    if number < OLDEST:
        return Finding(what, f"it is PostgreSQL {version}", f"take {OLDEST} or newer: nothing older is tested")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return Finding(what, "it is a standby, which cannot be written to", "name the primary in DATABASE_URL")
    return Finding(what, told=f"{told}{', through a pooler' if between else ''}")


async def settings(what: str, connection: Connection) -> Finding:
    found = {name: await connection.fetchval(f"SHOW {name}") for name in SAFETY}
    if found["default_transaction_read_only"] == "on":
        return Finding(what, "default_transaction_read_only is on", "set it to off: no change is taken meanwhile")
    loose = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if found[name] == "off"]
    if loose:
        wrong = f"{', '.join(f'{name} is {found[name]}' for name in loose)}: what was acknowledged can be lost"
        return Finding(what, wrong, f"set {', '.join(loose)} to on")
    return Finding(what, told="what is acknowledged is on the disk")


async def limits(what: str, connection: Connection, pooled: bool) -> Finding:
    """Sessions of our own bring their limits with them; a pooler's have those of the role."""
    found = {name: await connection.fetchval(f"SHOW {name}") for name in LIMITS}
    none = [name for name, limit in found.items() if limit == "0"]
    if pooled and none:
        advice = f"ALTER ROLE … SET {none[0]} = '15s', and so on: a pooler passes none on with a connection"
        return Finding(what, f"no limit for {', '.join(none)}", advice)
    told = ", ".join(f"{name} {limit}" for name, limit in found.items()) if pooled else "each session sets its own"
    return Finding(what, told=told)


async def connections(what: str, connection: Connection, used: Used) -> Finding:
    sql = (
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true), '0')::int AS there,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS open,"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,"
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database"
    )
    there, open_, *limits = await connection.fetchrow(sql)
    there = min([there, *(limit for limit in limits if limit >= 0)])
    told = f"this machine takes up to {used.connections}, {there} may be open, {open_} are"
    if used.connections > there:
        advice = "lower TANDEM_POOL or WEB_CONCURRENCY, or raise max_connections: docs/scaling.md has the formula"
        return Finding(what, told, advice)
    return Finding(what, told=told)


async def cleaning(what: str, connection: Connection) -> Finding:
    age = await connection.fetchval("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()")
    told = f"{age:,} transactions since the oldest row was frozen"
    if age > OLDEST_ROW:
        advice = "VACUUM FREEZE, and see why autovacuum does not keep up: an old transaction, or a replication slot?"
        return Finding(what, told, advice)
    return Finding(what, told=told)


async def replica(what: str, url: str | None) -> Finding:
    assert url is not None
    advice = "see to TANDEM_READ_DATABASE_URL and its server; the primary is read meanwhile"
    try:
        connection = await connect(postgres_address(url), SECONDS)
    except DirectoryError as error:
        return Finding(what, f"{display_name(url)}: {error.detail}", advice)
    try:
        (lag,) = await connection.fetchrow(LAG)
    finally:
        connection.terminate()
    if lag is None:
        return Finding(what, f"{display_name(url)} is no standby", "name a streaming replica of the primary")
    told = f"{display_name(url)} is {lag:.1f} s behind"
    if lag > REMEMBERED:
        return Finding(
            what, told, f"beyond {REMEMBERED:.0f} s people may miss what they have written: see what holds it up"
        )
    return Finding(what, told=told)
