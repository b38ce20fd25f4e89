"""`backup` and `doctor`: a copy of the database while it is served, and whether a database is well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import fail, plainly
from api.settings import Settings, read
from schema.engine.database_url import display_name, is_postgres
from schema.engine.model.resource import Resource, resource_of
from schema.maintenance.backup import back_up
from schema.maintenance.doctor.finding import Finding
from schema.maintenance.doctor.sqlite import MEGABYTE, run_checks
from schema.models import MODELS

DUMP = (
    'A PostgreSQL is backed up by its own tool, while it serves: pg_dump --format=custom --file={file} "$DATABASE_URL"'
    " (docs/postgresql.md tells of restoring)."
)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Copy the database to a file, all as it is at one moment, while it is served and written to."""
    started = time.monotonic()
    with plainly():
        path = read().database
        if is_postgres(path):
            fail(DUMP.format(file=file))
        if not Path(path).is_file():
            fail(f"There is no database at {path}.")
        size = back_up(path, file, force=force)
    print(f"{file} is a copy of {path}: {size / MEGABYTE:,.1f} MiB in {time.monotonic() - started:.1f} s.")


def doctor(
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="Another file than DATABASE_URL has.")] = None,
) -> None:
    """Say whether the database is well, or a backup of it. Changes nothing; exit 1 if something is amiss."""
    with plainly():
        resources = [resource_of(model) for model in MODELS]
        name, findings = (file, run_checks(file, resources)) if file else _findings(read(), resources)
        ill = 0
        for finding in findings:
            ill += bool(finding.problem)
            print(f"{'AMISS' if finding.problem else 'ok   '}  {finding.check}: {finding.problem or finding.detail}")
            if finding.problem:
                print(f"       what to do: {finding.advice}")
    if ill:
        fail(f"{'One thing is' if ill == 1 else f'{ill} things are'} amiss with {name}.")


def _findings(settings: Settings, resources: list[Resource]) -> tuple[str, Iterator[Finding]]:
    """What the database is called, and what there is to find in it."""
    place = settings.database
    if not is_postgres(place):
        return place, run_checks(place, resources)
    # Only here: who has a file needs no driver for a server.
    from schema.maintenance.doctor import postgres

    usage = postgres.ServerUsage(settings.workers * settings.pool + 1, settings.read_database)
    return display_name(place), postgres.run_checks(place, resources, usage)
