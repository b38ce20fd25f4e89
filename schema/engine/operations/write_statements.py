"""The statements that change records, made once for each kind of actor and set of fields, and what tells why not.

Each carries its rule in its WHERE clause; one that changes no row has been refused, and `why_not` says by what.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import partial
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
from schema.engine.model.policy import ActorProfile, Rule, both
from schema.engine.model.resource import Resource, resource_of
from schema.engine.query.filters import in_json_array, where_clauses
from schema.engine.query.plan_cache import PlanCache
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import CountedStatement, Statement


def column_values(fields: Mapping[str, ResourceField], data: Mapping[str, Any]) -> dict[str, Any]:
    """Validated values as the driver takes them, each under the column's name with `set_` before it."""
    row: dict[str, Any] = {}
    for name, value in data.items():
        row[f"set_{name}"] = value.value if isinstance(value, Enum) else value
        if key := fields[name].key_column:
            row[f"set_{key}"] = None if value is None else lower_case(value)
    return row


def insert_clause(resource: Resource) -> Insert:
    """A new row, its columns given as `set_…`."""
    names = [column.name for column in resource.table.columns if column.computed is None]
    return insert(resource.table).values(bound_columns(resource.table, names))


def insert_statement(resource: Resource) -> Statement:
    """That as a statement of its own."""
    return Statement(insert_clause(resource))


def delete_statement(resource: Resource, kind: ActorProfile, *, versioned: bool) -> Statement:
    """The record `key` gone, if its version is among `expected`."""
    table = resource.table
    allowed = both(resource.rules.read.where(table, kind), resource.rules.delete.where(table, kind))
    statement = delete(table).where(table.c.id == bindparam("key"), *where_clauses(allowed))
    if versioned:
        statement = statement.where(_expected(table))
    return CountedStatement(statement, table.c.id)


def update_statement(
    resource: Resource, kind: ActorProfile, rule: Rule, fields: frozenset[str], *, versioned: bool
) -> Statement:
    """The record `key` with the columns `set_…` changed, if its version is among `expected` and they differ."""
    table = resource.table
    allowed = both(resource.rules.read.where(table, kind), rule.where(table, kind, fields))
    names = [name for field in sorted(fields) for name in (field, resource.fields[field].key_column) if name]
    new = bound_columns(table, names)
    differs = or_(false(), *(table.c[name].is_distinct_from(new[name]) for name in sorted(fields)))
    statement = (
        update(table)
        .where(table.c.id == bindparam("key"), differs, *where_clauses(allowed))
        .values({**new, "version": table.c.version + literal_column("1"), "updated_at": bindparam("now")})
    )
    if versioned:
        statement = statement.where(_expected(table))
    return CountedStatement(statement, table.c.id)


def bound_columns(table: Table, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """What to write into some columns: their `set_…` values."""
    return {name: bindparam(f"set_{name}", type_=table.c[name].type) for name in names}


def permission_query(
    resource: Resource, kind: ActorProfile, rule: Rule, fields: frozenset[str] = frozenset()
) -> Statement:
    """Of the record `key`, if the actor may see it: its version, and whether `rule` lets the actor."""
    table = resource.table
    verdict = rule.where(table, kind, fields)
    may = literal_column(str(int(verdict))) if isinstance(verdict, bool) else case((verdict, 1), else_=0)
    seen = where_clauses(resource.rules.read.where(table, kind))
    return Statement(select(table.c.version, may.label("may")).where(table.c.id == bindparam("key"), *seen))


def check_refusal(
    resource: Resource, asked: Statement, values: Mapping[str, Any], deed: str, forbidden: frozenset[str] = frozenset()
) -> QueryGenerator:
    """Why a change changed nothing: 404, 403 or 412, in this order; it returns if it had nothing to change."""
    rows = yield asked.sql, asked.bind(values)
    version = check_permission(resource, values["key"], rows, deed, forbidden)
    expected = values.get("expected")
    if expected is not None and version not in json.loads(expected):
        raise VersionMismatch(
            f"the {resource.singular} has version {version} by now, not the one expected: read it again"
        )


def _expected(table: Table) -> ColumnElement[bool]:
    return in_json_array(table.c.version, "expected", Integer())


def check_permission(
    resource: Resource, id: str, rows: Rows, deed: str, forbidden: frozenset[str] = frozenset()
) -> int:
    """The version that `asking` brought, or `NotFound` or `Forbidden`."""
    if not rows:
        raise not_found(resource, id)
    version, may = rows[0]
    if not may:
        named = f"{', '.join(sorted(forbidden))} of " if forbidden else ""
        field_errors = [FieldError((name,), "you may not change it", "forbidden") for name in sorted(forbidden)]
        raise Forbidden(f"you may not {deed} {named}this {resource.singular}", field_errors)
    return int(version)


def check_references(
    plans: PlanCache, resource: Resource, kind: ActorProfile, actor: str | None, data: Mapping[str, Any]
) -> QueryGenerator:
    """`Conflict` if a foreign key leads to no record that the actor may see."""
    for relation in resource.relations.values():
        id = data.get(relation.near) if not relation.many else None
        if id is not None:
            target = resource_of(relation.target)
            kind.check_scope(target.plural, "read")
            rule = target.rules.read
            asked = plans.get_or_make(("ask", target, kind, rule), partial(permission_query, target, kind, rule))
            rows = yield asked.sql, asked.bind({"key": id, "actor": actor})
            if not rows:
                field_error = FieldError((relation.near,), f"there is no {target.singular} {id}", "unknown")
                raise Conflict(f"there is no {target.singular} {id}", [field_error])


def not_found(resource: Resource, id: str) -> NotFound:
    """What to say of a record that is not there, or not for this actor."""
    return NotFound(f"there is no {resource.singular} {id[:64]}")
