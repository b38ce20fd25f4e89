"""Import of CSV files: all rows are staged, validated together, and stored in one transaction or not at all.

Nothing is locked while files are read; then other writers wait until the import is done. An import creates and updates
records, and never deletes any. A new record keeps the `id`, `created_at`, `updated_at` and `version` of its row, so
that an export imported into an empty directory is restored exactly; for an existing record Tandem sets these itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from schema.engine.model.record import now
from schema.transfer import ProgressCallback
from schema.transfer.connection import LOCK_TIMEOUT, connect, translated_errors
from schema.transfer.csv_schema import CsvSchema
from schema.transfer.limits import CountingReader, ImportLimits, check_rows, import_budget
from schema.transfer.record_matcher import match_records
from schema.transfer.row_errors import RowError, count_bad_rows, first_row_errors
from schema.transfer.row_parser import RowParser
from schema.transfer.source import CsvHeader, CsvRow, Source, open_source
from schema.transfer.staging_tables import StagingTables
from schema.transfer.storage import store_rows
from schema.transfer.validation import validate_rows

BATCH_SIZE, BATCH_LENGTH = 5000, 2**22  # rows and characters held in memory at a time
DEFAULT_LIMITS = ImportLimits()


@dataclass(frozen=True, slots=True)
class RowCounts:
    """The number of rows of a CSV schema by outcome."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do where nothing is `stored`; the first row errors, and the number of all."""

    stored: bool
    counts: Mapping[str, RowCounts]
    row_errors: Sequence[RowError]
    error_count: int

    @property
    def bad(self) -> int:
        return sum(counts.bad for counts in self.counts.values())


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """`kind` is the CSV schema of all files; `lock_timeout` is in milliseconds."""

    kind: str | None = None
    skip_bad: bool = False
    dry_run: bool = False
    max_errors: int = 50
    limits: ImportLimits = DEFAULT_LIMITS
    lock_timeout: int = LOCK_TIMEOUT


def import_files(
    database: str,
    csv_schemas: Mapping[str, CsvSchema],
    sources: Sequence[Source],
    options: ImportOptions,
    on_progress: ProgressCallback,
) -> ImportReport:
    """Import files into the database at a path or URL."""
    with translated_errors(database), connect(database, lock_timeout=options.lock_timeout) as connection:
        return _import(StagingTables(connection, csv_schemas, options.max_errors), sources, options, on_progress)


def _import(
    staging: StagingTables, sources: Sequence[Source], options: ImportOptions, on_progress: ProgressCallback
) -> ImportReport:
    headers, row_count = _stage(staging, sources, options, on_progress)
    on_progress("Checking", None)
    staging.create_indexes()
    already_failed = bool(count_bad_rows(staging)) and not options.skip_bad
    staging.begin(writing=not (options.dry_run or already_failed))
    match_records(staging, skip_bad=options.skip_bad)
    validate_rows(staging, skip_bad=options.skip_bad)
    stored = not options.dry_run and (options.skip_bad or not count_bad_rows(staging))
    report = _report(staging, headers, stored, options.max_errors)
    if stored:
        for share in store_rows(staging, now(), row_count):
            on_progress("Storing", share)
        staging.connection.execute("COMMIT")
    return report


def _stage(
    staging: StagingTables, sources: Sequence[Source], options: ImportOptions, on_progress: ProgressCallback
) -> tuple[list[CsvHeader], int]:
    """Stage all rows, numbered through; returns the files' headers and the number of rows."""
    headers: list[CsvHeader] = []
    number, budget = 0, import_budget(options.limits)
    staging.begin(writing=False)
    for file, source in enumerate(sources):
        with open_source(source, staging.csv_schemas, options.kind, budget) as (header, rows, raw):
            headers.append(header)
            parser = RowParser(staging, header, file)
            for batch in _batches(rows):
                parser.stage(enumerate(batch, number))
                number += len(batch)
                check_rows(number, options.limits)
                on_progress(f"Reading {source.name}", _share(raw, source))
    staging.connection.execute("COMMIT")
    return headers, number


def _batches(rows: Iterable[CsvRow]) -> Iterator[list[CsvRow]]:
    """Batches bounded by both the number of rows and their length."""
    batch, length = list[CsvRow](), 0
    for row in rows:
        batch.append(row)
        length += row.length
        if len(batch) == BATCH_SIZE or length > BATCH_LENGTH:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _share(raw: CountingReader, source: Source) -> float | None:
    return min(raw.tell() / source.size, 1) if source.size else None


def _report(staging: StagingTables, headers: Sequence[CsvHeader], stored: bool, max_errors: int) -> ImportReport:
    bad = count_bad_rows(staging)
    counts = {}
    for name in sorted({header.csv_schema.name for header in headers}, key=list(staging.csv_schemas).index):
        outcome = staging.rows[name].c._outcome
        by_outcome = select(outcome, func.count()).where(staging.rows[name].c._bad == 0).group_by(outcome)
        counts[name] = RowCounts(**dict(map(tuple, staging.run(by_outcome))), bad=bad.get(name, 0))
    return ImportReport(stored, counts, *first_row_errors(staging, headers, max_errors))
