"""Who is meant by the staged rows: which of them the directory knows already, and where their references lead.

A record is known by its `id`; without one by the first of its unique fields that says so. A weaker key counts only
where no stronger one contradicts it: an e-mail address finds the person, unless their `external_id` is another.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, or_, select, update

from schema.transfer.row_errors import record_row_errors
from schema.transfer.sheet import Column, Reference, Sheet, exact_or_folded
from schema.transfer.staging_tables import Stage, counting, given, identical


def recognise(stage: Stage, *, skip_bad: bool) -> None:
    """Give every staged row its identity, and, if it is known, what it was not given."""
    for sheet in stage.sheets.values():
        if not sheet.is_link:
            _by_keys(stage, sheet)
            _complete(stage, sheet)
    for sheet in stage.sheets.values():
        for reference in sheet.references:
            for column in reference.columns:
                _follow(stage, sheet, reference, column, skip_bad)
        if sheet.is_link:
            _complete(stage, sheet)


def _by_keys(stage: Stage, sheet: Sheet) -> None:
    rows, table = stage.rows[sheet.name], sheet.table
    names = [exact_or_folded(key) for key in sheet.keys]
    for place, name in enumerate(names):
        agree = (or_(rows.c[it].is_(None), table.c[it].is_(None)) for it in names[:place])
        unknown = (rows.c._known == 0, given(sheet, rows, "id") == 0)
        stage.run(
            update(rows).where(rows.c[name] == table.c[name], *unknown, *agree).values({"id": table.c.id, "_known": 1})
        )


def _complete(stage: Stage, sheet: Sheet) -> None:
    rows, table = stage.rows[sheet.name], sheet.table
    completed: dict[str, ColumnElement[Any]] = {}
    for field in sheet.fields.values():
        if field.name not in sheet.identity:
            kept = given(sheet, rows, field.name) != 0
            for name in filter(None, (field.name, field.key_column)):
                stored = table.c[name]
                completed[name] = stored if field.read_only else case((kept, rows.c[name]), else_=stored)
    stage.run(update(rows).where(*identical(sheet, rows)).values({**completed, "_known": 1}))


def _follow(stage: Stage, sheet: Sheet, reference: Reference, column: Column, skip_bad: bool) -> None:
    """Find the records that a column names: among the staged ones as they will be, else among the others."""
    rows, target = stage.rows[sheet.name], stage.sheets[reference.target]
    key, said = rows.c[reference.field.name], rows.c[column.name]
    found = _found(stage, target, column, said, skip_bad)
    stage.run(update(rows).where(said.is_not(None), key.is_(None)).values({key.name: found}))
    record_row_errors(
        stage, sheet, column.name, f"there is no {target.one}", said.is_not(None), found.is_(None), value=said
    )
    record_row_errors(
        stage, sheet, column.name, f"it is not that of the {target.one} named before", said.is_not(None), key != found
    )


def _found(stage: Stage, target: Sheet, column: Column, said: ColumnElement[str], skip_bad: bool) -> ColumnElement[str]:
    assert column.via is not None
    name, table, staged = exact_or_folded(column.via), target.table.alias(), stage.rows[target.name].alias("staged")
    again = stage.rows[target.name].alias("again")
    untouched = ~exists(select(again.c.id).where(again.c.id == table.c.id, counting(again, skip_bad)))
    coming = select(staged.c.id).where(staged.c[name] == said, counting(staged, skip_bad)).limit(1)
    stored = select(table.c.id).where(table.c[name] == said, untouched)
    skipped = select(staged.c.id).where(staged.c[name] == said).limit(1)
    ways = (coming, stored, skipped) if skip_bad else (coming, stored)
    return func.coalesce(*(way.scalar_subquery() for way in ways))
