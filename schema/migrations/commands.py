"""Bring a database's tables up to date, say whether they are, and write down what is new in the models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlmodel import SQLModel

import schema.engine.operations.cursor_key
import schema.engine.operations.idempotency  # noqa: F401  the engine's own tables, which no model declares
from schema.engine.database_url import is_postgres
from schema.engine.private_file import create_folders, create_if_missing
from schema.engine.sqlite.database_file import alone
from schema.migrations.connections import on_postgres, on_sqlite, patiently
from schema.migrations.search_index import is_declared
from schema.migrations.write_turns import PATIENCE, Tell, Turn

HERE = Path(__file__).parent
Done = TypeVar("Done")


def migrate(place: str, tell: Tell = lambda sentence: None, patience: float = PATIENCE) -> str:
    """Bring a database up to date, an SQLite file made if there is none; gives the revision that it then has.

    A server may go on serving meanwhile: each migration waits for its turn to write, at most `patience` seconds.
    """
    if is_postgres(place):
        return patiently(lambda: on_postgres(place, _upgraded, alone=True))
    create_folders(Path(place).parent)
    with alone(place, "migrating", patience):
        create_if_missing(place)  # SQLite gives its own files, the log and the shared memory, the mode of this one.
        return on_sqlite(place, _upgraded, Turn(tell, patience))


def revise(place: str, message: str) -> None:
    """Write a migration file for what the models have and the database has not."""
    number = f"{len(list((HERE / 'versions').glob('*.py'))) + 1:04}"
    on(place, lambda opened: command.revision(_config(opened), message, autogenerate=True, rev_id=number))


def drift(place: str) -> list[Any]:
    """What the models and the database differ in."""

    def compared(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_declared})
        return list(compare_metadata(context, SQLModel.metadata))

    return on_postgres(place, compared) if is_postgres(place) else on_sqlite(place, compared, None)


def tables() -> list[str]:
    """The tables that the models have."""
    return [table.name for table in SQLModel.metadata.sorted_tables]


def constraints() -> list[str]:
    """The constraints that the models have, by their names."""
    return [str(it.name) for table in SQLModel.metadata.sorted_tables for it in table.constraints]


def downgrade(place: str, revision: str) -> None:
    """Take migrations back."""
    on(place, lambda connection: command.downgrade(_config(connection), revision))


def current(place: str) -> str | None:
    """The revision that a database has; an empty one has none."""
    return on(place, lambda connection: MigrationContext.configure(connection).get_current_revision())


def newest() -> str | None:
    """The revision that a database should have."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def on(place: str, do: Callable[[Connection], Done]) -> Done:
    """What `do` gives on a connection to a database."""
    return on_postgres(place, do) if is_postgres(place) else on_sqlite(place, do)


def _upgraded(connection: Connection) -> str:
    command.upgrade(_config(connection), "head")
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config
