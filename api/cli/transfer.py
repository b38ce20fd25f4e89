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
from rich.console import Console
from rich.table import Table

from api.cli.migrate import prepare
from api.cli.terminal import fail, plainly, progress, warn
from api.settings import read
from schema.engine.model.resource import resource_of
from schema.models import MODELS
from schema.transfer.csv_schema import CsvSchema, csv_schemas_of
from schema.transfer.exporter import export_file, export_folder, export_zip, open_snapshot
from schema.transfer.importer import ImportOptions, ImportReport, import_files
from schema.transfer.limits import GIBIBYTE, MAX_ERRORS_SHOWN, ImportLimits
from schema.transfer.source import find_sources, kind_of_file

CSV_SCHEMAS = csv_schemas_of(resource_of(model) for model in MODELS)
KINDS = ", ".join(CSV_SCHEMAS)
Kind = Annotated[str | None, typer.Option(help=f"What the files hold, if their names do not say it: {KINDS}.")]


def import_(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="CSV files, folders or .zip files; - is stdin.")],
    kind: Kind = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Import the good rows although there are bad ones.")
    ] = False,
    show: Annotated[int, typer.Option(min=0, max=MAX_ERRORS_SHOWN, help="How many faults to show.")] = 50,
    max_size: Annotated[
        int, typer.Option(min=1, max=1024, metavar="GIB", help="How much may be read in all, unpacked.")
    ] = 4,
) -> None:
    """Create and change users, groups and memberships from CSV files: all rows, or none.

    A row is about the record with its id; without one, with its external_id, else its email; a group's with its name.
    What changes nothing is no change, and nothing is ever deleted, so an import can be repeated. Bad rows are told on
    stderr, and the command exits with 1.

    A row may have 262,144 characters; an import 1,000 files, 50 million rows, and --max-size GiB; a .zip may unpack to
    a hundred times its size, or to 16 MiB.
    """
    wish = ImportOptions(_known(kind), skip_bad, dry_run, show, ImportLimits(bytes=max_size * GIBIBYTE))
    with plainly(), progress() as tell:
        settings = read()
        sources = find_sources(files, sys.stdin.buffer)
        prepare(settings)
        started = time.monotonic()
        report = import_files(settings.database, CSV_SCHEMAS, sources, wish, tell)
    _tell_faults(report)
    if report.bad and not skip_bad:
        bad = "One row is bad" if report.bad == 1 else f"{report.bad:,} rows are bad"
        warn(f"{bad}, so nothing was imported. --skip-bad leaves such rows out.")
    if report.stored or dry_run:
        said = "Imported" if report.stored else "Nothing was changed; this is what an import would do, found out"
        _tell_counts(report, f"{said} in {time.monotonic() - started:.1f} s.", skip_bad)
    if report.bad and not skip_bad:
        raise typer.Exit(1)


def export(
    file: Annotated[
        str, typer.Argument(help="users.csv, groups.csv, memberships.csv; a folder/ or a .zip; - is stdout.")
    ],
    kind: Kind = None,
    for_spreadsheets: Annotated[
        bool,
        typer.Option("--for-spreadsheets", help="For looking at in Excel: with a byte order mark, formulas disarmed."),
    ] = False,
) -> None:
    """Write users, groups and memberships as CSV, all as they are at one moment.

    A file is there whole or not at all, and takes the place of one that was there before.
    """
    whole = file.endswith(("/", ".zip")) or Path(file).is_dir()
    wanted = _wanted(file, _known(kind), whole)
    started = time.monotonic()
    with plainly(), progress() as tell:
        settings = read()
        prepare(settings)
        with TemporaryFile() as spool, ExitStack() as stack:
            taken = stack.enter_context(open_snapshot(settings.database, tell, for_spreadsheets=for_spreadsheets))
            if file == "-":
                # Whoever reads from us may take their time; a snapshot that is held lets the write-ahead log grow.
                taken.write(wanted[0], spool)
                stack.close()
                spool.seek(0)
                shutil.copyfileobj(spool, sys.stdout.buffer)
            elif not whole:
                export_file(taken, wanted[0], Path(file))
            else:
                (export_zip if file.endswith(".zip") else export_folder)(taken, wanted, Path(file))
    written = ", ".join(f"{number:,} {name}" for name, number in taken.counts.items())
    warn(f"Exported {written or 'nothing: there is nothing'} in {time.monotonic() - started:.1f} s.")


def _known(kind: str | None) -> str | None:
    if kind is not None and kind not in CSV_SCHEMAS:
        raise typer.BadParameter(f"there is no kind {kind!r}; there are {KINDS}", param_hint="--kind")
    return kind


def _wanted(file: str, kind: str | None, whole: bool) -> list[CsvSchema]:
    """What goes into the file: what is asked for, what its name says, or all where there is room for all."""
    if kind is None and whole:
        return list(CSV_SCHEMAS.values())
    name = kind or kind_of_file(file, CSV_SCHEMAS)
    if name is None:
        fail(f"{file} does not say what it shall hold: name it after that, as in users.csv, or say --kind: {KINDS}.", 2)
    return [CSV_SCHEMAS[name]]


def _tell_faults(report: ImportReport) -> None:
    for row_error in report.row_errors:
        warn(str(row_error))
    if report.error_count > len(report.row_errors):
        warn(f"… and {report.error_count - len(report.row_errors):,} more; --show says how many are shown.")


def _tell_counts(report: ImportReport, headline: str, skipped: bool) -> None:
    table = Table("", box=None, pad_edge=False, header_style="")
    for name in ("created", "changed", "unchanged", "skipped" if skipped else "bad"):
        table.add_column(name, justify="right")
    for name, it in report.counts.items():
        table.add_row(name, *(f"{number:,}" for number in (it.created, it.changed, it.unchanged, it.bad)))
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(headline)
    console.print(table)
