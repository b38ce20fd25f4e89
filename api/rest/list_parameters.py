"""The parameters of lists: their declaration, and from a query string to a `Branch` and its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, cast

from api.rest.json_schemas import CURSOR
from api.rest.parameters import Parameter
from api.rest.url_values import ValueType, boolean, cursor, integer, list_of, one_of, part_of, value_of
from schema.engine.model.field import Operator, ResourceField
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query import search
from schema.engine.query.cursors import Signer, cursor_values
from schema.engine.query.filters import filter_values
from schema.engine.query.selection import (
    Compare,
    Condition,
    Items,
    Junction,
    LinkedRecord,
    ListSelection,
    NextCursor,
    Order,
    Page,
    Scalar,
    Search,
    Selection,
    Total,
)
from schema.engine.query.sort import DEFAULT_ORDER, default_order
from schema.engine.sql.statement import Values

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
# All other parameters of a list are filters.
RESERVED_NAMES = frozenset({"limit", "after", "before", "sort", "count", "q"})


@cache
def list_parameters(resource: Resource) -> tuple[Parameter, ...]:
    filters = (_filter(field, operator) for field in resource.filterable_fields for operator in field.operators)
    search_parameters = [_search_parameter(resource)] if search.searched_fields(resource) else []
    parameters = (*_page_parameters(resource), *search_parameters, *filters)
    names = [parameter.name for parameter in parameters]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    assert not duplicates, (
        f"{resource.name}: {', '.join(duplicates)}: a filter must not have the name of another parameter"
    )
    return parameters


def list_selection(
    resource: Resource, relation: Relation | None, query: Mapping[str, Any], signer: Signer
) -> tuple[ListSelection, Values]:
    """Return the selection of a list and its values. `query` are converted parameters; `signer` verifies cursors."""
    values: dict[str, Any] = {"limit": query.get("limit", DEFAULT_LIMIT)}
    filters = [_compare(resource, name, query[name], values) for name in query if name not in RESERVED_NAMES]
    searches = [_search(resource, query["q"], values)] if "q" in query else []
    where = _and((*filters, *searches))
    order = query["sort"] if "sort" in query else default_order(resource, where, nested=relation is not None)
    selection = _selection(resource, relation, where, order, frozenset(RESERVED_NAMES.intersection(query)))
    for name in ("after", "before"):
        if name in query:
            values |= cursor_values(query[name], name, resource, selection.relation, order, where, values, signer)
    return selection, values


@cache
def record_selection(resource: Resource) -> Selection:
    """Select every field of a record, as REST always returns it."""
    return Selection(tuple((field.name, Scalar(field.name)) for field in resource.readable_fields))


@cache
def item_selection(relation: Relation) -> Selection:
    """Select an item of a relation's list: the record and the link's own fields, if it has any."""
    target = resource_of(relation.target)
    if not relation.link_fields:
        return record_selection(target)
    fields = ((field.name, Scalar(field.name, of_link=True)) for field in relation.link_fields if not field.write_only)
    return Selection(((target.singular, LinkedRecord(record_selection(target))), *fields))


@cache
def sort_options(resource: Resource) -> dict[str, Order]:
    """Return the orders of a list by the values of `sort`."""
    return {
        ",".join(f"{minus}{name}" for name in fields): Order(
            tuple(name for name in fields if name != "id"), bool(minus)
        )
        for fields in resource.sorts
        for minus in ("", "-")
    }


@lru_cache(maxsize=1000)
def _selection(
    resource: Resource, relation: Relation | None, where: Condition | None, order: Order, names: frozenset[str]
) -> ListSelection:
    """Cached, so that lists with the same filters and parameter names share one selection and its plan."""
    item = item_selection(relation) if relation else record_selection(resource)
    total = (("total", Total()),) if "count" in names else ()
    return ListSelection(
        members=(("items", Items(item)), ("next", NextCursor()), *total),
        page=Page(
            "limit",
            after="after" if "after" in names else None,
            before="before" if "before" in names else None,
            backward="before" in names and "after" not in names,
        ),
        relation=relation.name if relation else None,
        where=where,
        order=order,
        around=True,
    )


def _page_parameters(resource: Resource) -> Iterable[Parameter]:
    options = sort_options(resource)
    limit, sort = integer(1, MAX_LIMIT, DEFAULT_LIMIT), one_of(options, next(iter(options)))
    limit.schema["default"], sort.schema["default"] = DEFAULT_LIMIT, sort.example
    yield _parameter("limit", limit, "The maximum number of items.")
    yield _parameter("after", cursor(CURSOR), "The `next` cursor of a page of this list: return the page after it.")
    yield _parameter(
        "before", cursor(CURSOR), "The cursor in the `prev` link of a page of this list: return the page before it."
    )
    description = "The fields to sort by; a minus before each name sorts in descending order. Null sorts lowest. "
    yield _parameter("sort", sort, f"{description}Ties are sorted by id. {DEFAULT_ORDER}")
    yield _parameter("count", one_of({"exact": True}, "exact"), "`exact` adds the number of items on all pages.")


def _filter(field: ResourceField, operator: Operator) -> Parameter:
    name = field.name if operator == "eq" else f"{field.name}__{operator}"
    description = f"Only items whose `{field.name}` {_OPERATORS[operator]}."
    match operator:
        case "isnull":
            return _parameter(name, boolean(False), description)
        case "in":
            description += " Separate them by commas, or repeat the parameter."
            return _parameter(name, list_of(field), description, many=True)
        case "contains":
            return _parameter(name, part_of(field), description)
        case "startswith":
            value = value_of(field)
            return _parameter(name, replace(value, example=value.example and value.example[:2]), description)
        case _:
            return _parameter(name, value_of(field), description)


_OPERATORS: dict[str, str] = {
    "eq": "equals this value",
    "in": "is one of these values",
    "lt": "is less than this value",
    "lte": "is at most this value",
    "gt": "is greater than this value",
    "gte": "is at least this value",
    "startswith": "starts with this text, ignoring case",
    "contains": "contains this text, ignoring case",
    "isnull": "is null (`true`) or not null (`false`)",
}


def _search_parameter(resource: Resource) -> Parameter:
    fields = [resource.fields[name] for name in search.searched_fields(resource)]
    listed = ", ".join(f"`{field.name}`" for field in fields)
    description = (
        f"Only items that contain each of these words somewhere in {listed}, ignoring case. Words are separated by "
        f"spaces; one of them has at least {search.MIN_LENGTH} characters."
    )
    schema = {
        "type": "string",
        "minLength": search.MIN_LENGTH,
        "maxLength": search.MAX_LENGTH,
        "pattern": search.WORDS_PATTERN,
    }
    example = next((field.example for field in fields if field.example), None)
    return _parameter("q", ValueType(schema, search.parse_words, example), description)


def _parameter(name: str, value: ValueType, description: str, *, many: bool = False) -> Parameter:
    return Parameter(name, "query", value.schema, value.read, description, many=many, example=value.example)


def _compare(resource: Resource, name: str, value: Any, values: dict[str, Any]) -> Compare:
    """Return a filter as a comparison, and add its value to `values`."""
    field_name, _, suffix = name.partition("__")
    field, operator = resource.fields[field_name], cast(Operator, suffix or "eq")
    values |= filter_values(field, operator, name, value)
    return Compare(field.name, "notnull" if operator == "isnull" and not value else operator, name)


def _search(resource: Resource, words: tuple[str, ...], values: dict[str, Any]) -> Search:
    """Return the search of `q`, and add its words to `values`."""
    values |= search.search_values(resource, "q", words)
    return Search("q", len(words))


def _and(conditions: tuple[Condition, ...]) -> Condition | None:
    if len(conditions) > 1:
        return Junction("and", tuple(sorted(conditions, key=str)))
    return conditions[0] if conditions else None
