"""What holds the databases of a run: SQLite's files, or a PostgreSQL. A database's place is a path, or a URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Protocol

from benchmarks.people import Size
from benchmarks.roster import Owner, System
from schema.engine.database_url import is_postgres


class Store(Protocol):
    """What holds the databases of a run."""

    @property
    def system(self) -> System:
        """Which of the two it is."""

    def copied(self, owner: Owner, size: Size) -> AbstractContextManager[str]:
        """The place of a fresh copy of an owner's database, gone afterwards."""

    def cpu(self) -> float:
        """The seconds of processor time that it has taken beside the peers'; 0 where there are none to tell."""

    def described(self) -> dict[str, str]:
        """Its version and settings, for the page."""


@contextmanager
def opened(asked: str) -> Iterator[Store]:
    """As asked for: `sqlite`, `postgres` for a cluster of our own, or the URL of a PostgreSQL."""
    # Only here: what makes databases brings models of its own, and a run on SQLite needs no server.
    if asked == "sqlite":
        from benchmarks.databases import Files

        yield Files()
        return
    from benchmarks import postgres

    with postgres.given(asked) if is_postgres(asked) else postgres.running() as store:
        yield store


def row(place: str, sql: str) -> tuple[Any, ...]:
    """The one row of a statement."""
    if not is_postgres(place):
        with closing(sqlite3.connect(place)) as connection:
            return tuple(connection.execute(sql).fetchone())
    from benchmarks import postgres  # only here, too

    return tuple(postgres.rows(place, sql)[0])
