"""A connection's arguments, coerced by graphql-core, as page, order and condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from schema.engine.errors import FieldError, QueryTooComplex, ValidationFailed
from schema.engine.model.field import Operator
from schema.engine.model.resource import Resource
from schema.engine.query import search
from schema.engine.query.cursors import Signer, cursor_values
from schema.engine.query.filters import check_filter_value, filter_values
from schema.engine.query.selection import Compare, Condition, Junction, Order, Page, Search
from schema.engine.query.sort import default_order
from schema.graphql.types.declarations import camel_case

DEFAULT_SIZE, MOST = 20, 100
DEEPEST_FILTER = 10
# Each takes a tenth of a millisecond to plan, and no index helps with many of them.
MOST_CONDITIONS = 100


@dataclass(slots=True)
class Tally:
    """How many conditions the filters of one operation have held so far."""

    conditions: int = 0

    def add(self, more: int) -> None:
        """Count so many more; `TooComplex` past those that are allowed."""
        self.conditions += more
        if self.conditions > MOST_CONDITIONS:
            raise QueryTooComplex(f"the query's filters have more than {MOST_CONDITIONS} conditions")


@dataclass(slots=True)
class Named:
    """The values of a root field, each under a name that follows from its place in the document."""

    tally: Tally
    values: dict[str, Any] = field(default_factory=dict)

    def name(self) -> str:
        """A new name."""
        return f"v{len(self.values)}"


@dataclass(frozen=True, slots=True)
class ListArguments:
    """What a connection's arguments come to, but for their values: a part of the plan's key."""

    page: Page
    where: Condition | None
    order: Order


def list_arguments(
    arguments: Mapping[str, Any], resource: Resource, relation: str | None, named: Named, signer: Signer
) -> ListArguments:
    """What a connection is asked for; its values are added to those that are named.

    `Invalid` for arguments that make no sense, `BadRequest` for a cursor that the list never gave.
    """
    page = _page(arguments, named)
    asked = arguments.get("filter")
    where = None if asked is None else _condition(asked, resource, named, ("filter",))
    if arguments.get("q") is not None:
        search = _search(arguments["q"], resource, named)
        where = search if where is None else Junction("and", (where, search))
    sorted_by = arguments.get("sort")
    order = order_of(arguments, resource) if sorted_by else default_order(resource, where, nested=relation is not None)
    for name, cursor in ((page.after, arguments.get("after")), (page.before, arguments.get("before"))):
        if name and cursor is not None:
            named.values |= cursor_values(cursor, name, resource, relation, order, where, named.values, signer)
    return ListArguments(page, where, order)


def _page(arguments: Mapping[str, Any], named: Named) -> Page:
    first, last = arguments.get("first"), arguments.get("last")
    if first is not None and last is not None:
        raise ValidationFailed.of(FieldError(("last",), "it cannot go together with first", "invalid"))
    backward = last is not None
    size = first if last is None else last
    if size is not None and not 0 <= size <= MOST:
        field_error = FieldError(
            ("last" if backward else "first",), f"it has to be an integer from 0 to {MOST}", "invalid"
        )
        raise ValidationFailed.of(field_error)
    name = named.name()
    named.values[name] = DEFAULT_SIZE if size is None else size
    after, before = arguments.get("after") is not None, arguments.get("before") is not None
    return _stretching(name, after, before, backward)


@lru_cache(1000)
def _stretching(name: str, after: bool, before: bool, backward: bool) -> Page:
    return Page(name, f"{name}_after" if after else None, f"{name}_before" if before else None, backward)


def order_of(arguments: Mapping[str, Any], resource: Resource) -> Order:
    """The order that `sort` stands for; `Invalid` for one that is not offered."""
    asked = arguments.get("sort") or []
    fields = tuple(it["field"].value for it in asked)
    directions = {it["direction"].value for it in asked}
    if asked and (fields not in resource.sorts or len(directions) > 1):
        offered = ", ".join("[" + ", ".join(name.upper() for name in names) + "]" for names in resource.sorts)
        raise ValidationFailed.of(
            FieldError(("sort",), f"it has to be one of {offered}, all in one direction", "invalid")
        )
    return Order(tuple(name for name in fields if name != "id"), directions == {"desc"})


def _search(sent: str, resource: Resource, named: Named) -> Search:
    try:
        words = search.parse_words(sent)
    except ValueError as error:
        raise ValidationFailed.of(FieldError(("q",), str(error), "invalid")) from None
    name = named.name()
    named.values |= search.search_values(resource, name, words)
    return Search(name, len(words))


def _condition(asked: Mapping[str, Any], resource: Resource, named: Named, path: tuple[str | int, ...]) -> Condition:
    if sum(isinstance(part, str) for part in path) > DEEPEST_FILTER:
        raise ValidationFailed.of(FieldError(path, f"filters can be nested {DEEPEST_FILTER} levels deep", "invalid"))
    parts: list[Condition] = []
    for name, value in asked.items():
        here = (*path, name)
        if value is None:
            raise ValidationFailed.of(FieldError(here, "null is no condition: leave it out, or ask isnull", "invalid"))
        if name in ("and", "or"):
            several = [_condition(part, resource, named, (*here, number)) for number, part in enumerate(value)]
            parts.append(Junction("and" if name == "and" else "or", tuple(several)))
        elif name == "not":
            parts.append(Junction("not", (_condition(value, resource, named, here),)))
        else:
            parts += _comparisons(name, value, resource, named, here)
    named.tally.add(len(parts) or 1)
    return parts[0] if len(parts) == 1 else Junction("and", tuple(parts))


def _comparisons(
    name: str, asked: Mapping[str, Any], resource: Resource, named: Named, path: tuple[str | int, ...]
) -> list[Condition]:
    field = next(field for field in resource.filterable_fields if camel_case(field.name) == name)
    found: list[Condition] = []
    for spelled, value in asked.items():
        operator: Operator = spelled  # type: ignore[assignment]
        if value is None:
            raise ValidationFailed.of(FieldError((*path, spelled), "null is no value: ask isnull", "invalid"))
        plain = [getattr(item, "value", item) for item in value] if operator == "in" else getattr(value, "value", value)
        try:
            plain = check_filter_value(field, operator, plain)
        except ValueError as error:
            raise ValidationFailed.of(FieldError((*path, spelled), str(error), "invalid")) from None
        new = named.name()
        named.values.setdefault(new, None)
        named.values |= filter_values(field, operator, new, plain)
        found.append(Compare(field.name, "notnull" if operator == "isnull" and not plain else operator, new))
    return found
