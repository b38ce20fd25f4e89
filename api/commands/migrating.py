"""`migrate`: bring the database up to date, say whether it is, or write down what is new in the models."""

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

from api.commands.terminal import fail, plainly, warn
from api.settings import Settings, read
from schema.engine.errors import DatabaseUnavailable
from schema.migrations import run

Done = TypeVar("Done")


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if the database is behind.")] = False,
    new: Annotated[
        str | None, typer.Option(metavar="MESSAGE", help="Write a migration for what is new in the models.")
    ] = None,
) -> None:
    """Bring the database up to date."""
    with plainly():
        if new is not None:
            _write(new)
            return
        path = read().database
        if not check:
            print(_explained(path, lambda: _upgrade(path)))
        elif wanting := behind(path):
            fail(wanting)
        else:
            print(f"{path} is up to date.")


def prepare(settings: Settings) -> None:
    """See to it that the database can be used: in development by migrating it, else by refusing one that is behind."""
    path = settings.database
    if settings.development:
        _explained(path, lambda: run.migrate(path))
    elif wanting := behind(path):
        raise DatabaseUnavailable(f"{wanting} `python -m api migrate` brings it up to date.")


def behind(path: str) -> str | None:
    """What the database at `path` lacks, as a sentence, or None."""
    if not Path(path).is_file():
        return f"There is no database at {path}."
    current, newest = _explained(path, lambda: _revision(path)), run.newest()
    return (
        None
        if current == newest
        else f"{path} is at {f'migration {current}' if current else 'no migration'}, and {newest} is the newest."
    )


def _upgrade(path: str) -> str:
    before = _revision(path) if Path(path).is_file() else None
    after = run.migrate(path, warn)
    if before == after:
        return f"{path} was up to date ({after})."
    return f"{path} is at {after} now; it was {f'at {before}' if before else 'not there or empty'}."


def _write(message: str) -> None:
    """A migration from a database that all migrations have made to what the models say: nobody's own is touched."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/tandem.db"
        _explained(path, lambda: run.migrate(path))
        if not run.drift(path):
            print("The models have nothing that the migrations have not: nothing is written.")
            return
        run.revise(path, message)
    print("Read it and put right what needs it; `python -m api migrate` then runs it.")


def _revision(path: str) -> str | None:
    """The migration that a database is at; an empty one is at none."""
    with closing(sqlite3.connect(path)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone()
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    return found[0] if found else None


def _explained(path: str, do: Callable[[], Done]) -> Done:
    """What `do` gives; what goes wrong in it, said of this database."""
    try:
        return do()
    except CommandError as error:
        raise DatabaseUnavailable(f"{path} cannot be migrated by this version of Tandem: {error}") from error
    except (DBAPIError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnavailable(f"{path} cannot be migrated: {cause}") from error
