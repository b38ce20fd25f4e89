"""Row errors: recorded during validation, reported at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, null, select

from schema.transfer.csv_schema import CsvSchema
from schema.transfer.source import CsvHeader
from schema.transfer.staging_tables import StagingTables

MAX_REASON_LENGTH = 500  # characters: a reason may quote a cell


@dataclass(frozen=True, slots=True)
class RowError:
    """One error: the file, the first line of the row, the column, and the reason."""

    file: str
    line: int
    column: str | None
    reason: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"{self.file}:{self.line}", self.column, _shortened(self.reason))))


def record_row_errors(
    staging: StagingTables,
    csv_schema: CsvSchema,
    column: str | None,
    reason: str,
    *conditions: ColumnElement[bool],
    value: ColumnElement[Any] | None = None,
    other_number: ColumnElement[int] | None = None,
) -> None:
    """Record an error for all staged rows that meet the conditions, with a value or the number of another row."""
    rows = staging.rows[csv_schema.name]
    details = (null() if detail is None else detail for detail in (value, other_number))
    constants = (literal(csv_schema.name), null() if column is None else literal(column), literal(reason))
    matches = select(rows.c._number, rows.c._file, rows.c._line, *constants, *details).where(*conditions)
    staging.run(insert(staging.errors).from_select(staging.errors.columns.keys(), matches))


def count_bad_rows(staging: StagingTables) -> dict[str, int]:
    """How many rows of each schema have errors; schemas without any are left out."""
    counts = Counter(staging.unreadable)
    for name, rows in staging.rows.items():
        ((marked,),) = staging.run(select(func.count()).select_from(rows).where(rows.c._bad == 1))
        counts[name] += marked
    return {name: number for name, number in counts.items() if number}


def first_row_errors(staging: StagingTables, headers: Sequence[CsvHeader], limit: int) -> tuple[list[RowError], int]:
    """The first errors, in the order of reading, and the number of all errors."""
    errors = staging.errors
    ((total,),) = staging.run(select(func.count()).select_from(errors))
    rows = staging.run(select(*errors.columns).order_by(errors.c.number).limit(limit))
    return [_row_error(staging, headers, *row) for row in rows], total + staging.omitted_errors


def _shortened(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON_LENGTH else f"{reason[: MAX_REASON_LENGTH - 1]}…"


def _row_error(
    staging: StagingTables, headers: Sequence[CsvHeader], number: int, file: int, line: int, csv_schema: str,
    column: str | None, reason: str, value: Any, other_number: int | None,
) -> RowError:  # fmt: skip
    header = headers[file]
    detail = f" {value!r}" if value is not None else ""
    if other_number is not None:
        rows = staging.rows[csv_schema]
        other = select(rows.c._file, rows.c._line).where(rows.c._number == other_number)
        ((other_file, other_line),) = staging.run(other)
        detail = f" {headers[other_file].source}:{other_line}"
    return RowError(header.source, line, header.name_in_file(column), reason + detail)
