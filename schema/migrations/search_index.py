"""Teaches Alembic about the trigram index of search on SQLite: virtual tables and triggers, which are no models.

Where an index is missing or differs from the models, a new migration drops it, creates it again and fills it, and a
comparison of models and database reports the difference.
"""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Connection, Table
from sqlmodel import SQLModel

from schema.engine.model.trigram_index import FILL, INFO_KEY, index_tables


class SearchIndexOp(ops.ExecuteSQLOp):
    """A statement and its inverse."""

    def __init__(self, sql: str, inverse: str) -> None:
        super().__init__(sql)
        self.inverse = inverse

    def reverse(self) -> SearchIndexOp:
        return SearchIndexOp(self.inverse, str(self.sqltext))


def is_compared(name: str | None, object_type: str, parents: Any) -> bool:
    """Whether Alembic compares this object: not the tables that a search index consists of."""
    if object_type == "index" and (name or "").endswith("_trigrams"):
        return False
    return object_type != "table" or all(name not in index_tables(table) for table in SQLModel.metadata.tables.values())


@comparators.dispatch_for("schema")
def _compare(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> None:
    connection = context.connection
    if connection is not None and connection.dialect.name == "sqlite":
        for table in SQLModel.metadata.sorted_tables:
            if INFO_KEY in table.info:
                upgrade.ops.extend(_changes(table, connection))


def _changes(table: Table, connection: Connection) -> list[SearchIndexOp]:
    """The operations that create a table's index as the models declare it; empty if it is so already."""
    declared = dict(table.info[INFO_KEY])
    fill = declared.pop(FILL)
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type IN ('table', 'trigger')")
    existing = {name: sql for name, sql in rows if name in declared}
    if existing == declared:
        return []
    numbers = next(iter(declared))
    drops = [
        SearchIndexOp(_drop(name, existing[name]), existing[name]) for name in reversed(declared) if name in existing
    ]
    creates = [SearchIndexOp(sql, _drop(name, sql)) for name, sql in declared.items()]
    return [*drops, *creates, SearchIndexOp(fill, f"DELETE FROM {numbers}")]  # noqa: S608  a table's name


def _drop(name: str, sql: str) -> str:
    return f"DROP {'TRIGGER' if sql.startswith('CREATE TRIGGER') else 'TABLE'} IF EXISTS {name}"
