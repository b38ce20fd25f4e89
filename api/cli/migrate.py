"""`migrate`: upgrade the database's schema, check it, or write a migration for a change of the models."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, TypeVar

import typer
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from api.cli.terminal import errors_shown, fail, warn
from api.settings import Settings, read_settings
from schema.engine.database_url import display_name, is_postgres
from schema.engine.errors import DatabaseMisconfigured, DatabaseUnavailable
from schema.migrations import commands

Result = TypeVar("Result")


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if migrations are pending.")] = False,
    new: Annotated[
        str | None, typer.Option(metavar="MESSAGE", help="Write a migration for the changes of the models.")
    ] = None,
) -> None:
    """Upgrade the database's schema to the newest migration."""
    with errors_shown():
        if new is not None:
            _write_migration(new)
            return
        database = read_settings().database
        if not check:
            print(_with_error_context(database, lambda: _upgrade(database)))
        elif pending := pending_migrations(database):
            fail(pending)
        else:
            print(f"{display_name(database)} is up to date.")


def prepare_database(settings: Settings) -> None:
    """Migrate the database in development; otherwise check that it is up to date.

    A PostgreSQL server that cannot be reached is not an error: the service starts without it and answers 503.

    Raises:
        DatabaseUnavailable: the database is missing or migrations are pending.
    """
    database = settings.database
    if settings.development:
        _with_error_context(database, lambda: commands.migrate(database))
        return
    try:
        pending = pending_migrations(database)
    except DatabaseMisconfigured:
        raise
    except DatabaseUnavailable as error:
        if not is_postgres(database):
            raise
        warn(f"{display_name(database)} cannot be reached: {error}. Tandem starts, and connects with each request.")
        return
    if pending:
        raise DatabaseUnavailable(f"{pending} Run `python -m api migrate`.")


def pending_migrations(database: str) -> str | None:
    """Describe in a sentence what a database lacks; None if it is up to date."""
    if not is_postgres(database) and not Path(database).is_file():
        return f"There is no database at {database}."
    current, newest = _with_error_context(database, lambda: _revision(database)), commands.newest()
    if current == newest:
        return None
    revision = f"migration {current}" if current else "no migration"
    return f"{display_name(database)} is at {revision}; the newest is {newest}."


def _upgrade(database: str) -> str:
    before = _revision(database) if is_postgres(database) or Path(database).is_file() else None
    after, name = commands.migrate(database, warn), display_name(database)
    if before == after:
        return f"{name} was up to date ({after})."
    return f"{name} is now at {after}; it was {f'at {before}' if before else 'missing or empty'}."


def _write_migration(message: str) -> None:
    """Compare the models with a new database that has all migrations."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/tandem.db"
        _with_error_context(path, lambda: commands.migrate(path))
        if not commands.drift(path):
            print("The models match the migrations: nothing to write.")
            return
        commands.revise(path, message)
    print("Review and correct it, then run `python -m api migrate`.")


def _revision(database: str) -> str | None:
    """Return the migration that a database is at; None for an empty one."""
    if is_postgres(database):
        return commands.current(database)
    with closing(sqlite3.connect(database)) as connection:
        has_table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if has_table else None
    return row[0] if row else None


def _with_error_context(database: str, function: Callable[[], Result]) -> Result:
    """Call a function; name the database in its errors."""
    try:
        return function()
    except CommandError as error:
        raise DatabaseUnavailable(
            f"{display_name(database)} cannot be migrated by this version of Tandem: {error}"
        ) from error
    except (DBAPIError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnavailable(f"{display_name(database)} cannot be migrated: {cause}") from error
