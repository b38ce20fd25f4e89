"""Validates staged rows against one another and against the stored records.

What is checked is the directory as it will be when all good rows have been stored. Where bad rows are skipped, the rows
that depend on them are bad as well; checks are repeated until no new errors appear.
"""

from __future__ import annotations

from sqlalchemy import Subquery, case, exists, false, func, or_, select, update

from schema.engine.model.field import ResourceField
from schema.transfer.csv_schema import CsvSchema, Reference, unique_column
from schema.transfer.row_errors import record_row_errors
from schema.transfer.staging_tables import StagingTables, is_considered, is_provided, same_identity


def validate_rows(staging: StagingTables, *, skip_bad: bool) -> None:
    """Record all row errors, mark the bad rows, and set the outcome of the others."""
    csv_schemas = staging.csv_schemas.values()
    for csv_schema in csv_schemas:
        _check_required(staging, csv_schema)
        _check_duplicates(staging, csv_schema)
    _mark_bad_rows(staging)
    while True:
        for csv_schema in csv_schemas:
            _check_references(staging, csv_schema, skip_bad)
            _check_unique(staging, csv_schema, skip_bad)
        if not (_mark_bad_rows(staging) and skip_bad):
            break
    for csv_schema in csv_schemas:
        _set_outcomes(staging, csv_schema)


def _check_required(staging: StagingTables, csv_schema: CsvSchema) -> None:
    rows = staging.rows[csv_schema.name]
    for field in csv_schema.required_fields:
        missing = (rows.c._exists == 0, rows.c._bad == 0, is_provided(csv_schema, rows, field.name) == 0)
        reason = f"is required for a new {csv_schema.singular}"
        record_row_errors(staging, csv_schema, field.name, reason, *missing)


def _check_duplicates(staging: StagingTables, csv_schema: CsvSchema) -> None:
    """Rows with the identity, or a unique value, of an earlier row."""
    rows = staging.rows[csv_schema.name]
    first = _first_of_duplicates(staging, csv_schema, csv_schema.identity)
    same = (rows.c[name] == first.c[name] for name in csv_schema.identity)
    record_row_errors(
        staging, csv_schema, None, f"duplicate {csv_schema.singular}, first in", *same,
        rows.c._number > first.c.number, other_number=first.c.number,
    )  # fmt: skip
    for field in _unique_fields(csv_schema):
        name = unique_column(field)
        first, earlier = _first_of_duplicates(staging, csv_schema, (name,)), rows.alias("earlier")
        later = (rows.c[name] == first.c[name], rows.c._number > first.c.number, earlier.c._number == first.c.number)
        record_row_errors(
            staging, csv_schema, field.name, "duplicate value, first in", *later, rows.c.id != earlier.c.id,
            other_number=first.c.number,
        )  # fmt: skip


def _first_of_duplicates(staging: StagingTables, csv_schema: CsvSchema, names: tuple[str, ...]) -> Subquery:
    rows = staging.rows[csv_schema.name].alias("repeated")
    columns = [rows.c[name] for name in names]
    return (
        select(*columns, func.min(rows.c._number).label("number"))
        .group_by(*columns)
        .having(func.count() > 1)
        .subquery()
    )


def _check_references(staging: StagingTables, csv_schema: CsvSchema, skip_bad: bool) -> None:
    """Rows that refer to a record that is neither stored nor staged."""
    rows = staging.rows[csv_schema.name]
    for reference in csv_schema.references:
        key, target = rows.c[reference.field.name], staging.csv_schemas[reference.target]
        tables = (target.table.alias(), staging.rows[target.name].alias("staged"))
        missing_everywhere = (~exists(select(table.c.id).where(table.c.id == key)) for table in tables)
        conditions = (key.is_not(None), *missing_everywhere, is_considered(rows, skip_bad))
        reason = f"no such {target.singular}:"
        record_row_errors(staging, csv_schema, reference.field.name, reason, *conditions, value=key)
        if skip_bad:
            _check_skipped_references(staging, csv_schema, reference, target)


def _check_skipped_references(
    staging: StagingTables, csv_schema: CsvSchema, reference: Reference, target: CsvSchema
) -> None:
    """Rows that refer to a record by a value that only a skipped row would have given it."""
    rows, stored = staging.rows[csv_schema.name], target.table.alias()
    staged = staging.rows[target.name].alias("staged")
    key = rows.c[reference.field.name]
    skipped = exists(select(staged.c.id).where(staged.c.id == key, staged.c._bad == 1))
    kept = exists(select(staged.c.id).where(staged.c.id == key, staged.c._bad == 0))
    aliases = [(column.name, unique_column(column.via)) for column in reference.columns if column.via]
    for column, name in ((reference.field.name, "id"), *aliases):
        stored_with_value = exists(select(stored.c.id).where(stored.c.id == key, stored.c[name] == rows.c[column]))
        conditions = (
            rows.c[column].is_not(None), key.is_not(None), rows.c._bad == 0, skipped, ~kept, ~stored_with_value,
        )  # fmt: skip
        reason = f"the row of that {target.singular} is skipped"
        record_row_errors(staging, csv_schema, column, reason, *conditions)


def _check_unique(staging: StagingTables, csv_schema: CsvSchema, skip_bad: bool) -> None:
    """Rows with a unique value of a stored record that keeps it."""
    rows, table, staged = (
        staging.rows[csv_schema.name], csv_schema.table, staging.rows[csv_schema.name].alias("staged"),
    )  # fmt: skip
    for field in _unique_fields(csv_schema):
        name = unique_column(field)
        changes = exists(select(staged.c.id).where(staged.c.id == table.c.id, is_considered(staged, skip_bad)))
        conflict = (table.c[name] == rows.c[name], table.c.id != rows.c.id, ~changes, is_considered(rows, skip_bad))
        reason = f"already used by the {csv_schema.singular}"
        record_row_errors(staging, csv_schema, field.name, reason, *conflict, value=table.c.id)


def _mark_bad_rows(staging: StagingTables) -> int:
    """Mark the rows that have errors, and return how many were not marked before."""
    marked = 0
    for name, rows in staging.rows.items():
        bad = select(staging.errors.c.number).where(staging.errors.c.csv_schema == name)
        marked += staging.connection.count(update(rows).where(rows.c._bad == 0, rows.c._number.in_(bad)).values(_bad=1))
    return marked


def _set_outcomes(staging: StagingTables, csv_schema: CsvSchema) -> None:
    rows, table = staging.rows[csv_schema.name], csv_schema.table
    names = [field.name for field in csv_schema.writable_fields]
    differs = or_(false(), *(rows.c[name].is_distinct_from(table.c[name]) for name in names))
    staging.run(update(rows).where(rows.c._exists == 0).values(_outcome="created"))
    staging.run(
        update(rows)
        .where(*same_identity(csv_schema, rows), rows.c._exists == 1)
        .values(_outcome=case((differs, "changed"), else_="unchanged"))
    )


def _unique_fields(csv_schema: CsvSchema) -> list[ResourceField]:
    return [] if csv_schema.is_link else [field for field in csv_schema.fields.values() if field.unique]
