"""From a file's rows to staged rows: cells become values, and values are held against the same faces as at the doors.

An empty cell is null where the field may be null; where it has a default it is as if the column were not there; where
it is required it is a fault. A row with a fault is staged as well, without what is wrong, so that rows that refer to it
are not blamed for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from sqlalchemy import insert

from schema.engine.errors import FieldError, ValidationFailed
from schema.engine.model.field import lowered
from schema.engine.model.record import new_id
from schema.engine.operations.write_statements import columns_of, setting
from schema.engine.sql.statement import Statement
from schema.transfer.sheet import Column, Sheet
from schema.transfer.source import Heading, Line
from schema.transfer.staging_tables import Stage

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_TRUTH = {"true": True, "false": False}
Row = dict[str, Any]


class Intake:
    """Puts the rows of one file on the stage."""

    def __init__(self, stage: Stage, heading: Heading, file: int) -> None:
        sheet, table = heading.sheet, stage.rows[heading.sheet.name]
        self._stage = stage
        self._file = file
        self._sheet = sheet
        self._cells = [_Cell.of(column, sheet) for column in heading.columns]
        self._fields = {column.name: column.field for column in heading.columns}
        self._bits = {column.name: sheet.bits[column.about] for column in heading.columns}
        nothing = {f"set_{column.name}": None for column in table.columns}
        self._blank = {**nothing, "set__known": 0, **columns_of(sheet.fields, sheet.blank)}
        self._staging = Statement(insert(table).values(setting(table, table.columns.keys())))
        self._blaming = Statement(insert(stage.faults).values(setting(stage.faults, stage.faults.columns.keys())))

    def take(self, lines: Iterable[tuple[int, Line]]) -> None:
        """Stage some rows, each under its number."""
        faults: list[Row] = []
        self._stage.run_many(self._staging, self._staged(lines, faults))
        self._stage.blame(self._blaming, faults)

    def _staged(self, lines: Iterable[tuple[int, Line]], faults: list[Row]) -> Iterator[Row]:
        for number, line in lines:
            if line.fault is not None:
                self._stage.unreadable[self._sheet.name] += 1
                faults.append(self._fault(number, line, None, line.fault))
                continue
            values, wrong = self._read(line.cells)
            faults += (self._fault(number, line, fault.path[0], fault.message) for fault in wrong)
            marks = {"set__number": number, "set__file": self._file, "set__line": line.number, "set__bad": bool(wrong)}
            yield {**self._blank, **self._columns(values), **marks}

    def _read(self, cells: Sequence[str]) -> tuple[Row, list[FieldError]]:
        """What the cells say, without what is wrong, and what that is."""
        wrong = []
        data: Row = {}
        for cell, text in zip(self._cells, cells, strict=True):
            if text:
                data[cell.name] = cell.read(text) if cell.read else text
            elif cell.nullable:
                data[cell.name] = None
            elif cell.required:
                wrong.append(FieldError((cell.name,), "it is required", "required"))
        try:
            return self._sheet.face.read(data), wrong
        except ValidationFailed as error:
            faulty = {fault.path[0] for fault in error.field_errors}
            right = {name: value for name, value in data.items() if name not in faulty}
            return self._sheet.face.read(right), [*wrong, *error.field_errors]

    def _columns(self, values: Row) -> Row:
        """The columns that the values fill; a record that is not known by its id may be a new one."""
        columns = columns_of(self._fields, values)
        columns["set__given"] = reduce(or_, map(self._bits.__getitem__, values), 0)
        if not self._sheet.is_link and "id" not in values:
            columns["set_id"] = new_id()
        return columns

    def _fault(self, number: int, line: Line, column: str | int | None, reason: str) -> Row:
        told = {"number": number, "file": self._file, "line": line.number, "sheet": self._sheet.name}
        told |= {"column": column, "reason": reason, "value": None, "other": None}
        return {f"set_{name}": value for name, value in told.items()}


@dataclass(frozen=True, slots=True)
class _Cell:
    """How the cells of a column are read."""

    name: str
    read: Callable[[str], Any] | None
    nullable: bool
    required: bool

    @classmethod
    def of(cls, column: Column, sheet: Sheet) -> _Cell:
        field = sheet.fields[column.about]
        required = field.required and not field.read_only and not field.foreign
        return cls(column.name, _reader(column), field.nullable, required)


def _reader(column: Column) -> Callable[[str], Any] | None:
    if column.via and column.via.folded:
        return lowered
    return {"integer": _integer, "boolean": _boolean}.get(column.field.kind)


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _boolean(text: str) -> bool | str:
    return _TRUTH.get(text.lower(), text)
