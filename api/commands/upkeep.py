"""`backup` and `doctor`: a copy of the database while it is served, and whether a database is well."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from api.commands.terminal import fail, plainly
from api.settings import read
from schema.engine.shape import shape
from schema.models import RESOURCES
from schema.upkeep.backup import back_up
from schema.upkeep.doctor import MEGABYTE, examine


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Copy the database to a file, all as it is at one moment, while it is served and written to."""
    started = time.monotonic()
    with plainly():
        path = _file("pg_dump makes its backups")
        if not Path(path).is_file():
            fail(f"There is no database at {path}.")
        size = back_up(path, file, force=force)
    print(f"{file} is a copy of {path}: {size / MEGABYTE:,.1f} MiB in {time.monotonic() - started:.1f} s.")


def doctor(
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="Another file than DATABASE_URL has.")] = None,
) -> None:
    """Say whether the database is well, or a backup of it. Changes nothing; exit 1 if something is amiss."""
    with plainly():
        path = file or _file("its own tools look after it")
        ill = 0
        for finding in examine(path, [shape(model) for model in RESOURCES]):
            ill += bool(finding.wrong)
            print(f"{'AMISS' if finding.wrong else 'ok   '}  {finding.what}: {finding.wrong or finding.told}")
            if finding.wrong:
                print(f"       what to do: {finding.advice}")
    if ill:
        fail(f"{'One thing is' if ill == 1 else f'{ill} things are'} amiss with {path}.")


def _file(instead: str) -> str:
    """The path of the database; what to do instead, where it is no file."""
    place = read().database
    if "://" in place:
        fail(f"DATABASE_URL names a PostgreSQL: {instead}.")
    return place
