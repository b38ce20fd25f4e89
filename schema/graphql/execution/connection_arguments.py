"""The arguments of a connection (`first`, `after`, `filter`, `sort`, `q`) as page, order and condition.

Their values become parameters of the plan; what remains is a part of the plan's cache key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from schema.engine.errors import FieldError, QueryTooComplex, ValidationFailed
from schema.engine.model.field import Operator
from schema.engine.model.names import camel_case
from schema.engine.model.resource import Resource
from schema.engine.query import search
from schema.engine.query.cursors import Signer, cursor_values
from schema.engine.query.filters import check_filter_value, filter_values
from schema.engine.query.selection import Compare, Condition, Junction, Order, Page, Search
from schema.engine.query.sort import default_order

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 20, 100
MAX_FILTER_DEPTH = 10
# Each takes 0.1 ms to plan, and no index helps with many of them.
MAX_CONDITIONS = 100
Path = tuple[str | int, ...]


@dataclass(slots=True)
class ConditionCounter:
    count: int = 0

    def add(self, count: int) -> None:
        """Count more; raises `QueryTooComplex` above `MAX_CONDITIONS`."""
        self.count += count
        if self.count > MAX_CONDITIONS:
            raise QueryTooComplex(f"the filters of the query must have at most {MAX_CONDITIONS} conditions")


@dataclass(slots=True)
class PlanParameters:
    """The parameters of a root field's plan. Their names follow from the order of arguments in the document."""

    conditions: ConditionCounter
    values: dict[str, Any] = field(default_factory=dict)

    def new_name(self) -> str:
        return f"v{len(self.values)}"


@dataclass(frozen=True, slots=True)
class ConnectionArguments:
    """A connection's arguments without their values."""

    page: Page
    where: Condition | None
    order: Order


def connection_arguments(
    arguments: Mapping[str, Any], resource: Resource, relation: str | None, parameters: PlanParameters, signer: Signer
) -> ConnectionArguments:
    """Read coerced arguments, and add their values to `parameters`.

    Raises:
        ValidationFailed: an argument is invalid.
        BadRequest: a cursor was not issued for this list.
    """
    page = _page(arguments, parameters)
    conditions = arguments.get("filter")
    where = None if conditions is None else _condition(conditions, resource, parameters, ("filter",))
    if arguments.get("q") is not None:
        words = _search(arguments["q"], resource, parameters)
        where = words if where is None else Junction("and", (where, words))
    order = (
        _order(arguments["sort"], resource)
        if arguments.get("sort")
        else default_order(resource, where, nested=relation is not None)
    )
    for name, cursor in ((page.after, arguments.get("after")), (page.before, arguments.get("before"))):
        if name and cursor is not None:
            values = parameters.values
            parameters.values |= cursor_values(cursor, name, resource, relation, order, where, values, signer)
    return ConnectionArguments(page, where, order)


def _page(arguments: Mapping[str, Any], parameters: PlanParameters) -> Page:
    first, last = arguments.get("first"), arguments.get("last")
    if first is not None and last is not None:
        _invalid(("last",), "must not be combined with first")
    backward = last is not None
    size = first if last is None else last
    if size is not None and not 0 <= size <= MAX_PAGE_SIZE:
        _invalid(("last" if backward else "first",), f"must be an integer from 0 to {MAX_PAGE_SIZE}, got {size}")
    name = parameters.new_name()
    parameters.values[name] = DEFAULT_PAGE_SIZE if size is None else size
    return _cached_page(name, arguments.get("after") is not None, arguments.get("before") is not None, backward)


@lru_cache(1000)
def _cached_page(name: str, after: bool, before: bool, backward: bool) -> Page:
    return Page(name, f"{name}_after" if after else None, f"{name}_before" if before else None, backward)


def _condition(conditions: Mapping[str, Any], resource: Resource, parameters: PlanParameters, path: Path) -> Condition:
    if sum(isinstance(part, str) for part in path) > MAX_FILTER_DEPTH:
        _invalid(path, f"must be nested at most {MAX_FILTER_DEPTH} levels deep")
    parts: list[Condition] = []
    for name, value in conditions.items():
        here = (*path, name)
        if value is None:
            _invalid(here, "must not be null: leave it out, or use isnull")
        if name in ("and", "or"):
            nested = [_condition(part, resource, parameters, (*here, index)) for index, part in enumerate(value)]
            parts.append(Junction("and" if name == "and" else "or", tuple(nested)))
        elif name == "not":
            parts.append(Junction("not", (_condition(value, resource, parameters, here),)))
        else:
            parts += _comparisons(name, value, resource, parameters, here)
    parameters.conditions.add(len(parts) or 1)
    return parts[0] if len(parts) == 1 else Junction("and", tuple(parts))


def _comparisons(
    name: str, comparisons: Mapping[str, Any], resource: Resource, parameters: PlanParameters, path: Path
) -> list[Condition]:
    field = next(field for field in resource.filterable_fields if camel_case(field.name) == name)
    conditions: list[Condition] = []
    for key, value in comparisons.items():
        operator: Operator = key  # type: ignore[assignment]
        if value is None:
            _invalid((*path, key), "must not be null: use isnull")
        plain = [getattr(item, "value", item) for item in value] if operator == "in" else getattr(value, "value", value)
        try:
            plain = check_filter_value(field, operator, plain)
        except ValueError as error:
            _invalid((*path, key), str(error))
        parameter = parameters.new_name()
        parameters.values.setdefault(parameter, None)
        parameters.values |= filter_values(field, operator, parameter, plain)
        conditions.append(Compare(field.name, "notnull" if operator == "isnull" and not plain else operator, parameter))
    return conditions


def _search(text: str, resource: Resource, parameters: PlanParameters) -> Search:
    try:
        words = search.parse_words(text)
    except ValueError as error:
        _invalid(("q",), str(error))
    name = parameters.new_name()
    parameters.values |= search.search_values(resource, name, words)
    return Search(name, len(words))


def _order(sort: list[dict[str, Any]], resource: Resource) -> Order:
    fields = tuple(item["field"].value for item in sort)
    directions = {item["direction"].value for item in sort}
    if fields not in resource.sorts or len(directions) > 1:
        allowed = ", ".join("[" + ", ".join(name.upper() for name in names) + "]" for names in resource.sorts)
        _invalid(("sort",), f"must be one of {allowed}, all in one direction")
    return Order(tuple(name for name in fields if name != "id"), directions == {"desc"})


def _invalid(path: Path, message: str) -> NoReturn:
    raise ValidationFailed.of(FieldError(path, message, "invalid"))
