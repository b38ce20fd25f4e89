"""A connection to SQLite as Tandem wants it, and what SQLite's errors mean."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable

from schema.engine.errors import (
    DATABASE_TIMEOUT,
    DATABASE_UNAVAILABLE,
    DISK_FAILURE,
    Conflict,
    DatabaseCorrupt,
    DatabaseUnavailable,
    FieldError,
    QueryTooComplex,
    Timeout,
)
from schema.engine.sqlite.database_file import address

StatementObserver = Callable[[str], None]
STATEMENTS_KEPT = 1024
PATIENCE = 5.0  # seconds to wait for another process that writes
LOG_LIMIT = 64 * 2**20
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"journal_size_limit={LOG_LIMIT}",
    # Pages (32 MiB) that the log takes before they are moved into the database: fewer moves, and of fewer pages.
    # Commits of thirty rows came to 9,500 rows a second, and to 7,400 with SQLite's usual thousand.
    "wal_autocheckpoint=8000",
    "trusted_schema=OFF",
)
READING = ("query_only=ON",)
# Our own triggers write to the index of `trigrams.py`, and SQLite takes no FTS5 in a trigger for safe before 3.41.
# What a statement or a savepoint would put back stays in memory: in a file, SQLite's usual way beyond 64 KiB, the pages
# that one new row touches were a fourth of what a write cost. The cache (8 MiB) holds what a group of writes changes:
# what does not fit goes to the log before its time, and perhaps again.
WRITING = ("trusted_schema=ON", "temp_store=MEMORY", "cache_size=-8192")
_DAMAGED = re.compile("malformed|not a database")
_UNAVAILABLE = re.compile("unable to open|readonly|no such table")


def connect(
    path: str, watch: StatementObserver | None = None, *, query_only: bool = False, patience: float = PATIENCE
) -> sqlite3.Connection:
    """A connection as Tandem wants it: no transaction but our own, and every commit on the disk."""
    connection = sqlite3.connect(
        address(path),
        timeout=patience,
        uri=True,
        isolation_level=None,
        cached_statements=STATEMENTS_KEPT,
        check_same_thread=False,
    )
    try:
        for pragma in (*PRAGMAS, *(READING if query_only else WRITING)):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    if watch is not None:
        connection.set_trace_callback(watch)
    return connection


def meaning(error: BaseException) -> BaseException:
    """What an error of SQLite's means to the caller; any other, and any that is our own fault, as it is."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        column = text.rpartition(".")[2].removesuffix("_key")
        return Conflict(f"that {column} is taken", [FieldError((column,), "it is taken", "taken")])
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("FOREIGN KEY"):
        return Conflict("other records refer to this one, or the one it refers to is gone")
    if "parser stack overflow" in text or "Expression tree is too large" in text:
        return QueryTooComplex("the query is nested too deeply for the database")
    if isinstance(error, sqlite3.OperationalError) and "interrupted" in text:
        return Timeout(DATABASE_TIMEOUT)
    return _fault(error, text) if isinstance(error, sqlite3.DatabaseError) else error


def _fault(error: sqlite3.DatabaseError, text: str) -> sqlite3.DatabaseError | DatabaseUnavailable:
    if _DAMAGED.search(text):
        return DatabaseCorrupt("the database is damaged")
    if "locked" in text or "busy" in text:
        return DatabaseUnavailable("the database is not available: another process writes to it")
    if text.endswith("is full") or text.startswith("disk I/O"):
        return DatabaseUnavailable(DISK_FAILURE)
    return DatabaseUnavailable(DATABASE_UNAVAILABLE) if _UNAVAILABLE.search(text) else error


def patience_of(deadline: float) -> float:
    """How long one trip may wait for a lock: whoever comes during one trip, and waits on the next, is still in time."""
    return min(PATIENCE, deadline / 3)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction without its changes, if one is open."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
