"""The full-text index behind search on SQLite: FTS5 trigrams over the lower-case texts, kept up to date by triggers.

FTS5 numbers its rows, our tables use ids: `<table>_searched` maps one to the other. The index itself,
`<table>_search`, stores no text. Writing to the index is expensive per statement and cheap per row, so a new row is
only numbered, and every `BATCH_SIZE` rows are indexed together. Rows numbered above the last multiple of
`BATCH_SIZE` are not indexed yet; a search reads them directly.

The statements run after `CREATE TABLE`; the migrations read them from `Table.info`. Queries are in `query/search.py`.
"""

# ruff: noqa: S608  the statements are built from names of tables and fields, never from values

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, event

BATCH_SIZE = 32
FILL = "fill"
INFO_KEY = "search"


def add_trigram_index(table: Table, fields: Sequence[str]) -> None:
    """Create an index over `fields` together with the table."""
    if fields:
        table.info[INFO_KEY] = ddl_statements(table.name, fields)
        event.listen(table, "after_create", _create)


def index_name(table: str) -> str:
    return f"{table}_search"


def row_number_table(table: str) -> str:
    """Name the table that maps numbers in the index to ids."""
    return f"{table}_searched"


def last_indexed_row(table: str) -> str:
    """SQL for the last number in the index; null before the first row is numbered."""
    return f"(SELECT seq / {BATCH_SIZE} * {BATCH_SIZE} FROM sqlite_sequence WHERE name = '{row_number_table(table)}')"


def ddl_statements(table: str, fields: Sequence[str]) -> Mapping[str, str]:
    """The statements that create the index, keyed by what each creates; the last, `FILL`, indexes existing rows."""
    index, numbers, columns = index_name(table), row_number_table(table), ", ".join(fields)
    old, new, rows = (", ".join(f"{row}.{name}_key" for name in fields) for row in ("old", "new", "r"))
    changed = " OR ".join(f"old.{name}_key IS NOT new.{name}_key" for name in fields)
    indexed = f"FROM {numbers} WHERE id = old.id AND number <= {last_indexed_row(table)}"
    remove = f"INSERT INTO {index} ({index}, rowid, {columns}) SELECT 'delete', number, {old} {indexed};"
    add = f"INSERT INTO {index} (rowid, {columns}) SELECT number, {new} {indexed};"
    batch = (
        f"INSERT INTO {index} (rowid, {columns})"
        f' SELECT n.number, {rows} FROM {numbers} n JOIN "{table}" r ON r.id = n.id'
        f" WHERE n.number > new.number - {BATCH_SIZE} AND n.number <= new.number ORDER BY n.number;"
    )
    keys = ", ".join(f"{name}_key" for name in fields)
    return {
        numbers: f"CREATE TABLE {numbers} (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
        index: f"CREATE VIRTUAL TABLE {index} USING fts5({columns}, content='', columnsize=0,"
        " tokenize='trigram case_sensitive 1')",
        f"{index}_batch": f"CREATE TRIGGER {index}_batch AFTER INSERT ON {numbers} WHEN new.number % {BATCH_SIZE} = 0"
        f" BEGIN {batch} END",
        f"{index}_new": f'CREATE TRIGGER {index}_new AFTER INSERT ON "{table}"'
        f" BEGIN INSERT INTO {numbers} (id) VALUES (new.id); END",
        f"{index}_changed": f'CREATE TRIGGER {index}_changed AFTER UPDATE OF {keys} ON "{table}" WHEN {changed}'
        f" BEGIN {remove} {add} END",
        f"{index}_gone": f'CREATE TRIGGER {index}_gone AFTER DELETE ON "{table}"'
        f" BEGIN {remove} DELETE FROM {numbers} WHERE id = old.id; END",
        FILL: f'INSERT INTO {numbers} (id) SELECT id FROM "{table}" ORDER BY id',
    }


def index_tables(table: Table) -> set[str]:
    """The tables that the index of `table` consists of."""
    index = index_name(table.name)
    shadows = {f"{index}_{part}" for part in ("data", "idx", "config")}
    return {index, row_number_table(table.name), *shadows} if INFO_KEY in table.info else set()


def _create(table: Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name == "sqlite":
        for name, sql in table.info[INFO_KEY].items():
            if name != FILL:
                connection.exec_driver_sql(sql)
