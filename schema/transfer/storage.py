"""Storing what is staged and good, a batch at a time, within the one transaction of the import."""

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

from schema.transfer.sheet import Sheet, exact_or_folded
from schema.transfer.staging_tables import Stage, identical

BATCH = 10_000
ID_LENGTH = 36


def store(stage: Stage, moment: str, total: int) -> Iterator[float]:
    """Change what is changed, create what is new; tells now and then how much is done."""
    for sheet in stage.sheets.values():
        _let_go(stage, sheet)
    batches = [(sheet, first) for sheet in stage.sheets.values() for first in range(0, total, BATCH)]
    for place, (sheet, first) in enumerate(batches):
        yield place / len(batches)
        stage.run(_changing(stage, sheet), first=first, last=first + BATCH, now=moment)
        stage.run(_creating(stage, sheet), first=first, last=first + BATCH, now=moment)


def _let_go(stage: Stage, sheet: Sheet) -> None:
    """Free the unique values that pass from one record to another, so that it can be done in any order."""
    rows, table, taker = stage.rows[sheet.name], sheet.table, stage.rows[sheet.name].alias("taker")
    for field in sheet.fields.values():
        if field.unique and (field.nullable or (field.kind == "text" and (field.max_length or 0) >= ID_LENGTH)):
            name = exact_or_folded(field)
            wanted = exists(select(taker.c.id).where(taker.c[name] == table.c[name], taker.c.id != table.c.id))
            free: ColumnElement[Any] = null() if field.nullable else table.c.id
            given_up = (*identical(sheet, rows), *_to_be(rows, "changed"), wanted)
            stage.run(update(table).where(*given_up).values({name: free, field.name: free}))


def _changing(stage: Stage, sheet: Sheet) -> Executable:
    rows, table = stage.rows[sheet.name], sheet.table
    new: dict[str, ColumnElement[Any]] = {
        name: rows.c[name] for field in sheet.writable for name in (field.name, field.key_column) if name
    }
    if not sheet.is_link:
        new |= {"version": table.c.version + literal_column("1"), "updated_at": bindparam("now")}
    return update(table).where(*identical(sheet, rows), *_to_be(rows, "changed"), *_in_batch(rows)).values(new)


def _creating(stage: Stage, sheet: Sheet) -> Executable:
    rows = stage.rows[sheet.name]
    names = [column.name for column in sheet.table.columns if column.computed is None]
    now = bindparam("now", type_=String())
    instead = {
        "created_at": (*([] if sheet.is_link else [rows.c.updated_at]), now),
        "updated_at": (now,),
        "version": (literal_column("1"),),
    }
    values = [func.coalesce(rows.c[name], *instead[name]) if name in instead else rows.c[name] for name in names]
    fresh = (
        select(*values)
        .where(*_to_be(rows, "created"), *_in_batch(rows))
        .order_by(*(rows.c[it] for it in sheet.identity))
    )
    return insert(sheet.table).from_select(names, fresh, include_defaults=False)


def _to_be(rows: Table, deed: str) -> tuple[ColumnElement[bool], ...]:
    return rows.c._deed == deed, rows.c._bad == 0


def _in_batch(rows: Table) -> tuple[ColumnElement[bool], ...]:
    return rows.c._number >= bindparam("first"), rows.c._number < bindparam("last")
