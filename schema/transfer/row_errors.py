"""What is wrong with rows: noted while they are judged, told in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, null, select

from schema.transfer.sheet import Sheet
from schema.transfer.source import Heading
from schema.transfer.staging_tables import Stage

LONGEST_REASON = 500  # characters: it may quote a cell


@dataclass(frozen=True, slots=True)
class RowError:
    """One thing wrong: the file, the line (the first of a row that has several), the column, and what it is."""

    file: str
    line: int
    column: str | None
    reason: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"{self.file}:{self.line}", self.column, _shortened(self.reason))))


def record_row_errors(
    stage: Stage,
    sheet: Sheet,
    column: str | None,
    reason: str,
    *tests: ColumnElement[bool],
    value: ColumnElement[Any] | None = None,
    other: ColumnElement[int] | None = None,
) -> None:
    """Note a fault of all rows of a sheet that the tests hold for; a value or another row's number goes with it."""
    rows = stage.rows[sheet.name]
    details = (null() if detail is None else detail for detail in (value, other))
    told = (literal(sheet.name), null() if column is None else literal(column), literal(reason), *details)
    found = select(rows.c._number, rows.c._file, rows.c._line, *told).where(*tests)
    stage.run(insert(stage.faults).from_select(stage.faults.columns.keys(), found))


def bad_rows(stage: Stage) -> dict[str, int]:
    """How many rows of each sheet have faults."""
    found = Counter(stage.unreadable)
    for name, rows in stage.rows.items():
        ((marked,),) = stage.run(select(func.count()).select_from(rows).where(rows.c._bad == 1))
        found[name] += marked
    return {name: number for name, number in found.items() if number}


def row_errors(stage: Stage, headings: Sequence[Heading], most: int) -> tuple[list[RowError], int]:
    """The first faults, in the order of reading, and how many there are in all."""
    faults = stage.faults
    (total,) = stage.run(select(func.count()).select_from(faults))[0]
    found = stage.run(select(*faults.columns).order_by(faults.c.number).limit(most))
    return [_told(stage, headings, *row) for row in found], total + stage.left_out


def _shortened(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"


def _told(
    stage: Stage, headings: Sequence[Heading], number: int, file: int, line: int, sheet: str, column: str | None,
    reason: str, value: Any, other: int | None,
) -> RowError:  # fmt: skip
    heading = headings[file]
    more = f" {value!r}" if value is not None else ""
    if other is not None:
        rows = stage.rows[sheet]
        there = stage.run(select(rows.c._file, rows.c._line).where(rows.c._number == other))[0]
        more = f" {headings[there[0]].source}:{there[1]}"
    return RowError(heading.source, line, heading.spelled(column), reason + more)
