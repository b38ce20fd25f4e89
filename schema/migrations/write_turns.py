"""Who writes next to an SQLite file that others write to as well."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable

from sqlalchemy import Connection

from schema.engine.errors import DatabaseUnavailable

PATIENCE, TOLD_AFTER = 60.0, 2.0  # seconds
Tell = Callable[[str], None]


class Turn:
    """Takes the right to write as soon as nobody else has it. SQLite's own way looks ten times a second, which beside a
    busy server is too seldom to find a gap."""

    def __init__(self, tell: Tell = lambda sentence: None, patience: float = PATIENCE) -> None:
        self._tell = tell
        self._patience = patience

    def take(self, connection: Connection) -> None:
        """Begin a transaction that may write."""
        raw = connection.connection.dbapi_connection
        assert raw is not None
        began, told = time.monotonic(), False
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - began
                if "locked" not in str(error):
                    raise
                if waited > self._patience:
                    sentence = f"the database was written to for {waited:.0f} seconds on end: nothing is migrated"
                    raise DatabaseUnavailable(f"{sentence}; try again") from error
            if waited > TOLD_AFTER and not told:
                told = True
                self._tell("Another process is writing to the database: waiting for it.")
            time.sleep(random.uniform(0.001, 0.005))  # noqa: S311  no secret


AT_ONCE = Turn()
