"""What stands behind search on SQLite: an FTS5 index of trigrams over the lower-case texts, kept by triggers.

FTS5 knows rows by numbers, our tables by ids: `<table>_searched` translates. The index itself, `<table>_search`, keeps
no text of its own. Whoever writes a row, the triggers see it; a change of anything else costs nothing. Writing to the
index is dear for each writer and cheap for many rows at once, so new rows are only numbered, and each `BATCH` of them
is indexed together: the rows whose numbers lie above the last multiple of it are found by looking at them.

The statements are told to `CREATE TABLE` and, through `Table.info`, to the migrations; what asks the index is
`searching.py`.
"""

# ruff: noqa: S608  what stands in these texts are names of tables and fields, never values

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, event

BATCH = 32
FILL = "fill"
INFO = "search"


def searched(table: Table, fields: Sequence[str]) -> None:
    """Let an index over these fields of the table come with it, if there are any."""
    if fields:
        table.info[INFO] = statements(table.name, fields)
        event.listen(table, "after_create", _create)


def index_of(table: str) -> str:
    """The index of a table."""
    return f"{table}_search"


def numbers_of(table: str) -> str:
    """What translates between the numbers in the index and the ids in the table."""
    return f"{table}_searched"


def indexed_up_to(table: str) -> str:
    """SQL for the last number that is in the index; null where no row has been numbered yet."""
    return f"(SELECT seq / {BATCH} * {BATCH} FROM sqlite_sequence WHERE name = '{numbers_of(table)}')"


def statements(table: str, fields: Sequence[str]) -> Mapping[str, str]:
    """What makes the index, by the names of what is made, in order; last, under `FILL`, what fills it."""
    index, numbers, named = index_of(table), numbers_of(table), ", ".join(fields)
    old, new, rows = (", ".join(f"{row}.{name}_key" for name in fields) for row in ("old", "new", "r"))
    differs = " OR ".join(f"old.{name}_key IS NOT new.{name}_key" for name in fields)
    known = f"FROM {numbers} WHERE id = old.id AND number <= {indexed_up_to(table)}"
    forget = f"INSERT INTO {index} ({index}, rowid, {named}) SELECT 'delete', number, {old} {known};"
    learn = f"INSERT INTO {index} (rowid, {named}) SELECT number, {new} {known};"
    batch = (
        f"INSERT INTO {index} (rowid, {named})"
        f' SELECT n.number, {rows} FROM {numbers} n JOIN "{table}" r ON r.id = n.id'
        f" WHERE n.number > new.number - {BATCH} AND n.number <= new.number ORDER BY n.number;"
    )
    keys = ", ".join(f"{name}_key" for name in fields)
    return {
        numbers: f"CREATE TABLE {numbers} (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
        index: f"CREATE VIRTUAL TABLE {index} USING fts5({named}, content='', columnsize=0,"
        " tokenize='trigram case_sensitive 1')",
        f"{index}_batch": f"CREATE TRIGGER {index}_batch AFTER INSERT ON {numbers} WHEN new.number % {BATCH} = 0"
        f" BEGIN {batch} END",
        f"{index}_new": f'CREATE TRIGGER {index}_new AFTER INSERT ON "{table}"'
        f" BEGIN INSERT INTO {numbers} (id) VALUES (new.id); END",
        f"{index}_changed": f'CREATE TRIGGER {index}_changed AFTER UPDATE OF {keys} ON "{table}" WHEN {differs}'
        f" BEGIN {forget} {learn} END",
        f"{index}_gone": f'CREATE TRIGGER {index}_gone AFTER DELETE ON "{table}"'
        f" BEGIN {forget} DELETE FROM {numbers} WHERE id = old.id; END",
        FILL: f'INSERT INTO {numbers} (id) SELECT id FROM "{table}" ORDER BY id',
    }


def made_by(table: Table) -> set[str]:
    """The tables that the index of a table consists of."""
    index = index_of(table.name)
    shadows = {f"{index}_{part}" for part in ("data", "idx", "config")}
    return {index, numbers_of(table.name), *shadows} if INFO in table.info else set()


def _create(table: Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name == "sqlite":
        for name, sql in table.info[INFO].items():
            if name != FILL:
                connection.exec_driver_sql(sql)
