"""The stage: where rows wait until all have been read and judged, in temporary tables that go with the connection.

A staged row holds a whole row of its sheet, and besides: its number (in the order of reading), its file and line, which
fields it was `_given`, whether it is `_known` to the directory, whether it is `_bad`, and what will be done with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Index, Integer, MetaData, String, Table, true
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.base import Executable

from schema.engine.sql.statement import Statement
from schema.transfer.session import Row, Session
from schema.transfer.sheet import Sheet, exact_or_folded


class Stage:
    """On a connection, a table for the rows of each sheet and one for what is wrong with them.

    Of what is wrong with rows as they are read, the first `most_told` faults are kept, and the others counted.
    """

    def __init__(self, session: Session, sheets: Mapping[str, Sheet], most_told: int) -> None:
        self.sheets = sheets
        self.unreadable = Counter[str]()  # rows by their sheets that could not even be staged
        self.left_out = 0  # faults that were not kept
        self._room = most_told
        self._metadata = MetaData()
        self.rows = {name: _rows(sheet, self._metadata) for name, sheet in sheets.items()}
        self.faults = _faults(self._metadata)
        self._session = session
        session.define(*map(CreateTable, self._metadata.tables.values()))

    def begin(self, *, writing: bool) -> None:
        """Begin a transaction; if it is to write, at once as the only writer."""
        self._session.begin(writing=writing, tables=[sheet.table.name for sheet in self.sheets.values()])

    def commit(self) -> None:
        """All of the transaction, on the disk."""
        self._session.say("COMMIT")

    def run(self, executable: Executable, **values: Any) -> Sequence[Row]:
        """The rows of a statement."""
        return self._session.run(executable, values)

    def count(self, executable: Executable) -> int:
        """How many rows a statement has changed."""
        return self._session.count(executable)

    def run_many(self, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run a statement for each row."""
        self._session.run_many(statement, rows)

    def blame(self, statement: Statement, faults: Sequence[Mapping[str, Any]]) -> None:
        """Keep as many faults as are told; they come in the order of the rows, so later ones never are."""
        kept = faults[: self._room]
        self._room -= len(kept)
        self.left_out += len(faults) - len(kept)
        self.run_many(statement, kept)

    def index(self) -> None:
        """Make what is looked for quick to find, now that all rows are there."""
        tables = self._metadata.tables.values()
        self._session.define(*(CreateIndex(index) for table in tables for index in table.indexes))
        self._session.prepare([table.name for table in tables])


def given(sheet: Sheet, rows: Table, name: str) -> ColumnElement[int]:
    """Not 0 where a staged row was given the field."""
    return rows.c._given.op("&", precedence=10)(sheet.bits[name])


def identical(sheet: Sheet, rows: Table) -> list[ColumnElement[bool]]:
    """What joins staged rows to the stored ones that they are about."""
    return [rows.c[name] == sheet.table.c[name] for name in sheet.identity]


def counting(rows: FromClause, skip_bad: bool) -> ColumnElement[bool]:
    """The staged rows that count: where bad rows are skipped, they do not; else they do, lest others be blamed."""
    return rows.c._bad == 0 if skip_bad else true()


def _rows(sheet: Sheet, metadata: MetaData) -> Table:
    copied = [Column(it.name, it.type) for it in sheet.table.columns if it.computed is None]
    via = [Column(it.name, String()) for reference in sheet.references for it in reference.columns]
    table = Table(
        f"staged_{sheet.table.name}", metadata,
        Column("_number", Integer, primary_key=True), Column("_file", Integer), Column("_line", Integer),
        Column("_given", Integer), Column("_known", Integer), Column("_bad", Integer), Column("_deed", String()),
        *copied, *via, prefixes=["TEMPORARY"],
    )  # fmt: skip
    looked_for = [sheet.identity, *((exact_or_folded(field),) for field in sheet.fields.values() if field.unique)]
    for names in looked_for:
        Index(f"staged_{sheet.table.name}_{'_'.join(names)}", *(table.c[name] for name in names))
    return table


def _faults(metadata: MetaData) -> Table:
    return Table(
        "fault", metadata, Column("number", Integer, index=True), Column("file", Integer), Column("line", Integer),
        Column("sheet", String()), Column("column", String()), Column("reason", String()), Column("value", String()),
        Column("other", Integer), prefixes=["TEMPORARY"],
    )  # fmt: skip
