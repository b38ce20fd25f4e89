"""Sort order: the columns of ORDER BY, the default order of a list, and the filters that an index in it serves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement

from schema.engine.model.field import ResourceField
from schema.engine.model.resource import Resource
from schema.engine.query.filters import compared_column
from schema.engine.query.selection import Compare, Condition, Order, required

BY_ID = Order()
# For the API documentation of `sort`.
DEFAULT_ORDER = (
    "By default a list is sorted by the first field that is filtered by `lt`, `lte`, `gt`, `gte`, as not null, or by "
    "`startswith` (then in lower case), otherwise by id; a list below a record always by id."
)
Comparison = tuple[ResourceField, Compare]
RANGE_OPERATORS = ("lt", "lte", "gt", "gte", "notnull", "startswith")


@dataclass(frozen=True, slots=True)
class Bound:
    """Rows that come later (or earlier) in the list than the cursor named `cursor`; `inclusive`: or are its own."""

    cursor: str
    later: bool
    inclusive: bool = False


def default_order(resource: Resource, where: Condition | None, *, nested: bool) -> Order:
    """The order of a list that no sort was sent for: that of the first field that is filtered by a range.

    So one index finds and sorts the rows. A list below a record (`nested`) has the order of the link instead.
    """
    if where is None or nested:
        return BY_ID
    comparisons = required_comparisons(resource, where)
    ranges = {(field.name, compare.operator) for field, compare in comparisons if is_range(field, compare)}
    filtered = {name for name, _ in ranges}
    first = next((name for name in resource.fields if name in filtered), None)
    return BY_ID if first is None else Order((first,), folded=(first, "startswith") in ranges)


def sort_column(field: ResourceField, order: Order) -> str:
    """The name of the column that the list is sorted by; it is never null."""
    return f"{field.name}_key" if order.folded else field.sort_column


def order_by(keys: Iterable[ColumnElement[Any]], *, descending: bool) -> list[ColumnElement[Any]]:
    return [key.desc() if descending else key.asc() for key in keys]


def index_conditions(resource: Resource, where: Condition | None, order: Order) -> Iterator[Comparison]:
    """The comparisons that an index in the list's order serves.

    Those are the ones of the first sort field. In the order of ids it is one equality: an index entry ends with the id.
    Equality of a boolean or enum does not count, since PostgreSQL would search its many rows for the ids.
    """
    first, comparisons = next(iter(order.fields), "id"), required_comparisons(resource, where)
    for field, compare in comparisons:
        serves = field.name == first and (compare.operator in ("eq", "isnull") or is_range(field, compare))
        if serves and compared_column(field, compare) == sort_column(field, order):
            yield field, compare
    if not order.fields:
        equal = (pair for pair in comparisons if pair[1].operator == "eq" and pair[0].name != "id")
        yield from islice((pair for pair in equal if pair[0].kind not in ("boolean", "enum")), 1)


def required_comparisons(resource: Resource, where: Condition | None) -> list[Comparison]:
    return [(resource.fields[part.field], part) for part in required(where) if isinstance(part, Compare)]


def is_range(field: ResourceField, compare: Compare) -> bool:
    """Whether a comparison selects a range of the field's values; `notnull` does if there are nulls."""
    return compare.operator in RANGE_OPERATORS and (compare.operator != "notnull" or field.nullable)
