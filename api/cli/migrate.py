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

from api.cli.terminal import fail, plainly, warn
from api.settings import Settings, read
from schema.engine.database_url import display_name, is_postgres
from schema.engine.errors import DatabaseMisconfigured, DatabaseUnavailable
from schema.migrations import commands

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
        place = read().database
        if not check:
            print(_explained(place, lambda: _upgrade(place)))
        elif wanting := behind(place):
            fail(wanting)
        else:
            print(f"{display_name(place)} is up to date.")


def prepare(settings: Settings) -> None:
    """See to it that the database can be used: in development by migrating it, else by refusing one that is behind."""
    place = settings.database
    if settings.development:
        _explained(place, lambda: commands.migrate(place))
    elif wanting := _behind_if_there(place):
        raise DatabaseUnavailable(f"{wanting} `python -m api migrate` brings it up to date.")


def _behind_if_there(place: str) -> str | None:
    """The same of a server that may be away for a while: the service starts, answers 503, and looks for it."""
    try:
        return behind(place)
    except DatabaseMisconfigured:
        raise
    except DatabaseUnavailable as error:
        if not is_postgres(place):
            raise
        warn(
            f"{display_name(place)} cannot be reached yet: {error}. Tandem starts, and looks for it with each request."
        )
        return None


def behind(place: str) -> str | None:
    """What a database lacks, as a sentence, or None."""
    if not is_postgres(place) and not Path(place).is_file():
        return f"There is no database at {place}."
    current, newest = _explained(place, lambda: _revision(place)), commands.newest()
    at = f"at migration {current}" if current else "at no migration"
    return None if current == newest else f"{display_name(place)} is {at}, and {newest} is the newest."


def _upgrade(place: str) -> str:
    before = _revision(place) if is_postgres(place) or Path(place).is_file() else None
    after, name = commands.migrate(place, warn), display_name(place)
    if before == after:
        return f"{name} was up to date ({after})."
    return f"{name} is at {after} now; it was {f'at {before}' if before else 'not there or empty'}."


def _write(message: str) -> None:
    """A migration from a database that all migrations have made to what the models say: nobody's own is touched."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/tandem.db"
        _explained(path, lambda: commands.migrate(path))
        if not commands.drift(path):
            print("The models have nothing that the migrations have not: nothing is written.")
            return
        commands.revise(path, message)
    print("Read it and put right what needs it; `python -m api migrate` then runs it.")


def _revision(path: str) -> str | None:
    """The migration that a database is at; an empty one is at none."""
    if is_postgres(path):
        return commands.current(path)
    with closing(sqlite3.connect(path)) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone()
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    return found[0] if found else None


def _explained(path: str, do: Callable[[], Done]) -> Done:
    """What `do` gives; what goes wrong in it, said of this database."""
    try:
        return do()
    except CommandError as error:
        raise DatabaseUnavailable(
            f"{display_name(path)} cannot be migrated by this version of Tandem: {error}"
        ) from error
    except (DBAPIError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise DatabaseUnavailable(f"{display_name(path)} cannot be migrated: {cause}") from error
