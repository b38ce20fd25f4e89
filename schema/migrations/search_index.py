"""What Alembic has to know of search on SQLite: the trigram index is no table of the models', and comes with triggers.

Where an index is missing, or is another than the models want, a new migration drops what there is, makes it anew and
fills it; what compares models and database sees the difference.
"""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Connection, Table
from sqlmodel import SQLModel

from schema.engine.model.trigram_index import FILL, INFO_KEY, index_tables


class Searching(ops.ExecuteSQLOp):
    """A statement, and the one that takes it back."""

    def __init__(self, sql: str, back: str) -> None:
        super().__init__(sql)
        self.back = back

    def reverse(self) -> Searching:
        """The other way round."""
        return Searching(self.back, str(self.sqltext))


def is_declared(name: str | None, kind: str, parents: Any) -> bool:
    """Whether Alembic is to look at this: not at the tables that an index consists of."""
    if kind == "index" and (name or "").endswith("_trigrams"):
        return False
    return kind != "table" or all(name not in index_tables(table) for table in SQLModel.metadata.tables.values())


@comparators.dispatch_for("schema")
def _compare(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> None:
    connection = context.connection
    if connection is not None and connection.dialect.name == "sqlite":
        for table in SQLModel.metadata.sorted_tables:
            if INFO_KEY in table.info:
                upgrade.ops.extend(_differing(table, connection))


def _differing(table: Table, connection: Connection) -> list[Searching]:
    """What makes the index of a table as it is to be; nothing if it is so."""
    wanted = dict(table.info[INFO_KEY])
    fill = wanted.pop(FILL)
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type IN ('table', 'trigger')")
    there = {name: sql for name, sql in rows if name in wanted}
    if there == wanted:
        return []
    numbers = next(iter(wanted))
    dropped = [Searching(_drop(name, there[name]), there[name]) for name in reversed(wanted) if name in there]
    made = [Searching(sql, _drop(name, sql)) for name, sql in wanted.items()]
    return [*dropped, *made, Searching(fill, f"DELETE FROM {numbers}")]  # noqa: S608  a table's name


def _drop(name: str, sql: str) -> str:
    return f"DROP {'TRIGGER' if sql.startswith('CREATE TRIGGER') else 'TABLE'} IF EXISTS {name}"
