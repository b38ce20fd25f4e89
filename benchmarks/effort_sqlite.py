"""What statements cost SQLite: its steps, and the pages that it reads on a connection that has read nothing yet."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from benchmarks.effort import Effort
from schema.engine.operations.directory import Directory

EACH = 10
_RUN_AGAIN = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class SQLiteObserver:
    """Listens to what SQLite is told. `new` is the address of whoever is created, and created again."""

    def __init__(self, database: str, new: str) -> None:
        self._database = database
        self._new = new
        self._said: list[str] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Directory]:
        """A directory that is listened to."""
        async with Directory(self._database, on_statement=self._said.append) as directory:
            yield directory

    def clear(self) -> None:
        """Forget what was said."""
        self._said.clear()

    async def effort(self) -> Effort:
        """What the statements cost that were said since; what they write is taken back."""
        statements = self._statements()
        if any(sql.startswith("INSERT") for sql in statements):
            self._take_back()
        return _effort(self._database, statements)

    def _statements(self) -> list[str]:
        """Those behind an answer; those of transactions, and of triggers, left out."""
        ours = [sql for sql in self._said if sql.lstrip().upper().startswith(_RUN_AGAIN) and "'main'." not in sql]
        # SQLite reports each step of a trigger once more under the name of the statement that set it off.
        return [sql for place, sql in enumerate(ours) if place == 0 or sql != ours[place - 1]]

    def _take_back(self) -> None:
        """What was created must be gone before it can be created again."""
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            connection.execute("DELETE FROM user WHERE email_key = ?", (self._new,))


def _effort(database: str, statements: Sequence[str]) -> Effort:
    """The statements again, on a connection that has read nothing yet; what they write is taken back."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        connection.set_progress_handler(count, EACH)
        with _reading() as told:
            for sql in statements:
                connection.execute(sql).fetchall()
        connection.set_progress_handler(None, 0)
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("ROLLBACK")
    return Effort(len(statements), calls * EACH, round(told[0] / size) if told else None)


@contextmanager
def _reading() -> Iterator[list[int]]:
    """How many bytes this thread reads meanwhile, as the system counts them; nothing where it does not."""
    before, told = _read_bytes(), list[int]()
    yield told
    after = _read_bytes()
    if before is not None and after is not None:
        told.append(after - before)


def _read_bytes() -> int | None:
    try:
        lines = Path("/proc/thread-self/io").read_text().splitlines()
    except OSError:
        return None
    return int(lines[0].partition(": ")[2])
