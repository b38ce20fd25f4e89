"""Opens SQLite connections, and translates SQLite's errors."""

from __future__ import annotations

import re
import sqlite3

from schema.engine import database_errors
from schema.engine.driver import StatementObserver
from schema.engine.errors import (
    DATABASE_TIMEOUT,
    DATABASE_UNAVAILABLE,
    DISK_FAILURE,
    DatabaseCorrupt,
    DatabaseUnavailable,
    Timeout,
)
from schema.engine.sqlite.database_file import file_uri

STATEMENT_CACHE_SIZE = 1024
BUSY_TIMEOUT = 5.0  # seconds to wait for another process that writes
WAL_LIMIT = 64 * 2**20  # bytes
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"journal_size_limit={WAL_LIMIT}",
    # Pages (32 MiB) in the write-ahead log before a checkpoint: fewer checkpoints, and of fewer pages. Commits of
    # thirty rows reached 9,500 rows a second, against 7,400 with SQLite's default of a thousand.
    "wal_autocheckpoint=8000",
    "trusted_schema=OFF",
)
READER_PRAGMAS = ("query_only=ON",)
# Triggers of ours write to the index of `trigram_index.py`, and before 3.41 SQLite trusts no FTS5 table in a trigger.
# Statement and savepoint journals stay in memory: SQLite moves them to a file beyond 64 KiB, and the pages touched by
# one new row were a quarter of the cost of a write. The cache (8 MiB) holds the changes of a group of writes: pages
# that do not fit are written to the log early, and perhaps again.
WRITER_PRAGMAS = ("trusted_schema=ON", "temp_store=MEMORY", "cache_size=-8192")
_CORRUPT = re.compile("malformed|not a database")
_UNAVAILABLE = re.compile("unable to open|readonly|no such table")


def connect(
    path: str,
    on_statement: StatementObserver | None = None,
    *,
    query_only: bool = False,
    busy_timeout: float = BUSY_TIMEOUT,
) -> sqlite3.Connection:
    """Open the existing file without implicit transactions, and with durable commits."""
    connection = sqlite3.connect(
        file_uri(path),
        timeout=busy_timeout,
        uri=True,
        isolation_level=None,
        cached_statements=STATEMENT_CACHE_SIZE,
        check_same_thread=False,
    )
    try:
        for pragma in (*PRAGMAS, *(READER_PRAGMAS if query_only else WRITER_PRAGMAS)):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    if on_statement is not None:
        connection.set_trace_callback(on_statement)
    return connection


def busy_timeout_for(deadline: float) -> float:
    """Return how long one batch may wait for a lock, so that calls queued behind it still meet the deadline."""
    return min(BUSY_TIMEOUT, deadline / 3)


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def translate_error(error: BaseException) -> BaseException:
    """Return the engine's error for one of SQLite's; any other error, and any that is a mistake of ours, unchanged."""
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("UNIQUE constraint failed: "):
        return database_errors.already_taken(text.rpartition(".")[2].removesuffix("_key"))
    if isinstance(error, sqlite3.IntegrityError) and text.startswith("FOREIGN KEY"):
        return database_errors.broken_reference()
    if "parser stack overflow" in text or "Expression tree is too large" in text:
        return database_errors.nested_too_deeply()
    if isinstance(error, sqlite3.OperationalError) and "interrupted" in text:
        return Timeout(DATABASE_TIMEOUT)
    return _translate_failure(error, text) if isinstance(error, sqlite3.DatabaseError) else error


def _translate_failure(error: sqlite3.DatabaseError, text: str) -> sqlite3.DatabaseError | DatabaseUnavailable:
    if _CORRUPT.search(text):
        return DatabaseCorrupt("the database file is corrupt")
    if "locked" in text or "busy" in text:
        return DatabaseUnavailable("the database is not available: another process is writing to it")
    if text.endswith("is full") or text.startswith("disk I/O"):
        return DatabaseUnavailable(DISK_FAILURE)
    return DatabaseUnavailable(DATABASE_UNAVAILABLE) if _UNAVAILABLE.search(text) else error
