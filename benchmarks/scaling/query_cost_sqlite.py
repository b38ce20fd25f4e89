"""The cost of statements on SQLite: virtual machine steps, and pages read with an empty cache."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from benchmarks.scaling.query_cost import QueryCost
from schema.engine.operations.directory import Directory

STEPS_PER_CALL = 10
_MEASURED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class SQLiteRecorder:
    """Records SQLite's statements. `new_email` identifies the user that requests create."""

    def __init__(self, database: str, new_email: str) -> None:
        self._database = database
        self._new_email = new_email
        self._recorded: list[str] = []

    @asynccontextmanager
    async def open_directory(self) -> AsyncIterator[Directory]:
        """A directory whose statements are recorded."""
        async with Directory(self._database, on_statement=self._recorded.append) as directory:
            yield directory

    def clear(self) -> None:
        """Forget the recorded statements."""
        self._recorded.clear()

    async def cost(self) -> QueryCost:
        """The cost of the recorded statements. What they write is rolled back."""
        statements = self._statements()
        if any(sql.startswith("INSERT") for sql in statements):
            self._delete_new_user()
        return _cost(self._database, statements)

    def _statements(self) -> list[str]:
        """The recorded statements, without those of transactions and triggers."""
        own = [sql for sql in self._recorded if sql.lstrip().upper().startswith(_MEASURED) and "'main'." not in sql]
        # For each statement of a trigger SQLite reports once more the statement that fired the trigger.
        return [sql for position, sql in enumerate(own) if position == 0 or sql != own[position - 1]]

    def _delete_new_user(self) -> None:
        """The user must not exist when the statements create it again."""
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            connection.execute("DELETE FROM user WHERE email_key = ?", (self._new_email,))


def _cost(database: str, statements: Sequence[str]) -> QueryCost:
    """Run the statements on a connection with an empty cache, and roll back."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        connection.set_progress_handler(count, STEPS_PER_CALL)
        with _count_read_bytes() as read_bytes:
            for sql in statements:
                connection.execute(sql).fetchall()
        connection.set_progress_handler(None, 0)
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("ROLLBACK")
    pages = round(read_bytes[0] / page_size) if read_bytes else None
    return QueryCost(len(statements), calls * STEPS_PER_CALL, pages)


@contextmanager
def _count_read_bytes() -> Iterator[list[int]]:
    """Afterwards the list holds the bytes that this thread has read, if the system reports them."""
    before, result = _read_bytes(), list[int]()
    yield result
    after = _read_bytes()
    if before is not None and after is not None:
        result.append(after - before)


def _read_bytes() -> int | None:
    try:
        lines = Path("/proc/thread-self/io").read_text().splitlines()
    except OSError:
        return None
    return int(lines[0].partition(": ")[2])
