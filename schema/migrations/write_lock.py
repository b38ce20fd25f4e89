"""The write lock of an SQLite file that other processes write to as well."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable

from sqlalchemy import Connection

from schema.engine.errors import DatabaseUnavailable

TIMEOUT, NOTICE_AFTER = 60.0, 2.0  # seconds
Notify = Callable[[str], None]


class WriteLock:
    """Begins transactions with the write lock, as soon as no other process has it.

    SQLite's busy handler retries ten times a second, which is too seldom to find a gap beside a busy server.
    """

    def __init__(
        self, notify: Notify = lambda message: None, timeout: float = TIMEOUT, notice_after: float = NOTICE_AFTER
    ) -> None:
        self._notify = notify
        self._timeout = timeout
        self._notice_after = notice_after

    def begin(self, connection: Connection) -> None:
        """Begin a write transaction; notifies once after `notice_after` seconds.

        Raises:
            DatabaseUnavailable: another process had the lock for `timeout` seconds.
        """
        raw = connection.connection.dbapi_connection
        assert raw is not None
        started, notified = time.monotonic(), False
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - started
                if "locked" not in str(error):
                    raise
                if waited > self._timeout:
                    message = f"other processes held the write lock for {waited:.0f} seconds: nothing was migrated"
                    raise DatabaseUnavailable(f"{message}; try again") from error
            if waited > self._notice_after and not notified:
                notified = True
                self._notify("Another process is writing to the database: waiting for the write lock.")
            time.sleep(random.uniform(0.001, 0.005))  # noqa: S311  not a secret
