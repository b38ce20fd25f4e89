"""The statements that change records, compiled per actor profile and set of fields.

Each has its rule in its WHERE clause. If one changes no row, `check_refusal` finds out why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
    Integer,
    Table,
    bindparam,
    case,
    delete,
    false,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from schema.engine.driver import QueryGenerator
from schema.engine.errors import Conflict, FieldError, Forbidden, NotFound, VersionMismatch
from schema.engine.model.field import ResourceField, lower_case
from schema.engine.model.policy import ActorProfile, Rule, all_of
from schema.engine.model.resource import Resource, resource_of
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.filters import in_json_array, where_clauses
from schema.engine.sql.statement import CountedStatement, Statement


def column_values(fields: Mapping[str, ResourceField], data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert validated values to what the driver takes, each under its column's name prefixed with `set_`."""
    values: dict[str, Any] = {}
    for name, value in data.items():
        values[f"set_{name}"] = value.value if isinstance(value, Enum) else value
        if key := fields[name].key_column:
            values[f"set_{key}"] = None if value is None else lower_case(value)
    return values


def bound_columns(table: Table, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Columns to write, by name, with the parameters that `column_values` gives."""
    return {name: bindparam(f"set_{name}", type_=table.c[name].type) for name in names}


def insert_clause(resource: Resource) -> Insert:
    """INSERT INTO user (id, …) VALUES (:set_id, …)"""
    names = [column.name for column in resource.table.columns if column.computed is None]
    return insert(resource.table).values(bound_columns(resource.table, names))


def insert_statement(resource: Resource) -> Statement:
    return Statement(insert_clause(resource))


def update_statement(
    resource: Resource, profile: ActorProfile, rule: Rule, fields: frozenset[str], *, versioned: bool
) -> Statement:
    """UPDATE user SET age = :set_age, … WHERE id = :key AND age IS DISTINCT FROM :set_age AND <rules>

    `versioned`: AND version is in `expected`.
    """
    table = resource.table
    allowed = all_of(resource.rules.read.where(table, profile), rule.where(table, profile, fields))
    names = [name for field in sorted(fields) for name in (field, resource.fields[field].key_column) if name]
    new = bound_columns(table, names)
    differs = or_(false(), *(table.c[name].is_distinct_from(new[name]) for name in sorted(fields)))
    statement = (
        update(table)
        .where(table.c.id == bindparam("key"), differs, *where_clauses(allowed))
        .values({**new, "version": table.c.version + literal_column("1"), "updated_at": bindparam("now")})
    )
    if versioned:
        statement = statement.where(_version_expected(table))
    return CountedStatement(statement, table.c.id)


def delete_statement(resource: Resource, profile: ActorProfile, *, versioned: bool) -> Statement:
    """DELETE FROM user WHERE id = :key AND <rules>; `versioned`: AND version is in `expected`."""
    table = resource.table
    allowed = all_of(resource.rules.read.where(table, profile), resource.rules.delete.where(table, profile))
    statement = delete(table).where(table.c.id == bindparam("key"), *where_clauses(allowed))
    if versioned:
        statement = statement.where(_version_expected(table))
    return CountedStatement(statement, table.c.id)


def permission_query(
    unit_of_work: UnitOfWork, resource: Resource, rule: Rule, fields: frozenset[str] = frozenset()
) -> Statement:
    """Return the query of a record's version and whether the actor may change these fields of it, from the cache."""
    profile = unit_of_work.actor.profile
    return unit_of_work.directory.plans.get_or_make(
        ("permission", resource, profile, rule, fields), lambda: _permission_statement(resource, profile, rule, fields)
    )


def check_refusal(
    unit_of_work: UnitOfWork,
    resource: Resource,
    rule: Rule,
    values: Mapping[str, Any],
    operation: str,
    fields: frozenset[str] = frozenset(),
) -> QueryGenerator:
    """Find out why a statement changed no row; return if there was nothing to change.

    Raises:
        NotFound, Forbidden, VersionMismatch: in this order.
    """
    version = yield from check_permission(unit_of_work, resource, rule, values["key"], operation, fields)
    expected = values.get("expected")
    if expected is not None and version not in json.loads(expected):
        raise VersionMismatch(f"the {resource.singular} has version {version} now: read it again")


def check_permission(
    unit_of_work: UnitOfWork,
    resource: Resource,
    rule: Rule,
    id: str,
    operation: str,
    fields: frozenset[str] = frozenset(),
) -> QueryGenerator:
    """Return the record's version; raise `NotFound` or `Forbidden`."""
    permission = permission_query(unit_of_work, resource, rule, fields)
    rows = yield permission.sql, permission.bind({"key": id, "actor": unit_of_work.actor.id})
    if not rows:
        raise not_found(resource, id)
    version, may = rows[0]
    if not may:
        profile = unit_of_work.actor.profile
        # The fields that the rule lets this profile change in no record.
        forbidden = [name for name in sorted(fields) if rule.where(resource.table, profile, frozenset([name])) is False]
        names = f"{', '.join(forbidden)} of " if forbidden else ""
        field_errors = [FieldError((name,), "no permission to change it", "forbidden") for name in forbidden]
        raise Forbidden(f"no permission to {operation} {names}this {resource.singular}", field_errors)
    return int(version)


def check_references(unit_of_work: UnitOfWork, resource: Resource, data: Mapping[str, Any]) -> QueryGenerator:
    """Raise `Conflict` if a foreign key refers to no record that the actor may see."""
    for relation in resource.relations.values():
        id = data.get(relation.local_key) if not relation.many else None
        if id is not None:
            target = resource_of(relation.target)
            unit_of_work.actor.profile.check_scope(target.plural, "read")
            permission = permission_query(unit_of_work, target, target.rules.read)
            rows = yield permission.sql, permission.bind({"key": id, "actor": unit_of_work.actor.id})
            if not rows:
                message = f"there is no {target.singular} {id}"
                raise Conflict(message, [FieldError((relation.local_key,), message, "unknown")])


def not_found(resource: Resource, id: str) -> NotFound:
    return NotFound(f"there is no {resource.singular} {id[:64]}")


def _permission_statement(resource: Resource, profile: ActorProfile, rule: Rule, fields: frozenset[str]) -> Statement:
    """SELECT version, <rule> AS may FROM user WHERE id = :key AND <read rule>"""
    table = resource.table
    result = rule.where(table, profile, fields)
    may = literal_column(str(int(result))) if isinstance(result, bool) else case((result, 1), else_=0)
    visible = where_clauses(resource.rules.read.where(table, profile))
    return Statement(select(table.c.version, may.label("may")).where(table.c.id == bindparam("key"), *visible))


def _version_expected(table: Table) -> ColumnElement[bool]:
    return in_json_array(table.c.version, "expected", Integer())
