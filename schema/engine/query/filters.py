"""Filters: from a condition to an SQL predicate, and from a client's value to the parameters that the predicate binds.

| operator | SQL, for a field `f` and a value named `v` |
| --- | --- |
| eq, lt, lte, gt, gte | `f = :v`, `f < :v`, … |
| in | `f IN (SELECT value FROM json_each(:v))`, on PostgreSQL `f = ANY (:v)` |
| startswith | `f_key >= :v AND f_key < :v_end` |
| contains | `instr(f_key, :v) > 0`, on PostgreSQL `f_key LIKE …` |
| isnull | `f_sort = ''`, `f_sort > ''` |

`f_key` is the field's lower-case form. `f_sort` is never null: what null sorts as stands in it (`null_key`).
"""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, FromClause, String, and_, bindparam, false, or_, true
from sqlalchemy.types import TypeEngine

from schema.engine.errors import FieldError, Forbidden
from schema.engine.model.field import NULL_INTEGER_SORT_KEY, Operator, ResourceField, lower_case
from schema.engine.model.policy import ActorProfile, RuleResult
from schema.engine.model.resource import Resource
from schema.engine.query.prefix_ranges import prefix_end, prefix_spellings
from schema.engine.query.search import MIN_LENGTH, contains_words, match_expression, search_predicate
from schema.engine.query.selection import Compare, Condition, Search
from schema.engine.sql.dialect import InJsonArray, JsonArrayType

Predicate = ColumnElement[bool]
MAX_IN_VALUES = 250
UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", re.ASCII)
READABLE = re.compile(r"[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]*")


def filter_predicate(where: Condition, resource: Resource, row: FromClause, profile: ActorProfile) -> Predicate:
    """A filter as a predicate on a row of the resource's table.

    Raises:
        Forbidden: it compares a field that the actor may not see in every record.
    """
    if isinstance(where, Compare):
        field = resource.fields[where.field]
        check_visible(resource, field, profile, "filter")
        return compare_predicate(field, where, row)
    if isinstance(where, Search):
        return search_predicate(where, resource, row)
    parts = [filter_predicate(part, resource, row, profile) for part in where.parts]
    match where.operator:
        case "and":
            return and_(true(), *parts)
        case "or":
            return or_(false(), *parts)
        case "not":
            # A comparison with null is neither true nor false, so NOT would leave those rows out.
            return and_(true(), *parts).is_not(true())


def compare_predicate(field: ResourceField, compare: Compare, row: FromClause) -> Predicate:
    """One comparison as a predicate: see the table above."""
    column = row.c[compared_column(field, compare)]
    value = bindparam(compare.value, type_=parameter_type(field))
    match compare.operator:
        case "eq":
            return column == value
        case "in":
            return in_json_array(column, compare.value, parameter_type(field))
        case "lt" | "lte":
            below = column < value if compare.operator == "lt" else column <= value
            return and_(column > null_key(field), below) if field.sort_column != field.name else below
        case "gt":
            return column > value
        case "gte":
            return column >= value
        case "startswith":
            return and_(column >= value, column < bindparam(f"{compare.value}_end", type_=String()))
        case "contains":
            return contains_words([row.c[f"{field.name}_key"]], [value])
        case "isnull":
            return row.c[field.sort_column] == null_key(field) if field.nullable else false()
        case "notnull":
            return row.c[field.sort_column] > null_key(field) if field.nullable else true()


def in_json_array(column: ColumnElement[Any], name: str, value_type: TypeEngine[Any]) -> Predicate:
    """Whether a column is one of the values in the JSON array named `name`."""
    return InJsonArray(column, bindparam(name, type_=JsonArrayType(value_type)))


def where_clauses(result: RuleResult) -> list[Predicate]:
    """Return a rule's result as conditions of a WHERE clause."""
    if isinstance(result, bool):
        return [] if result else [false()]
    return [result]


def check_visible(resource: Resource, field: ResourceField, profile: ActorProfile, purpose: str) -> None:
    """Refuse to filter or sort by a field whose values the actor could learn that way.

    Raises:
        Forbidden: the actor may not see the field in every record.
    """
    if resource.rules.read_rule(field.name).where(resource.table, profile) is not True:
        field_error = FieldError((field.name,), f"no permission to {purpose} by it", "forbidden", "parameter")
        detail = f"no permission to {purpose} {resource.plural} by {field.name}: the field is hidden"
        raise Forbidden(detail, [field_error])


def check_filter_value(field: ResourceField, operator: Operator, value: Any) -> Any:
    """The value in canonical form.

    Raises:
        ValueError: the field cannot be compared with it; the message says what it must be.
    """
    if operator == "isnull":
        return bool(value)
    if operator == "in":
        if len(value) > MAX_IN_VALUES:
            raise ValueError(f"must have at most {MAX_IN_VALUES} values, got {len(value)}")
        return [_check_value(field, item) for item in value]
    if operator == "contains" and len(value) < MIN_LENGTH:
        raise ValueError(f"must have at least {MIN_LENGTH} characters, got {len(value)}")
    return _check_value(field, value)


def filter_values(field: ResourceField, operator: Operator, name: str, value: Any) -> dict[str, Any]:
    """The values, by name, that `compare_predicate` binds; `value` has been validated."""
    match operator:
        case "isnull":
            return {}
        case "startswith":
            prefix = lower_case(value)
            return {name: prefix, f"{name}_end": prefix_end(prefix), f"{name}_spellings": prefix_spellings(prefix)}
        case "contains":
            return {name: lower_case(value), f"{name}_match": match_expression([field.name], [lower_case(value)])}
        case "in":
            return {name: json.dumps([_folded(field, item) for item in value], ensure_ascii=False)}
    return {name: _folded(field, value)}


def compared_column(field: ResourceField, compare: Compare) -> str:
    """The name of the column that a comparison reads."""
    if compare.operator in ("isnull", "notnull"):
        return field.sort_column
    return f"{field.name}_key" if field.ignore_case or compare.operator == "startswith" else field.sort_column


def null_key(field: ResourceField) -> Any:
    """What null sorts as: less than any value of the field."""
    return NULL_INTEGER_SORT_KEY if field.kind == "integer" else ""


def parameter_type(field: ResourceField) -> TypeEngine[Any]:
    """The type of a value that the field is compared with: wider than the column's, for values out of its range."""
    if field.kind == "boolean":
        return Boolean()
    return BigInteger() if field.kind == "integer" else String()


def _check_value(field: ResourceField, value: Any) -> Any:
    if field.kind == "id":
        if not UUID.fullmatch(value):
            raise ValueError("must be a UUID")
        return value.lower()
    if field.kind == "text" and not (1 <= len(value) <= (field.max_length or 0) and READABLE.fullmatch(value)):
        raise ValueError(f"must have 1 to {field.max_length} characters, without control characters")
    return value


def _folded(field: ResourceField, value: Any) -> Any:
    return lower_case(value) if field.ignore_case else value
