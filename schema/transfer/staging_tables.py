"""Staging tables: temporary tables that hold all rows of an import until they have been validated.

A staged row holds a whole row of its table, and besides: its number (in the order of reading), its file and line, which
fields the file provides (bits), whether the record exists already, whether the row is bad, and its outcome: created,
changed or unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Index, Integer, MetaData, String, Table, true
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.base import Executable

from schema.engine.sql.statement import Statement
from schema.transfer.connection import Connection, Row
from schema.transfer.csv_schema import CsvSchema, unique_column


class StagingTables:
    """For each CSV schema a table of rows, and one table of row errors.

    Of the errors that are detected while rows are read, the first `max_errors` are kept and the others counted.
    """

    def __init__(self, connection: Connection, csv_schemas: Mapping[str, CsvSchema], max_errors: int) -> None:
        self.csv_schemas = csv_schemas
        self.unreadable = Counter[str]()  # by schema: rows that are not even CSV, so they are not staged
        self.omitted_errors = 0
        self._errors_left = max_errors
        self._metadata = MetaData()
        self.rows = {name: _row_table(csv_schema, self._metadata) for name, csv_schema in csv_schemas.items()}
        self.errors = _error_table(self._metadata)
        self.connection = connection
        connection.define(*map(CreateTable, self._metadata.tables.values()))

    def begin(self, *, writing: bool) -> None:
        """Begin a transaction; with `writing`, as the only writer from the start."""
        tables = [csv_schema.table.name for csv_schema in self.csv_schemas.values()]
        self.connection.begin(writing=writing, tables=tables)

    def run(self, query: Executable, **values: Any) -> Sequence[Row]:
        return self.connection.run(query, values)

    def insert_errors(self, statement: Statement, errors: Sequence[Mapping[str, Any]]) -> None:
        """Keep errors up to the limit. They come in the order of the rows, so later ones would not be shown."""
        kept = errors[: self._errors_left]
        self._errors_left -= len(kept)
        self.omitted_errors += len(errors) - len(kept)
        self.connection.run_many(statement, kept)

    def create_indexes(self) -> None:
        """Index the tables and update their statistics, after all rows have been staged."""
        tables = self._metadata.tables.values()
        self.connection.define(*(CreateIndex(index) for table in tables for index in table.indexes))
        self.connection.analyze([table.name for table in tables])


def is_provided(csv_schema: CsvSchema, rows: Table, name: str) -> ColumnElement[int]:
    """Not 0 where the file provides the field."""
    return rows.c._provided.op("&", precedence=10)(csv_schema.bits[name])


def same_identity(csv_schema: CsvSchema, rows: Table) -> list[ColumnElement[bool]]:
    """Joins staged rows to the stored rows with the same identity."""
    return [rows.c[name] == csv_schema.table.c[name] for name in csv_schema.identity]


def is_considered(rows: FromClause, skip_bad: bool) -> ColumnElement[bool]:
    """The staged rows that other rows may refer to.

    Where bad rows are skipped, only the good ones; else all, so that one error is not reported again for each row that
    refers to the bad one.
    """
    return rows.c._bad == 0 if skip_bad else true()


def _row_table(csv_schema: CsvSchema, metadata: MetaData) -> Table:
    copied = [Column(column.name, column.type) for column in csv_schema.table.columns if column.computed is None]
    aliases = [Column(column.name, String()) for reference in csv_schema.references for column in reference.columns]
    name = f"staged_{csv_schema.table.name}"
    table = Table(
        name, metadata,
        Column("_number", Integer, primary_key=True), Column("_file", Integer), Column("_line", Integer),
        Column("_provided", Integer), Column("_exists", Integer), Column("_bad", Integer), Column("_outcome", String()),
        *copied, *aliases, prefixes=["TEMPORARY"],
    )  # fmt: skip
    unique = [(unique_column(field),) for field in csv_schema.fields.values() if field.unique]
    for columns in (csv_schema.identity, *unique):
        Index(f"{name}_{'_'.join(columns)}", *(table.c[column] for column in columns))
    return table


def _error_table(metadata: MetaData) -> Table:
    return Table(
        "row_error", metadata, Column("number", Integer, index=True), Column("file", Integer), Column("line", Integer),
        Column("csv_schema", String()), Column("column", String()), Column("reason", String()),
        Column("value", String()), Column("other_number", Integer), prefixes=["TEMPORARY"],
    )  # fmt: skip
