"""A connection that an import or an export has to itself, to either database, one statement after another."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.ddl import ExecutableDDLElement

from schema.engine.database_url import is_postgres, postgres_address
from schema.engine.errors import DatabaseUnavailable, DirectoryError
from schema.engine.postgres import session as postgres_session
from schema.engine.sql.dialect import SQLITE, postgres
from schema.engine.sql.statement import Statement
from schema.engine.sqlite import connection

PATIENCE = 30_000  # milliseconds until it gives up waiting for other writers
PAGES_KEPT = -65536  # KiB of each of SQLite's two databases: what fits is not written and read over and over
LONGEST = 3600.0  # seconds that a statement of an import may take on PostgreSQL
FETCHED = 5000
Row = Sequence[Any]
Done = TypeVar("Done")


class Session(ABC):
    """The connection."""

    dialect: Dialect

    def run(self, asked: Executable | Statement, values: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a statement."""
        return self._run(asked, values or {})[0]

    def count(self, asked: Executable) -> int:
        """How many rows a statement has changed."""
        return self._run(asked, {})[1]

    def _written(self, asked: Executable | Statement) -> Statement:
        return (asked if isinstance(asked, Statement) else Statement(asked)).on(self.dialect)

    def define(self, *elements: ExecutableDDLElement) -> None:
        """Run definitions."""
        for element in elements:
            self.say(str(element.compile(dialect=self.dialect)))

    @abstractmethod
    def _run(self, asked: Executable | Statement, values: Mapping[str, Any]) -> tuple[list[Row], int]: ...

    @abstractmethod
    def run_many(self, asked: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement for each row."""

    @abstractmethod
    def batches(self, asked: Executable | Statement) -> Iterator[list[Row]]:
        """The rows of a statement, some at a time; within a transaction."""

    @abstractmethod
    def begin(self, *, writing: bool, tables: Sequence[str] = ()) -> None:
        """Begin a transaction; if it is to write, at once as the only writer of these tables."""

    @abstractmethod
    def say(self, sql: str) -> None:
        """Run what has neither values nor rows."""

    @abstractmethod
    def prepare(self, tables: Sequence[str]) -> None:
        """Called when temporary tables have been filled."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect; what is not committed is undone."""

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class File(Session):
    """SQLite's."""

    dialect = SQLITE

    def __init__(self, path: str, *, query_only: bool = False) -> None:
        self._connection = connection.connect(path, query_only=query_only)
        self.say("PRAGMA temp_store=FILE")  # what an import stages is as large as its files
        self.say(f"PRAGMA busy_timeout={PATIENCE}")
        for schema in ("main", "temp"):
            self.say(f"PRAGMA {schema}.cache_size={PAGES_KEPT}")

    def _run(self, asked: Executable | Statement, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        statement = self._written(asked)
        cursor = self._connection.execute(statement.sql, statement.bind(values))
        return cursor.fetchall(), cursor.rowcount

    def run_many(self, asked: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        self._connection.executemany(asked.sql, map(asked.bind, rows))

    def batches(self, asked: Executable | Statement) -> Iterator[list[Row]]:
        statement = self._written(asked)
        cursor = self._connection.execute(statement.sql, statement.bind({}))
        while rows := cursor.fetchmany(FETCHED):
            yield list(rows)

    def begin(self, *, writing: bool, tables: Sequence[str] = ()) -> None:
        self.say("BEGIN IMMEDIATE" if writing else "BEGIN")
        if writing:  # No row refers to one that will not be there, but it may be there only later.
            self.say("PRAGMA defer_foreign_keys=ON")

    def say(self, sql: str) -> None:
        self._connection.execute(sql)

    def prepare(self, tables: Sequence[str]) -> None:
        pass

    def close(self) -> None:
        self._connection.close()


class Server(Session):
    """PostgreSQL's, on an event loop of its own."""

    dialect = postgres()

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        try:
            self._connection = self._await(postgres_session.connect(postgres_address(url), LONGEST))
        except BaseException:
            self._runner.close()
            raise
        self.say(f"SET lock_timeout = {PATIENCE}; SET work_mem = '64MB'; SET plan_cache_mode = force_custom_plan")

    def _await(self, doing: Coroutine[Any, Any, Done]) -> Done:
        return self._runner.run(doing)

    def _run(self, asked: Executable | Statement, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        async def running() -> tuple[list[Row], int]:
            statement = self._written(asked)
            prepared = await self._connection.prepare(statement.sql)
            rows = await prepared.fetch(*statement.bind(values))
            number = prepared.get_statusmsg().rpartition(" ")[2]
            return rows, int(number) if number.isdigit() else 0

        return self._await(running())

    def run_many(self, asked: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        statement = self._written(asked)
        values = iter(map(statement.bind, rows))
        while some := list(islice(values, FETCHED)):
            self._await(self._connection.executemany(statement.sql, some))

    def batches(self, asked: Executable | Statement) -> Iterator[list[Row]]:
        statement = self._written(asked)

        async def opened() -> Any:
            return await self._connection.cursor(statement.sql, *statement.bind({}))

        cursor = self._await(opened())
        while rows := self._await(cursor.fetch(FETCHED)):
            yield rows

    def begin(self, *, writing: bool, tables: Sequence[str] = ()) -> None:
        self.say("BEGIN" if writing else "BEGIN ISOLATION LEVEL REPEATABLE READ")
        if writing and tables:
            names = ", ".join(f'"{table}"' for table in tables)
            self.say(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def say(self, sql: str) -> None:
        self._await(self._connection.execute(sql))

    def prepare(self, tables: Sequence[str]) -> None:
        for table in tables:
            self.say(f'ANALYZE "{table}"')

    def close(self) -> None:
        if not self._connection.is_closed():
            self._connection.terminate()
        self._runner.close()


def session(place: str, *, query_only: bool = False) -> Session:
    """A session with a database, whichever it is."""
    return Server(place) if is_postgres(place) else File(place, query_only=query_only)


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Raise what goes wrong as it is meant; with the database's own words, for who imports has it at hand."""
    try:
        yield
    except (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        meant = postgres_session.meaning(error) if is_postgres(place) else connection.meaning(error)
        if isinstance(meant, DatabaseUnavailable):
            raise DatabaseUnavailable(f"{meant.detail}: {error}") from error
        raise (meant if isinstance(meant, DirectoryError) else error) from error
