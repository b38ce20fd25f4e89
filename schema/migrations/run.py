"""Bring a database's tables up to date, say whether they are, and write down what is new in the models."""

from __future__ import annotations

from collections.abc import Iterator
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
from schema.migrations.searching import is_declared

HERE = Path(__file__).parent


def migrate(path: str) -> str:
    """Make the database at `path`, if there is none, and bring it up to date; gives the revision that it then has."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with _connection(path) as connection:
        command.upgrade(_config(connection), "head")
        return current(connection) or ""


def revise(path: str, message: str) -> None:
    """Write a migration file for what the models have and the database at `path` has not."""
    with _connection(path) as connection:
        number = f"{len(list((HERE / 'versions').glob('*.py'))) + 1:04}"
        command.revision(_config(connection), message, autogenerate=True, rev_id=number)


def drift(path: str) -> list[Any]:
    """What the models and the database at `path` differ in."""
    with _connection(path) as connection:
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


@contextmanager
def _connection(path: str) -> Iterator[Connection]:
    """A connection with SQLite's transactions begun by us, so that a migration that fails leaves nothing behind."""
    engine = create_engine(URL.create("sqlite", database=path))
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _configure(connection: Any, record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=5000")
