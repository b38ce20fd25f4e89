"""`backup` and `doctor`: copy the database, and check its integrity."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.cli.terminal import errors_shown, fail
from api.settings import Settings, read_settings
from schema.engine.database_url import display_name, is_postgres
from schema.engine.model.resource import Resource, resource_of
from schema.maintenance.backup import back_up
from schema.maintenance.doctor.finding import Finding
from schema.maintenance.doctor.sqlite import MEGABYTE, run_checks
from schema.models import MODELS

PG_DUMP = (
    'Use PostgreSQL\'s own tool, also while the server runs: pg_dump --format=custom --file={file} "$DATABASE_URL"'
    " (docs/postgresql.md describes how to restore)."
)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy the database to a file as one consistent snapshot, also while the server runs."""
    started = time.monotonic()
    with errors_shown():
        path = read_settings().database
        if is_postgres(path):
            fail(PG_DUMP.format(file=file))
        if not Path(path).is_file():
            fail(f"There is no database at {path}.")
        size = back_up(path, file, force=force)
    print(f"{file} is a copy of {path}: {size / MEGABYTE:,.1f} MiB in {time.monotonic() - started:.1f} s.")


def doctor(
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="A file to check instead of DATABASE_URL.")] = None,
) -> None:
    """Check the integrity of the database, or of a backup. Changes nothing; exit 1 if there is a problem."""
    with errors_shown():
        resources = [resource_of(model) for model in MODELS]
        name, findings = (file, run_checks(file, resources)) if file else _findings(read_settings(), resources)
        problems = 0
        for finding in findings:
            problems += bool(finding.problem)
            print(
                f"{'PROBLEM' if finding.problem else 'ok     '}  {finding.check}: {finding.problem or finding.detail}"
            )
            if finding.problem:
                print(f"         what to do: {finding.advice}")
    if problems:
        fail(f"{problems} problem{'s' * (problems != 1)} in {name}.")


def _findings(settings: Settings, resources: list[Resource]) -> tuple[str, Iterator[Finding]]:
    """Return the database's name and what the checks find."""
    if not is_postgres(settings.database):
        return settings.database, run_checks(settings.database, resources)
    # Only here: with SQLite the PostgreSQL driver is not needed.
    from schema.maintenance.doctor import postgres

    usage = postgres.ServerUsage(settings.workers * settings.pool + 1, settings.read_database)
    return display_name(settings.database), postgres.run_checks(settings.database, resources, usage)
