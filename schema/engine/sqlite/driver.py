"""The SQLite driver: short reads on the event loop's thread, longer ones on reader threads, writes on one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from schema.engine.changes import TransactionResult
from schema.engine.concurrency import DEFAULT_SHARE
from schema.engine.driver import Query, QueryGenerator, StatementObserver, TransactionFunction
from schema.engine.errors import DatabaseCorrupt, DatabaseUnavailable
from schema.engine.metrics import Connections, DriverTimings, Histogram
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.connection import connect, translate_error
from schema.engine.sqlite.database_file import FileIdentity, file_identity
from schema.engine.sqlite.inline_reader import IDENTITY_TTL, InlineReader
from schema.engine.sqlite.readers import Readers
from schema.engine.sqlite.writer import Writer

# With the default share, one actor may hold one reader; two while fewer than half of them are busy.
READERS = 4
FAILURE_TTL = 1.0  # seconds for which a failed write makes `check` fail


class SQLiteDriver:
    """A `Driver` over a SQLite file."""

    def __init__(
        self,
        path: str,
        deadline: float,
        on_commit: Callable[[Any], None],
        timings: DriverTimings,
        on_statement: StatementObserver | None = None,
        share: int = DEFAULT_SHARE,
    ) -> None:
        self._path = path
        self._inline_timings, self._read_timings, self._write_timings = timings
        self._inline_reader = InlineReader(path, partial(connect, path, on_statement, query_only=True))
        self._readers = Readers(path, deadline, READERS, on_statement, share)
        self._writer = Writer(path, deadline, on_commit, on_statement)
        self._identity: FileIdentity | None = None
        self._check_file_at = 0.0

    async def open(self) -> None:
        """Connect, or raise `DatabaseUnavailable` if there is no such file."""
        _check_exists(self._path)
        await self._writer.open()
        await self._readers.open()
        self._inline_reader.open()

    async def close(self) -> None:
        self._inline_reader.close()
        await self._readers.close()
        await self._writer.close()

    async def check(self) -> None:
        if self._writer.corrupt or self._readers.corrupt:
            raise DatabaseCorrupt("the database file is corrupt")
        await self.read([("SELECT count(*) FROM sqlite_schema", ())])
        if monotonic() - self._writer.failed_at < FAILURE_TTL:
            raise DatabaseUnavailable("the database cannot be written to")
        await self.write(_empty_transaction)

    async def read(self, queries: Sequence[Query], owner: Hashable = None) -> list[Rows]:
        started = perf_counter()
        rows: list[Rows] | None = self._inline_reader.read(queries, share_snapshot=not self._writer.is_busy())
        if rows is not None:
            self._inline_timings.observe(queries, started)
            return rows
        try:
            return await self._readers.read(queries, owner)
        finally:
            self._read_timings.observe(queries, started)

    async def read_fresh(self, queries: Sequence[Query]) -> list[Rows]:
        """Read over a new connection. It blocks the event loop, so keep such reads rare and short."""
        _check_exists(self._path)
        try:
            with closing(connect(self._path, query_only=True, busy_timeout=0)) as connection:
                return [connection.execute(query[0], query[1]).fetchall() for query in queries]
        except sqlite3.Error as error:
            raise translate_error(error) from error

    async def write(
        self, transaction: TransactionFunction, owner: Hashable = None, *, independent: bool = False
    ) -> Any:
        started = perf_counter()
        self._inline_reader.release_snapshot()
        try:
            return await self._writer.run(transaction)
        finally:
            self._write_timings.observe(transaction, started)

    def generation(self) -> Hashable:
        """Return the identity of the file at the path, cached for `IDENTITY_TTL`; None if there is none."""
        if (now := monotonic()) > self._check_file_at:
            self._identity, self._check_file_at = file_identity(self._path), now + IDENTITY_TTL
        return self._identity

    def waiting(self) -> dict[str, int]:
        return {"readers": self._readers.waiting, "writer": self._writer.waiting()}

    def connections(self) -> dict[str, Connections]:
        return {}

    async def lag(self) -> float | None:
        return None

    @property
    def commit_sizes(self) -> Histogram:
        return self._writer.commit_sizes


def _empty_transaction() -> QueryGenerator:
    """Take the write lock, and change nothing."""
    yield from ()
    return TransactionResult(None)


def _check_exists(path: str) -> None:
    if not Path(path).is_file():
        raise DatabaseUnavailable(f"there is no database at {path}: run the migrations to create it")
