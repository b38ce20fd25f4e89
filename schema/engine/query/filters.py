"""How a field is compared: the predicate that a plan holds, and the values that a request binds to it.

The two must agree, so they stand together. Null is the least value of a field that may be null, and its `_sort` column
says so; what is compared in lower case is compared by its `_key` column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    String,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.types import TypeEngine

from schema.engine.model.field import NO_INTEGER, Operator, ResourceField, lowered
from schema.engine.model.resource import Resource
from schema.engine.query.prefix_ranges import end, spellings, stretches
from schema.engine.query.search import MIN_LENGTH, holds, phrase
from schema.engine.query.selection import Compare, Condition, Order, required
from schema.engine.sql.dialect import InJsonArray, JsonArrayType

MAX_VALUES = 250
UNSORTED = Order()
DEFAULT_ORDER = (
    "Without it, a list comes in the order of the first field that is filtered by `lt`, `lte`, `gt`, `gte`, as not "
    "null, or by `startswith` (then of its lower-case form), else of the id; below a record, always of the id."
)
_BY_NUMBER: tuple[Operator, ...] = ("eq", "in", "startswith", "lt", "lte", "gt", "gte", "isnull", "notnull")
_STRETCHES = ("lt", "lte", "gt", "gte", "notnull", "startswith")
UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", re.ASCII)
READABLE = re.compile(r"[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]*")


def filter_values(field: ResourceField, operator: Operator, name: str, value: Any) -> dict[str, Any]:
    """The values, by name, that `predicate` will look for; `value` has been validated."""
    if operator == "isnull":
        return {}
    if operator == "startswith":
        begun = lowered(value)
        return {name: begun, f"{name}_end": end(begun), f"{name}_spellings": spellings(begun)}
    if operator == "contains":
        return {name: lowered(value), f"{name}_match": phrase([field.name], [lowered(value)])}
    if operator == "in":
        return {name: json.dumps(list(_plain(field, value)), ensure_ascii=False)}
    return {name: next(_plain(field, [value]))}


def check_filter_value(field: ResourceField, operator: Operator, value: Any) -> Any:
    """The value, in our spelling, if it can be compared with the field; else a `ValueError` that says why not."""
    if operator == "isnull":
        return bool(value)
    if operator == "in":
        if len(value) > MAX_VALUES:
            raise ValueError(f"it may have {MAX_VALUES} values, and has {len(value)}")
        return [_checked(field, item) for item in value]
    if operator == "contains" and len(value) < MIN_LENGTH:
        raise ValueError(f"it has to be at least {MIN_LENGTH} characters")
    return _checked(field, value)


def predicate(field: ResourceField, compare: Compare, row: FromClause) -> ColumnElement[bool]:
    """The condition on a row of the model's table."""
    least = _least(field)
    column = row.c[_compared_by(field, compare)]
    value = bindparam(compare.value, type_=bind_type(field))
    match compare.operator:
        case "eq":
            return column == value
        case "in":
            return in_json_array(column, compare.value, bind_type(field))
        case "lt" | "lte":
            below = column < value if compare.operator == "lt" else column <= value
            return and_(column > least, below) if field.sort_column != field.name else below
        case "gt":
            return column > value
        case "gte":
            return column >= value
        case "startswith":
            return and_(column >= value, column < bindparam(f"{compare.value}_end", type_=String()))
        case "contains":
            return holds([row.c[f"{field.name}_key"]], [value])
        case "isnull":
            return row.c[field.sort_column] == least if field.nullable else false()
        case "notnull":
            return row.c[field.sort_column] > least if field.nullable else true()


def default_order(resource: Resource, where: Condition | None, *, alone: bool) -> Order:
    """The order of a list that none was asked of: that of the first field which is filtered by a stretch of values.

    So the index that finds the rows is the one that sorts them. Below a record, `alone` is false: there the order is
    that of the link.
    """
    if where is None:
        return UNSORTED
    stretches = {
        (it.field, it.operator) for it in required(where) if isinstance(it, Compare) and _is_stretch(resource, it)
    }
    filtered = {name for name, _ in stretches}
    first = next((name for name in resource.fields if name in filtered), None) if alone else None
    return UNSORTED if first is None else Order((first,), folded=(first, "startswith") in stretches)


def _least(field: ResourceField) -> Any:
    return NO_INTEGER if field.kind == "integer" else ""


def _compared_by(field: ResourceField, compare: Compare) -> str:
    if compare.operator in ("isnull", "notnull"):
        return field.sort_column
    return f"{field.name}_key" if field.folded or compare.operator == "startswith" else field.sort_column


def _is_stretch(resource: Resource, compare: Compare) -> bool:
    # That nothing is null is known beforehand of a field that cannot be.
    return compare.operator in _STRETCHES and (compare.operator != "notnull" or resource.fields[compare.field].nullable)


def stretch(resource: Resource, where: Condition | None, order: Order) -> Iterator[tuple[ResourceField, Compare]]:
    """What of a filter an index in the list's order can go by, and its field.

    That is what is said of the field sorted by first. In the order of ids, whatever has one value stands in it; of what
    can have only a few, PostgreSQL would look for it among all.
    """
    first = resource.fields[next(iter(order.fields), "id")]
    compared = [it for it in required(where) if isinstance(it, Compare)]
    for asked in compared:
        together = asked.field == first.name and (asked.operator in ("eq", "isnull") or _is_stretch(resource, asked))
        if together and _compared_by(first, asked) == sorted_by(first, order):
            yield first, asked
    if not order.fields:
        equal = ((resource.fields[it.field], it) for it in compared if it.operator == "eq" and it.field != "id")
        yield from islice((it for it in equal if it[0].kind not in ("boolean", "enum")), 1)


def sought(resource: Resource, where: Condition | None, order: Order) -> tuple[ResourceField, Compare] | None:
    """What of a filter an index finds that has its rows in another order than the list's, and its field.

    Of several such things it is the one that is likely to be found least. There is none where a single row is meant,
    nor in the order of ids, which is that of all rows with one value.
    """
    compared = [(resource.fields[it.field], it) for it in required(where) if isinstance(it, Compare)]
    if any((field.unique or field.primary) and it.operator in ("eq", "in") for field, it in compared):
        return None
    led = [it for _, it in stretch(resource, where, order)]
    found = [
        (field, it)
        for field, it in compared
        if field.offered and it.operator != "contains" and it not in led and _finds(field, it)
        if order.fields or it.operator in _STRETCHES
    ]
    return min(found, key=_share, default=None)


def spread(resource: Resource, where: Condition | None, order: Order) -> CTE | None:
    """The stretches of the list's order in which all rows lie, if the filter says nothing but these.

    Those are a beginning in each of its spellings, and several values.
    """
    if not isinstance(where, Compare) or order.fields[:1] != (where.field,):
        return None
    field, column = resource.fields[where.field], sorted_by(resource.fields[where.field], order)
    if where.operator == "startswith" and not order.folded:
        return stretches(resource.table, column, where.value)
    if where.operator != "in" or _compared_by(field, where) != column:
        return None
    value = func.json_each(bindparam(where.value, type_=String())).table_valued("value").c.value
    after = value + 1 if field.kind == "integer" else value.concat(func.char(literal_column("0")))
    return select(value.label("low"), after.label("high")).distinct().cte("_stretches")


def _share(found: tuple[ResourceField, Compare]) -> tuple[bool, int]:
    """The larger, the more rows are likely to be found."""
    field, asked = found
    return field.kind in ("boolean", "enum"), _BY_NUMBER.index(asked.operator)


def _finds(field: ResourceField, compare: Compare) -> bool:
    return field.nullable or compare.operator not in ("isnull", "notnull")


def sorted_by(field: ResourceField, order: Order) -> str:
    """The column that a list is sorted by."""
    return f"{field.name}_key" if order.folded else field.sort_column


def beginning(field: ResourceField, compare: Compare, row: FromClause, *, down: bool) -> ColumnElement[bool]:
    """Where that stretch begins for whoever goes up, or down; where it ends is not said."""
    column, value = row.c[_compared_by(field, compare)], bindparam(compare.value, type_=bind_type(field))
    match compare.operator:
        case "eq" | "isnull":
            return predicate(field, compare, row)
        case "startswith":
            end = bindparam(f"{compare.value}_end", type_=String())
            return column < end if down else column >= value
        case "lt" if down:
            return column < value
        case "lte" if down:
            return column <= value
        case "lt" | "lte":  # from the least that is not null
            return column > _least(field) if field.sort_column != field.name else true()
        case _:
            return true() if down else predicate(field, compare, row)


def in_json_array(column: ColumnElement[Any], name: str, kind: TypeEngine[Any]) -> ColumnElement[bool]:
    """Whether a column is one of the values, of this type, in the JSON array called `name`."""
    return InJsonArray(column, bindparam(name, type_=JsonArrayType(kind)))


def bind_type(field: ResourceField) -> TypeEngine[Any]:
    """What a value that a field is compared with travels as: wider than the column, for it may be out of bounds."""
    if field.kind == "boolean":
        return Boolean()
    return BigInteger() if field.kind == "integer" else String()


def _checked(field: ResourceField, value: Any) -> Any:
    if field.kind == "id":
        if not UUID.fullmatch(value):
            raise ValueError("it has to be a UUID")
        return value.lower()
    if field.kind == "text" and not (1 <= len(value) <= (field.max_length or 0) and READABLE.fullmatch(value)):
        raise ValueError(f"it has to be 1 to {field.max_length} characters, none of them a control character")
    return value


def _plain(field: ResourceField, values: Iterable[Any]) -> Iterator[Any]:
    """The values as the driver and JSON take them."""
    for value in values:
        yield lowered(value) if field.folded else value
