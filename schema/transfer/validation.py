"""What is wrong with the staged rows: what one look at a cell could not tell.

Rows are held against one another and against the directory as it will be when all that are good have been stored. Where
bad rows are to be skipped, what leans on them is bad as well, and so on, until nothing new is found.
"""

from __future__ import annotations

from sqlalchemy import Subquery, case, exists, false, func, or_, select, update

from schema.engine.model.field import ResourceField
from schema.transfer.row_errors import record_row_errors
from schema.transfer.sheet import Reference, Sheet, exact_or_folded
from schema.transfer.staging_tables import Stage, counting, given, identical


def judge(stage: Stage, *, skip_bad: bool) -> None:
    """Find all faults, mark the rows that have some, and say of the others what is to be done with them."""
    for sheet in stage.sheets.values():
        _lacking(stage, sheet)
        _repeated(stage, sheet)
    _mark(stage)
    while True:
        for sheet in stage.sheets.values():
            _dangling(stage, sheet, skip_bad)
            _taken(stage, sheet, skip_bad)
        if not (_mark(stage) and skip_bad):
            break
    for sheet in stage.sheets.values():
        _decide(stage, sheet)


def _lacking(stage: Stage, sheet: Sheet) -> None:
    rows = stage.rows[sheet.name]
    for field in sheet.needed:
        lacks = (rows.c._known == 0, rows.c._bad == 0, given(sheet, rows, field.name) == 0)
        record_row_errors(stage, sheet, field.name, f"a new {sheet.one} needs it", *lacks)


def _repeated(stage: Stage, sheet: Sheet) -> None:
    """Rows that are about what an earlier row is about, or take what it takes."""
    rows = stage.rows[sheet.name]
    first = _firsts(stage, sheet, sheet.identity)
    same = (rows.c[name] == first.c[name] for name in sheet.identity)
    record_row_errors(
        stage, sheet, None, f"it is about the same {sheet.one} as", *same, rows.c._number > first.c.number,
        other=first.c.number,
    )  # fmt: skip
    for field in _unique(sheet):
        name = exact_or_folded(field)
        first, earlier = _firsts(stage, sheet, (name,)), rows.alias("earlier")
        later = (rows.c[name] == first.c[name], rows.c._number > first.c.number, earlier.c._number == first.c.number)
        record_row_errors(
            stage, sheet, field.name, "it is the same as in", *later, rows.c.id != earlier.c.id, other=first.c.number
        )


def _firsts(stage: Stage, sheet: Sheet, names: tuple[str, ...]) -> Subquery:
    rows = stage.rows[sheet.name].alias("repeated")
    columns = [rows.c[name] for name in names]
    return (
        select(*columns, func.min(rows.c._number).label("number"))
        .group_by(*columns)
        .having(func.count() > 1)
        .subquery()
    )


def _dangling(stage: Stage, sheet: Sheet, skip_bad: bool) -> None:
    """Rows that refer to a record that is neither stored nor going to be."""
    rows = stage.rows[sheet.name]
    for reference in sheet.references:
        key, target = rows.c[reference.field.name], stage.sheets[reference.target]
        stored, staged = target.table.alias(), stage.rows[target.name].alias("staged")
        nowhere = (~exists(select(it.c.id).where(it.c.id == key)) for it in (stored, staged))
        lost = (key.is_not(None), *nowhere, counting(rows, skip_bad))
        record_row_errors(stage, sheet, reference.field.name, f"there is no {target.one}", *lost, value=key)
        if skip_bad:
            _left_behind(stage, sheet, reference, target)


def _left_behind(stage: Stage, sheet: Sheet, reference: Reference, target: Sheet) -> None:
    """Rows that refer to a record whose row is skipped, by what it would only have had with that row."""
    rows, stored, staged = stage.rows[sheet.name], target.table.alias(), stage.rows[target.name].alias("staged")
    key = rows.c[reference.field.name]
    skipped = exists(select(staged.c.id).where(staged.c.id == key, staged.c._bad == 1))
    kept = exists(select(staged.c.id).where(staged.c.id == key, staged.c._bad == 0))
    said = [(it.name, exact_or_folded(it.via)) for it in reference.columns if it.via]
    for column, name in ((reference.field.name, "id"), *said):
        has = exists(select(stored.c.id).where(stored.c.id == key, stored.c[name] == rows.c[column]))
        left = (rows.c[column].is_not(None), key.is_not(None), rows.c._bad == 0, skipped, ~kept, ~has)
        record_row_errors(stage, sheet, column, f"the row of that {target.one} is skipped", *left)


def _taken(stage: Stage, sheet: Sheet, skip_bad: bool) -> None:
    """Rows that take what belongs to a record that does not give it up."""
    rows, table, staged = stage.rows[sheet.name], sheet.table, stage.rows[sheet.name].alias("staged")
    for field in _unique(sheet):
        name = exact_or_folded(field)
        given_up = exists(select(staged.c.id).where(staged.c.id == table.c.id, counting(staged, skip_bad)))
        clash = (table.c[name] == rows.c[name], table.c.id != rows.c.id, ~given_up, counting(rows, skip_bad))
        record_row_errors(stage, sheet, field.name, f"it belongs to the {sheet.one}", *clash, value=table.c.id)


def _mark(stage: Stage) -> int:
    """Mark the rows that have faults; how many were not marked before."""
    marked = 0
    for sheet in stage.sheets.values():
        rows = stage.rows[sheet.name]
        faulty = select(stage.faults.c.number).where(stage.faults.c.sheet == sheet.name)
        marked += stage.count(update(rows).where(rows.c._bad == 0, rows.c._number.in_(faulty)).values(_bad=1))
    return marked


def _decide(stage: Stage, sheet: Sheet) -> None:
    rows, table = stage.rows[sheet.name], sheet.table
    differs = or_(false(), *(rows.c[it.name].is_distinct_from(table.c[it.name]) for it in sheet.writable))
    stage.run(update(rows).where(rows.c._known == 0).values(_deed="created"))
    stage.run(
        update(rows)
        .where(*identical(sheet, rows), rows.c._known == 1)
        .values(_deed=case((differs, "changed"), else_="unchanged"))
    )


def _unique(sheet: Sheet) -> list[ResourceField]:
    return [] if sheet.is_link else [field for field in sheet.fields.values() if field.unique]
