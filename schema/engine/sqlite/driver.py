"""SQLite as a directory's database: a file, read at a glance or by the readers' lanes, written by one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from schema.engine.changes import TransactionResult
from schema.engine.concurrency import QUARTER
from schema.engine.driver import Query, QueryGenerator, StatementObserver, TransactionFunction
from schema.engine.errors import DatabaseCorrupt, DatabaseUnavailable
from schema.engine.metrics import Connections, Histogram, QueryTimings
from schema.engine.sql.record_lookup import Rows
from schema.engine.sqlite.connection import connect, meaning
from schema.engine.sqlite.database_file import Identity, identity
from schema.engine.sqlite.inline_reader import TRUST, InlineReader
from schema.engine.sqlite.readers import Readers
from schema.engine.sqlite.writer import Writer

# One credential may hold two of them while the others are idle, else one.
READERS = 4
LATELY = 1.0  # seconds for which a write that failed is taken to say how the next one will end


class SQLiteDriver:
    """The lanes to a file. Open it before use, and close it."""

    def __init__(
        self,
        path: str,
        deadline: float,
        committed: Callable[[Any], None],
        trips: tuple[QueryTimings, QueryTimings, QueryTimings],
        watch: StatementObserver | None = None,
        share: int = QUARTER,
    ) -> None:
        self._path = path
        self._glances, self._reads, self._writes = trips
        self._glance = InlineReader(path, partial(connect, path, watch=watch, query_only=True))
        self._readers = Readers(path, deadline, READERS, watch, share)
        self._writer = Writer(path, deadline, committed, watch)
        self._identity: Identity | None = None
        self._trusted = 0.0

    async def open(self) -> None:
        """Connect; `DatabaseUnavailable` where there is no such file."""
        _check_there(self._path)
        await self._writer.open()
        await self._readers.open()
        self._glance.open()

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""
        self._glance.close()
        await self._readers.close()
        await self._writer.close()

    async def check(self) -> None:
        """`DatabaseUnavailable` unless it can be read and written, as far as that can be told in passing."""
        if self._writer.damaged or self._readers.damaged:
            raise DatabaseCorrupt("the database is damaged")
        await self.read([("SELECT count(*) FROM sqlite_schema", ())])
        if monotonic() - self._writer.failed < LATELY:
            raise DatabaseUnavailable("the database cannot be written to")
        await self.write(_nothing)

    async def read(self, steps: Sequence[Query], reader: Hashable = None) -> list[Rows]:
        """The rows of each step, all of one moment."""
        began = perf_counter()
        rows: list[Rows] | None = self._glance.read(steps, hold=not self._writer.busy())
        if rows is not None:
            self._glances.note(steps, began)
            return rows
        try:
            return await self._readers.read(steps, reader)
        finally:
            self._reads.note(steps, began)

    async def read_anew(self, steps: Sequence[Query]) -> list[Rows]:
        """The rows of each step, from the file that is at the path now; that is rare, and short."""
        _check_there(self._path)
        try:
            with closing(connect(self._path, query_only=True, patience=0)) as connection:
                return [connection.execute(step[0], step[1]).fetchall() for step in steps]
        except sqlite3.Error as error:
            raise meaning(error) from error

    def generation(self) -> Hashable:
        """The file at the path, as it was looked at a moment ago; None if there is none."""
        if (now := monotonic()) > self._trusted:
            self._identity, self._trusted = identity(self._path), now + TRUST
        return self._identity

    async def write(self, job: TransactionFunction, writer: Hashable = None, *, apart: bool = False) -> Any:
        """The job's result, once it is committed."""
        began = perf_counter()
        self._glance.let_go()
        try:
            return await self._writer.do(job)
        finally:
            self._writes.note(job, began)

    def waiting(self) -> dict[str, int]:
        """How many requests wait for a reader, and for the writer."""
        return {"readers": self._readers.waiting, "writer": self._writer.waiting()}

    def connections(self) -> dict[str, Connections]:
        """A file has no pool."""
        return {}

    async def lag(self) -> float | None:
        """A file has no replica."""
        return None

    @property
    def groups(self) -> Histogram:
        """How many writes were committed together."""
        return self._writer.groups


def _nothing() -> QueryGenerator:
    """Takes the right to write, and does nothing with it."""
    yield from ()
    return TransactionResult(None)


def _check_there(path: str) -> None:
    if not Path(path).is_file():
        raise DatabaseUnavailable(f"there is no database at {path}: run the migrations to make it")
