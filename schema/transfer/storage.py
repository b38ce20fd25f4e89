"""Stores the good staged rows, in batches within the import's one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    String,
    Table,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql.base import Executable

from schema.transfer.csv_schema import CsvSchema, unique_column
from schema.transfer.staging_tables import StagingTables, same_identity

BATCH_SIZE = 10_000
ID_LENGTH = 36


def store_rows(staging: StagingTables, now: str, row_count: int) -> Iterator[float]:
    """Update and insert records; yields the completed share before each batch."""
    csv_schemas = staging.csv_schemas.values()
    for csv_schema in csv_schemas:
        _release_unique_values(staging, csv_schema)
    batches = [(csv_schema, first) for csv_schema in csv_schemas for first in range(0, row_count, BATCH_SIZE)]
    for position, (csv_schema, first) in enumerate(batches):
        yield position / len(batches)
        staging.run(_update(staging, csv_schema), first=first, last=first + BATCH_SIZE, now=now)
        staging.run(_insert(staging, csv_schema), first=first, last=first + BATCH_SIZE, now=now)


def _release_unique_values(staging: StagingTables, csv_schema: CsvSchema) -> None:
    """Clear unique values that move from one record to another, so that updates work in any order."""
    rows, table = staging.rows[csv_schema.name], csv_schema.table
    receiver = rows.alias("receiver")
    for field in csv_schema.fields.values():
        if field.unique and (field.nullable or (field.kind == "text" and (field.max_length or 0) >= ID_LENGTH)):
            name = unique_column(field)
            moves = exists(select(receiver.c.id).where(receiver.c[name] == table.c[name], receiver.c.id != table.c.id))
            placeholder: ColumnElement[Any] = null() if field.nullable else table.c.id
            released = (*same_identity(csv_schema, rows), *_has_outcome(rows, "changed"), moves)
            staging.run(update(table).where(*released).values({name: placeholder, field.name: placeholder}))


def _update(staging: StagingTables, csv_schema: CsvSchema) -> Executable:
    rows, table = staging.rows[csv_schema.name], csv_schema.table
    values: dict[str, ColumnElement[Any]] = {
        name: rows.c[name] for field in csv_schema.writable_fields for name in (field.name, field.key_column) if name
    }
    if not csv_schema.is_link:
        values |= {"version": table.c.version + literal_column("1"), "updated_at": bindparam("now")}
    conditions = (*same_identity(csv_schema, rows), *_has_outcome(rows, "changed"), *_in_batch(rows))
    return update(table).where(*conditions).values(values)


def _insert(staging: StagingTables, csv_schema: CsvSchema) -> Executable:
    rows = staging.rows[csv_schema.name]
    names = [column.name for column in csv_schema.table.columns if column.computed is None]
    now = bindparam("now", type_=String())
    fallbacks = {
        "created_at": (*([] if csv_schema.is_link else [rows.c.updated_at]), now),
        "updated_at": (now,),
        "version": (literal_column("1"),),
    }
    values = [func.coalesce(rows.c[name], *fallbacks[name]) if name in fallbacks else rows.c[name] for name in names]
    created = (
        select(*values)
        .where(*_has_outcome(rows, "created"), *_in_batch(rows))
        .order_by(*(rows.c[name] for name in csv_schema.identity))
    )
    return insert(csv_schema.table).from_select(names, created, include_defaults=False)


def _has_outcome(rows: Table, outcome: str) -> tuple[ColumnElement[bool], ...]:
    return rows.c._outcome == outcome, rows.c._bad == 0


def _in_batch(rows: Table) -> tuple[ColumnElement[bool], ...]:
    return rows.c._number >= bindparam("first"), rows.c._number < bindparam("last")
