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

from schema.engine.driver import Steps
from schema.engine.errors import Conflict, Fault, Forbidden, NotFound, VersionMismatch
from schema.engine.model.field import FieldShape, lowered
from schema.engine.model.policy import Kind, Rule, both
from schema.engine.model.resource import Shape, shape
from schema.engine.query.filters import among
from schema.engine.query.from_clause import opened
from schema.engine.query.plan_cache import Plans
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import Counted, Statement, compiled


def columns_of(fields: Mapping[str, FieldShape], data: Mapping[str, Any]) -> dict[str, Any]:
    """Validated values as the driver takes them, each under the column's name with `set_` before it."""
    row: dict[str, Any] = {}
    for name, value in data.items():
        row[f"set_{name}"] = value.value if isinstance(value, Enum) else value
        if key := fields[name].key_column:
            row[f"set_{key}"] = None if value is None else lowered(value)
    return row


def inserting(made: Shape) -> Insert:
    """A new row, its columns given as `set_…`."""
    names = [column.name for column in made.table.columns if column.computed is None]
    return insert(made.table).values(setting(made.table, names))


def insertion(made: Shape) -> Statement:
    """That as a statement of its own."""
    return compiled(inserting(made))


def deletion(made: Shape, kind: Kind, *, versioned: bool) -> Statement:
    """The record `key` gone, if its version is among `expected`."""
    table = made.table
    allowed = both(made.rules.read.where(table, kind), made.rules.delete.where(table, kind))
    statement = delete(table).where(table.c.id == bindparam("key"), *opened(allowed))
    if versioned:
        statement = statement.where(_expected(table))
    return Counted(statement, table.c.id)


def changing(made: Shape, kind: Kind, rule: Rule, fields: frozenset[str], *, versioned: bool) -> Statement:
    """The record `key` with the columns `set_…` changed, if its version is among `expected` and they differ."""
    table = made.table
    allowed = both(made.rules.read.where(table, kind), rule.where(table, kind, fields))
    names = [name for field in sorted(fields) for name in (field, made.fields[field].key_column) if name]
    new = setting(table, names)
    differs = or_(false(), *(table.c[name].is_distinct_from(new[name]) for name in sorted(fields)))
    statement = (
        update(table)
        .where(table.c.id == bindparam("key"), differs, *opened(allowed))
        .values({**new, "version": table.c.version + literal_column("1"), "updated_at": bindparam("now")})
    )
    if versioned:
        statement = statement.where(_expected(table))
    return Counted(statement, table.c.id)


def setting(table: Table, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """What to write into some columns: their `set_…` values."""
    return {name: bindparam(f"set_{name}", type_=table.c[name].type) for name in names}


def asking(made: Shape, kind: Kind, rule: Rule, fields: frozenset[str] = frozenset()) -> Statement:
    """Of the record `key`, if the actor may see it: its version, and whether `rule` lets the actor."""
    table = made.table
    verdict = rule.where(table, kind, fields)
    may = literal_column(str(int(verdict))) if isinstance(verdict, bool) else case((verdict, 1), else_=0)
    seen = opened(made.rules.read.where(table, kind))
    return compiled(select(table.c.version, may.label("may")).where(table.c.id == bindparam("key"), *seen))


def why_not(
    made: Shape, asked: Statement, values: Mapping[str, Any], deed: str, forbidden: frozenset[str] = frozenset()
) -> Steps:
    """Why a change changed nothing: 404, 403 or 412, in this order; it returns if it had nothing to change."""
    rows = yield asked.sql, asked.bind(values)
    version = permitted(made, values["key"], rows, deed, forbidden)
    expected = values.get("expected")
    if expected is not None and version not in json.loads(expected):
        raise VersionMismatch(f"the {made.singular} has version {version} by now, not the one expected: read it again")


def _expected(table: Table) -> ColumnElement[bool]:
    return among(table.c.version, "expected", Integer())


def permitted(made: Shape, id: str, rows: Rows, deed: str, forbidden: frozenset[str] = frozenset()) -> int:
    """The version that `asking` brought, or `NotFound` or `Forbidden`."""
    if not rows:
        raise missing(made, id)
    version, may = rows[0]
    if not may:
        named = f"{', '.join(sorted(forbidden))} of " if forbidden else ""
        faults = [Fault((name,), "you may not change it", "forbidden") for name in sorted(forbidden)]
        raise Forbidden(f"you may not {deed} {named}this {made.singular}", faults)
    return int(version)


def referring(plans: Plans, made: Shape, kind: Kind, actor: str | None, data: Mapping[str, Any]) -> Steps:
    """`Conflict` if a foreign key leads to no record that the actor may see."""
    for relation in made.relations.values():
        id = data.get(relation.near) if not relation.many else None
        if id is not None:
            target = shape(relation.target)
            kind.keep_within(target.plural, "read")
            rule = target.rules.read
            asked = plans.get(("ask", target, kind, rule), partial(asking, target, kind, rule))
            rows = yield asked.sql, asked.bind({"key": id, "actor": actor})
            if not rows:
                fault = Fault((relation.near,), f"there is no {target.singular} {id}", "unknown")
                raise Conflict(f"there is no {target.singular} {id}", [fault])


def missing(made: Shape, id: str) -> NotFound:
    """What to say of a record that is not there, or not for this actor."""
    return NotFound(f"there is no {made.singular} {id[:64]}")
