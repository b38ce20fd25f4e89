"""Where the databases of a run come from: SQLite files or a PostgreSQL server. A database is a path or a URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Protocol

from benchmarks.data.dataset import Size
from benchmarks.peer import Owner, System
from schema.engine.database_url import is_postgres


class DatabaseServer(Protocol):
    """Provides filled databases."""

    @property
    def system(self) -> System: ...

    def copy(self, owner: Owner, size: Size) -> AbstractContextManager[str]:
        """A new copy of an owner's database, deleted afterwards."""

    def cpu(self) -> float:
        """The processor time of a separate server process in seconds; 0 where there is none."""

    def description(self) -> dict[str, str]:
        """Version and settings, for the results."""


@contextmanager
def open_server(name: str) -> Iterator[DatabaseServer]:
    """`sqlite`, `postgres` for an embedded server, or the URL of a PostgreSQL server."""
    # Imported late: they register models of their own, and a run on SQLite needs no PostgreSQL.
    if name == "sqlite":
        from benchmarks.data.sqlite import SQLiteFiles

        yield SQLiteFiles()
        return
    from benchmarks.data import postgres

    with postgres.external_server(name) if is_postgres(name) else postgres.embedded_server() as database_server:
        yield database_server


def fetch_row(database: str, sql: str) -> tuple[Any, ...]:
    """The single row of a statement."""
    if not is_postgres(database):
        with closing(sqlite3.connect(database)) as connection:
            return tuple(connection.execute(sql).fetchone())
    from benchmarks.data import postgres  # late, as above

    return tuple(postgres.fetch_rows(database, sql)[0])
