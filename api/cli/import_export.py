"""`import` and `export`: the directory as CSV files."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

import typer
from rich.table import Column

from api.cli.migrate import prepare_database
from api.cli.terminal import errors_shown, fail, print_table, progress, warn
from api.settings import read_settings
from schema.engine.model.resource import resource_of
from schema.models import MODELS
from schema.transfer.csv_schema import CsvSchema, csv_schemas_of
from schema.transfer.exporter import export_file, export_folder, export_zip, open_snapshot
from schema.transfer.importer import ImportOptions, ImportReport, import_files
from schema.transfer.limits import GIBIBYTE, MAX_ERRORS_SHOWN, ImportLimits
from schema.transfer.source import find_sources, kind_of_file

CSV_SCHEMAS = csv_schemas_of(resource_of(model) for model in MODELS)
KINDS = ", ".join(CSV_SCHEMAS)
Kind = Annotated[str | None, typer.Option(help=f"The files' content, unless their names say it: {KINDS}.")]


def import_(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="CSV files, folders or .zip files; - is stdin.")],
    kind: Kind = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be done, and change nothing.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out invalid rows and import the others.")] = False,
    show: Annotated[int, typer.Option(min=0, max=MAX_ERRORS_SHOWN, help="Maximum errors to show.")] = 50,
    max_size: Annotated[
        int, typer.Option(min=1, max=1024, metavar="GIB", help="Maximum size of all files, unpacked.")
    ] = 4,
) -> None:
    """Create and update users, groups and memberships from CSV files: all rows, or none.

    A row is matched by id, otherwise by external_id, otherwise by email; a group by name. Nothing is deleted, and an
    import can be repeated. Invalid rows are reported on stderr, with exit code 1.

    Limits: 262,144 characters a row, 1,000 files, 50 million rows and --max-size GiB an import; a .zip may unpack to a
    hundred times its size, or to 16 MiB.
    """
    options = ImportOptions(_known(kind), skip_bad, dry_run, show, ImportLimits(bytes=max_size * GIBIBYTE))
    with errors_shown(), progress() as report_progress:
        settings = read_settings()
        sources = find_sources(files, sys.stdin.buffer)
        prepare_database(settings)
        started = time.monotonic()
        report = import_files(settings.database, CSV_SCHEMAS, sources, options, report_progress)
    _print_errors(report)
    if report.bad and not skip_bad:
        invalid = "1 row is invalid" if report.bad == 1 else f"{report.bad:,} rows are invalid"
        warn(f"{invalid}; nothing was imported. --skip-bad leaves such rows out.")
    if report.stored or dry_run:
        headline = "Imported" if report.stored else "Dry run, nothing was changed: checked"
        _print_counts(report, f"{headline} in {time.monotonic() - started:.1f} s.", skip_bad)
    if report.bad and not skip_bad:
        raise typer.Exit(1)


def export(
    file: Annotated[
        str, typer.Argument(help="users.csv, groups.csv, memberships.csv; a folder/ or a .zip; - is stdout.")
    ],
    kind: Kind = None,
    for_spreadsheets: Annotated[
        bool,
        typer.Option("--for-spreadsheets", help="For Excel: add a byte order mark and disable formulas."),
    ] = False,
) -> None:
    """Write users, groups and memberships as CSV, in one consistent snapshot.

    Existing files are replaced, once the new ones are complete.
    """
    is_folder = file.endswith(("/", ".zip")) or Path(file).is_dir()
    schemas = _schemas_for(file, _known(kind), is_folder)
    started = time.monotonic()
    with errors_shown(), progress() as report_progress:
        settings = read_settings()
        prepare_database(settings)
        with TemporaryFile() as spool, ExitStack() as stack:
            snapshot = stack.enter_context(
                open_snapshot(settings.database, report_progress, for_spreadsheets=for_spreadsheets)
            )
            if file == "-":
                # Spooled, because the reader may be slow, and an open snapshot lets the write-ahead log grow.
                snapshot.write(schemas[0], spool)
                stack.close()
                spool.seek(0)
                shutil.copyfileobj(spool, sys.stdout.buffer)
            elif not is_folder:
                export_file(snapshot, schemas[0], Path(file))
            else:
                (export_zip if file.endswith(".zip") else export_folder)(snapshot, schemas, Path(file))
    counts = ", ".join(f"{number:,} {name}" for name, number in snapshot.counts.items())
    warn(f"Exported {counts or 'nothing: the database is empty'} in {time.monotonic() - started:.1f} s.")


def _known(kind: str | None) -> str | None:
    if kind is not None and kind not in CSV_SCHEMAS:
        raise typer.BadParameter(f"must be one of {KINDS}, got {kind!r}", param_hint="--kind")
    return kind


def _schemas_for(file: str, kind: str | None, is_folder: bool) -> list[CsvSchema]:
    """Choose what to export: the kind, else what the file's name says; everything into a folder or a .zip."""
    if kind is None and is_folder:
        return list(CSV_SCHEMAS.values())
    name = kind or kind_of_file(file, CSV_SCHEMAS)
    if name is None:
        fail(f"{file}: unknown content; name the file users.csv, for example, or use --kind: {KINDS}.", 2)
    return [CSV_SCHEMAS[name]]


def _print_errors(report: ImportReport) -> None:
    for row_error in report.row_errors:
        warn(str(row_error))
    if report.error_count > len(report.row_errors):
        warn(f"… and {report.error_count - len(report.row_errors):,} more errors; --show sets how many are shown.")


def _print_counts(report: ImportReport, headline: str, skipped: bool) -> None:
    names = ("created", "changed", "unchanged", "skipped" if skipped else "bad")
    rows = [
        (name, *(f"{number:,}" for number in (counts.created, counts.changed, counts.unchanged, counts.bad)))
        for name, counts in report.counts.items()
    ]
    print(headline)
    print_table(("", *(Column(name, justify="right") for name in names)), rows)
