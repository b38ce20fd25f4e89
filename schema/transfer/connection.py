"""A connection for an import or an export, to either database, one statement after another."""

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
from schema.engine.sqlite import connection as sqlite_connection

LOCK_TIMEOUT = 30_000  # milliseconds that it waits for other writers
CACHE_SIZE = -65536  # KiB for each of SQLite's two databases: pages that fit are not written and read again
STATEMENT_TIMEOUT = 3600.0  # seconds, on PostgreSQL
BATCH_SIZE = 5000  # rows sent to the server at a time
Row = Sequence[Any]
Result = TypeVar("Result")


class Connection(ABC):
    """What an import or an export needs of a database."""

    dialect: Dialect

    def run(self, query: Executable | Statement, values: Mapping[str, Any] | None = None) -> list[Row]:
        """Run a statement and return its rows."""
        return self._run(query, values or {})[0]

    def count(self, query: Executable) -> int:
        """Run a statement and return how many rows it changed."""
        return self._run(query, {})[1]

    def define(self, *elements: ExecutableDDLElement) -> None:
        for element in elements:
            self.execute(str(element.compile(dialect=self.dialect)))

    @abstractmethod
    def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement once for each row."""

    @abstractmethod
    def batches(self, query: Executable | Statement, size: int) -> Iterator[list[Row]]:
        """The rows of a statement, `size` at a time. Needs a transaction."""

    @abstractmethod
    def begin(self, *, writing: bool, tables: Sequence[str] = ()) -> None:
        """Begin a transaction; with `writing`, as the only writer of these tables from the start."""

    @abstractmethod
    def execute(self, sql: str) -> None:
        """Run SQL that has neither values nor rows."""

    @abstractmethod
    def analyze(self, tables: Sequence[str]) -> None:
        """Update the statistics of temporary tables after they have been filled."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect and roll back what is not committed."""

    @abstractmethod
    def _run(self, query: Executable | Statement, values: Mapping[str, Any]) -> tuple[list[Row], int]: ...

    def _compiled(self, query: Executable | Statement) -> Statement:
        return (query if isinstance(query, Statement) else Statement(query)).on(self.dialect)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SQLiteConnection(Connection):
    dialect = SQLITE

    def __init__(self, path: str, *, query_only: bool = False, lock_timeout: int = LOCK_TIMEOUT) -> None:
        self._connection = sqlite_connection.connect(path, query_only=query_only)
        self.execute("PRAGMA temp_store=FILE")  # staged rows take as much space as the files that they come from
        self.execute(f"PRAGMA busy_timeout={lock_timeout}")
        for database in ("main", "temp"):
            self.execute(f"PRAGMA {database}.cache_size={CACHE_SIZE}")

    def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        self._connection.executemany(statement.sql, map(statement.bind, rows))

    def batches(self, query: Executable | Statement, size: int) -> Iterator[list[Row]]:
        statement = self._compiled(query)
        cursor = self._connection.execute(statement.sql, statement.bind({}))
        while rows := cursor.fetchmany(size):
            yield list(rows)

    def begin(self, *, writing: bool, tables: Sequence[str] = ()) -> None:
        self.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
        if writing:  # A row may refer to one that is inserted later in the same transaction.
            self.execute("PRAGMA defer_foreign_keys=ON")

    def execute(self, sql: str) -> None:
        self._connection.execute(sql)

    def analyze(self, tables: Sequence[str]) -> None:
        pass

    def close(self) -> None:
        self._connection.close()

    def _run(self, query: Executable | Statement, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        statement = self._compiled(query)
        cursor = self._connection.execute(statement.sql, statement.bind(values))
        return cursor.fetchall(), cursor.rowcount


class PostgresConnection(Connection):
    """A connection with an event loop of its own."""

    dialect = postgres()

    def __init__(self, url: str, *, lock_timeout: int = LOCK_TIMEOUT) -> None:
        self._runner = asyncio.Runner()
        try:
            self._connection = self._await(postgres_session.connect(postgres_address(url), STATEMENT_TIMEOUT))
        except BaseException:
            self._runner.close()
            raise
        self.execute(
            f"SET lock_timeout = {lock_timeout}; SET work_mem = '64MB'; SET plan_cache_mode = force_custom_plan"
        )

    def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        statement = self._compiled(statement)
        values = iter(map(statement.bind, rows))
        while batch := list(islice(values, BATCH_SIZE)):
            self._await(self._connection.executemany(statement.sql, batch))

    def batches(self, query: Executable | Statement, size: int) -> Iterator[list[Row]]:
        statement = self._compiled(query)

        async def open_cursor() -> Any:
            return await self._connection.cursor(statement.sql, *statement.bind({}))

        cursor = self._await(open_cursor())
        while rows := self._await(cursor.fetch(size)):
            yield rows

    def begin(self, *, writing: bool, tables: Sequence[str] = ()) -> None:
        self.execute("BEGIN" if writing else "BEGIN ISOLATION LEVEL REPEATABLE READ")
        if writing and tables:
            names = ", ".join(f'"{table}"' for table in tables)
            self.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")

    def execute(self, sql: str) -> None:
        self._await(self._connection.execute(sql))

    def analyze(self, tables: Sequence[str]) -> None:
        for table in tables:
            self.execute(f'ANALYZE "{table}"')

    def close(self) -> None:
        if not self._connection.is_closed():
            self._connection.terminate()
        self._runner.close()

    def _run(self, query: Executable | Statement, values: Mapping[str, Any]) -> tuple[list[Row], int]:
        async def fetch() -> tuple[list[Row], int]:
            statement = self._compiled(query)
            prepared = await self._connection.prepare(statement.sql)
            rows = await prepared.fetch(*statement.bind(values))
            number = prepared.get_statusmsg().rpartition(" ")[2]
            return rows, int(number) if number.isdigit() else 0

        return self._await(fetch())

    def _await(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(coroutine)


def connect(database: str, *, query_only: bool = False, lock_timeout: int = LOCK_TIMEOUT) -> Connection:
    """Connect to a database at a path or URL. `lock_timeout` is in milliseconds."""
    if is_postgres(database):
        return PostgresConnection(database, lock_timeout=lock_timeout)
    return SQLiteConnection(database, query_only=query_only, lock_timeout=lock_timeout)


@contextmanager
def translated_errors(database: str) -> Iterator[None]:
    """Turn the driver's exceptions into the engine's errors.

    Keeps the driver's text: the importing user has access to the database itself.
    """
    try:
        yield
    except (sqlite3.Error, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        translated = (
            postgres_session.translate_error(error)
            if is_postgres(database)
            else sqlite_connection.translate_error(error)
        )
        if isinstance(translated, DatabaseUnavailable):
            raise DatabaseUnavailable(f"{translated.detail}: {error}") from error
        raise (translated if isinstance(translated, DirectoryError) else error) from error
