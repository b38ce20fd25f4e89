"""Parses the rows of a CSV file into staged rows, validated by the same input models as in the APIs.

An empty cell is null where the field may be null, absent where the field has a default, and an error where it is
required. A row with errors is staged as well, without the invalid values, so that rows that refer to it do not get
errors of their own.
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
from schema.engine.model.field import lower_case
from schema.engine.model.record import new_id
from schema.engine.operations.write_statements import bound_columns, column_values
from schema.engine.sql.statement import Statement
from schema.transfer.csv_schema import Column, CsvSchema
from schema.transfer.source import CsvHeader, CsvRow
from schema.transfer.staging_tables import StagingTables

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
Values = dict[str, Any]


class RowParser:
    """Stages the rows of one file."""

    def __init__(self, staging: StagingTables, header: CsvHeader, file: int) -> None:
        csv_schema, table = header.csv_schema, staging.rows[header.csv_schema.name]
        self._staging = staging
        self._file = file
        self._csv_schema = csv_schema
        self._cells = [_Cell.of(column, csv_schema) for column in header.columns]
        self._fields = {column.name: column.field for column in header.columns}
        self._bits = {column.name: csv_schema.bits[column.target] for column in header.columns}
        empty = {f"set_{column.name}": None for column in table.columns}
        self._defaults = {**empty, "set__exists": 0, **column_values(csv_schema.fields, csv_schema.defaults)}
        self._insert_row = Statement(insert(table).values(bound_columns(table, table.columns.keys())))
        self._insert_error = Statement(
            insert(staging.errors).values(bound_columns(staging.errors, staging.errors.c.keys()))
        )

    def stage(self, numbered_rows: Iterable[tuple[int, CsvRow]]) -> None:
        """Stage rows, each under its number."""
        errors: list[Values] = []
        self._staging.connection.run_many(self._insert_row, self._staged(numbered_rows, errors))
        self._staging.insert_errors(self._insert_error, errors)

    def _staged(self, numbered_rows: Iterable[tuple[int, CsvRow]], errors: list[Values]) -> Iterator[Values]:
        for number, row in numbered_rows:
            if row.error is not None:
                self._staging.unreadable[self._csv_schema.name] += 1
                errors.append(self._row_error(number, row, None, row.error))
                continue
            values, field_errors = self._parse(row.cells)
            errors += (self._row_error(number, row, error.path[0], error.message) for error in field_errors)
            marks = {
                "set__number": number, "set__file": self._file, "set__line": row.line, "set__bad": bool(field_errors),
            }  # fmt: skip
            yield {**self._defaults, **self._columns(values), **marks}

    def _parse(self, cells: Sequence[str]) -> tuple[Values, list[FieldError]]:
        """The valid values, and the errors of the others."""
        field_errors = []
        data: Values = {}
        for cell, text in zip(self._cells, cells, strict=True):
            if text:
                data[cell.name] = cell.read(text) if cell.read else text
            elif cell.nullable:
                data[cell.name] = None
            elif cell.required:
                field_errors.append(FieldError((cell.name,), "is required", "required"))
        try:
            return self._csv_schema.input_model.read(data), field_errors
        except ValidationFailed as error:
            invalid = {field_error.path[0] for field_error in error.field_errors}
            valid = {name: value for name, value in data.items() if name not in invalid}
            return self._csv_schema.input_model.read(valid), [*field_errors, *error.field_errors]

    def _columns(self, values: Values) -> Values:
        """The columns that the values set. A record without an id gets one, in case it turns out to be new."""
        columns = column_values(self._fields, values)
        columns["set__provided"] = reduce(or_, map(self._bits.__getitem__, values), 0)
        if not self._csv_schema.is_link and "id" not in values:
            columns["set_id"] = new_id()
        return columns

    def _row_error(self, number: int, row: CsvRow, column: str | int | None, reason: str) -> Values:
        values = {"number": number, "file": self._file, "line": row.line, "csv_schema": self._csv_schema.name}
        values |= {"column": column, "reason": reason, "value": None, "other_number": None}
        return {f"set_{name}": value for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class _Cell:
    """How the cells of a column are read."""

    name: str
    read: Callable[[str], Any] | None
    nullable: bool
    required: bool

    @classmethod
    def of(cls, column: Column, csv_schema: CsvSchema) -> _Cell:
        field = csv_schema.fields[column.target]
        required = field.required and not field.read_only and not field.foreign_table
        return cls(column.name, _reader(column), field.nullable, required)


def _reader(column: Column) -> Callable[[str], Any] | None:
    if column.via and column.via.ignore_case:
        return lower_case
    return {"integer": _integer, "boolean": _boolean}.get(column.field.kind)


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _boolean(text: str) -> bool | str:
    return _BOOLEANS.get(text.lower(), text)
