"""Bring a database's tables up to date, say whether they are, and write down what is new in the models."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event
from sqlmodel import SQLModel

import schema.engine.repeats  # noqa: F401  the engine's own table, which no model declares
from schema.engine.datafile import alone
from schema.engine.errors import DatabaseUnavailable
from schema.migrations.searching import is_declared

HERE = Path(__file__).parent
PATIENCE, TOLD_AFTER = 60.0, 2.0  # seconds
Tell = Callable[[str], None]


def migrate(path: str, tell: Tell = lambda sentence: None, patience: float = PATIENCE) -> str:
    """Make the database at `path`, if there is none, and bring it up to date; gives the revision that it then has.

    A server may go on serving meanwhile: each migration waits for its turn to write, at most `patience` seconds.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with alone(path, "migrating", patience), _connection(path, _Turn(tell, patience)) as connection:
        command.upgrade(_config(connection), "head")
        return current(connection) or ""


def revise(path: str, message: str) -> None:
    """Write a migration file for what the models have and the database at `path` has not."""
    with _connection(path) as connection:
        number = f"{len(list((HERE / 'versions').glob('*.py'))) + 1:04}"
        command.revision(_config(connection), message, autogenerate=True, rev_id=number)


def drift(path: str) -> list[Any]:
    """What the models and the database at `path` differ in."""
    with _connection(path, None) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_declared})
        return list(compare_metadata(context, SQLModel.metadata))


def current(connection: Connection) -> str | None:
    """The revision that a database has."""
    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str | None:
    """The revision that a database should have."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


class _Turn:
    """Takes the right to write as soon as nobody else has it. SQLite's own way looks ten times a second, which beside a
    busy server is too seldom to find a gap."""

    def __init__(self, tell: Tell = lambda sentence: None, patience: float = PATIENCE) -> None:
        self._tell = tell
        self._patience = patience

    def take(self, connection: Connection) -> None:
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


_AT_ONCE = _Turn()


@contextmanager
def _connection(path: str, turn: _Turn | None = _AT_ONCE) -> Iterator[Connection]:
    """A connection with SQLite's transactions begun by us, so that a migration that fails leaves nothing behind.

    Without a turn to take, it is for reading alone.
    """
    engine = create_engine(URL.create("sqlite", database=path))
    event.listen(engine, "connect", _plain if turn is None else _configure)
    event.listen(engine, "begin", _begin if turn is None else turn.take)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _plain(connection: Any, record: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _configure(connection: Any, record: object) -> None:
    _plain(connection, record)
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=0")
