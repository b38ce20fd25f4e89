"""Migrate a database, compare it with the models, and generate migrations. A database is given by path or URL."""

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
from schema.engine.sqlite.database_file import exclusive_lock
from schema.migrations.connections import on_postgres, on_sqlite, retry_locked
from schema.migrations.search_index import is_compared
from schema.migrations.write_lock import NOTICE_AFTER, TIMEOUT, Notify, WriteLock

FOLDER = Path(__file__).parent
Result = TypeVar("Result")


def migrate(
    database: str,
    notify: Notify = lambda message: None,
    timeout: float = TIMEOUT,
    *,
    notice_after: float = NOTICE_AFTER,
    folder: Path = FOLDER,
) -> str:
    """Bring a database up to date and return its revision; creates an SQLite file that does not exist.

    A server may keep serving: on SQLite each migration waits up to `timeout` seconds for the write lock.
    """

    def upgrade(connection: Connection) -> str:
        command.upgrade(_config(connection, folder), "head")
        return MigrationContext.configure(connection).get_current_revision() or ""

    if is_postgres(database):
        return retry_locked(lambda: on_postgres(database, upgrade, exclusive=True))
    create_folders(Path(database).parent)
    with exclusive_lock(database, "migrating", timeout):
        create_if_missing(database)  # SQLite gives the log and the shared memory the mode of the database.
        return on_sqlite(database, upgrade, WriteLock(notify, timeout, notice_after))


def revise(database: str, message: str) -> None:
    """Generate a migration from the differences between the models and the database."""
    number = f"{len(list((FOLDER / 'versions').glob('*.py'))) + 1:04}"
    run_on(database, lambda opened: command.revision(_config(opened), message, autogenerate=True, rev_id=number))


def drift(database: str) -> list[Any]:
    """The differences between the models and a database, as Alembic describes them."""

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_compared})
        return list(compare_metadata(context, SQLModel.metadata))

    return on_postgres(database, compare) if is_postgres(database) else on_sqlite(database, compare, None)


def tables() -> list[str]:
    return [table.name for table in SQLModel.metadata.sorted_tables]


def constraints() -> list[str]:
    return [str(constraint.name) for table in SQLModel.metadata.sorted_tables for constraint in table.constraints]


def downgrade(database: str, revision: str) -> None:
    run_on(database, lambda connection: command.downgrade(_config(connection), revision))


def current(database: str) -> str | None:
    """A database's revision; None if it is empty."""
    return run_on(database, lambda connection: MigrationContext.configure(connection).get_current_revision())


def newest(folder: Path = FOLDER) -> str | None:
    """The newest revision among the migrations."""
    return ScriptDirectory.from_config(_config(None, folder)).get_current_head()


def run_on(database: str, do: Callable[[Connection], Result]) -> Result:
    return on_postgres(database, do) if is_postgres(database) else on_sqlite(database, do, WriteLock())


def _config(connection: Connection | None, folder: Path = FOLDER) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config
