"""Matches staged rows with stored records, and resolves their references.

A row is matched by its `id`; without one, by the first unique field that matches. A weaker field counts only where no
stronger one contradicts it: an e-mail address identifies a user unless their `external_id` differs from the row's.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, exists, func, or_, select, update

from schema.transfer.csv_schema import Column, CsvSchema, Reference, unique_column
from schema.transfer.row_errors import record_row_errors
from schema.transfer.staging_tables import StagingTables, is_considered, is_provided, same_identity


def match_records(staging: StagingTables, *, skip_bad: bool) -> None:
    """Set the identity of every staged row, and fill in what the file does not provide from the stored record."""
    for csv_schema in staging.csv_schemas.values():
        if not csv_schema.is_link:
            _match_unique_keys(staging, csv_schema)
            _fill_in(staging, csv_schema)
    for csv_schema in staging.csv_schemas.values():
        for reference in csv_schema.references:
            for column in reference.columns:
                _resolve(staging, csv_schema, reference, column, skip_bad)
        if csv_schema.is_link:
            _fill_in(staging, csv_schema)


def _match_unique_keys(staging: StagingTables, csv_schema: CsvSchema) -> None:
    rows, table = staging.rows[csv_schema.name], csv_schema.table
    names = [unique_column(key) for key in csv_schema.unique_keys]
    for position, name in enumerate(names):
        stronger_agree = (or_(rows.c[key].is_(None), table.c[key].is_(None)) for key in names[:position])
        unmatched = (rows.c._exists == 0, is_provided(csv_schema, rows, "id") == 0)
        staging.run(
            update(rows)
            .where(rows.c[name] == table.c[name], *unmatched, *stronger_agree)
            .values({"id": table.c.id, "_exists": 1})
        )


def _fill_in(staging: StagingTables, csv_schema: CsvSchema) -> None:
    rows, table = staging.rows[csv_schema.name], csv_schema.table
    values: dict[str, ColumnElement[Any]] = {}
    for field in csv_schema.fields.values():
        if field.name not in csv_schema.identity:
            provided = is_provided(csv_schema, rows, field.name) != 0
            for name in filter(None, (field.name, field.key_column)):
                stored = table.c[name]
                values[name] = stored if field.read_only else case((provided, rows.c[name]), else_=stored)
    staging.run(update(rows).where(*same_identity(csv_schema, rows)).values({**values, "_exists": 1}))


def _resolve(
    staging: StagingTables, csv_schema: CsvSchema, reference: Reference, column: Column, skip_bad: bool
) -> None:
    """Set a foreign key from a column that gives it by a unique field of the target."""
    rows, target = staging.rows[csv_schema.name], staging.csv_schemas[reference.target]
    key, value = rows.c[reference.field.name], rows.c[column.name]
    target_id = _target_id(staging, target, column, value, skip_bad)
    staging.run(update(rows).where(value.is_not(None), key.is_(None)).values({key.name: target_id}))
    missing, different = f"no such {target.singular}:", f"refers to another {target.singular} than the column before"
    record_row_errors(staging, csv_schema, column.name, missing, value.is_not(None), target_id.is_(None), value=value)
    record_row_errors(staging, csv_schema, column.name, different, value.is_not(None), key != target_id)


def _target_id(
    staging: StagingTables, target: CsvSchema, column: Column, value: ColumnElement[str], skip_bad: bool
) -> ColumnElement[str]:
    """The id of the record with this value: of the staged rows as they will be stored, else of the stored ones."""
    assert column.via is not None
    name, table = unique_column(column.via), target.table.alias()
    staged, update_of = staging.rows[target.name].alias("staged"), staging.rows[target.name].alias("update_of")
    unchanged = ~exists(select(update_of.c.id).where(update_of.c.id == table.c.id, is_considered(update_of, skip_bad)))
    from_staged = select(staged.c.id).where(staged.c[name] == value, is_considered(staged, skip_bad)).limit(1)
    from_stored = select(table.c.id).where(table.c[name] == value, unchanged)
    from_skipped = select(staged.c.id).where(staged.c[name] == value).limit(1)
    candidates = (from_staged, from_stored, from_skipped) if skip_bad else (from_staged, from_stored)
    return func.coalesce(*(candidate.scalar_subquery() for candidate in candidates))
