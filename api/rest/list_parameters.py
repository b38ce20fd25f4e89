"""From a query string to a `Selection`: the parameters of a list, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, cast

from api.openapi.schemas import CURSOR
from api.rest.endpoint import Parameter
from api.rest.url_values import Value, boolean, cursor, integer, list_of, one_of, part_of, value_of
from schema.engine.model.field import Operator, ResourceField
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query import search
from schema.engine.query.cursors import Signer, cursor_values
from schema.engine.query.filters import DEFAULT_ORDER, default_order, filter_values
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
from schema.engine.sql.statement import Values

DEFAULT_LIMIT, MOST_LIMIT = 20, 100
LIST_WORDS = frozenset(
    {"limit", "after", "before", "sort", "count", "q"}
)  # a list's own parameters: the rest are filters


@cache
def whole_record(resource: Resource) -> Selection:
    """Every field of a record, as REST always shows it."""
    return Selection(tuple((field.name, Scalar(field.name)) for field in resource.shown))


@cache
def item_of(relation: Relation) -> Selection:
    """An item of a relation's list: the record, and round it the link's own fields, if there are any."""
    target = resource_of(relation.target)
    if not relation.link_fields:
        return whole_record(target)
    own = ((field.name, Scalar(field.name, of_link=True)) for field in relation.link_fields if not field.write_only)
    return Selection(((target.singular, LinkedRecord(whole_record(target))), *own))


@cache
def list_parameters(resource: Resource) -> tuple[Parameter, ...]:
    """What a list of records takes."""
    filters = (_filter(field, operator) for field in resource.filters for operator in field.operators)
    searches = [_search(resource)] if search.searched_fields(resource) else []
    found = (*_paging(resource), *searches, *filters)
    names = [parameter.name for parameter in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, (
        f"{resource.name}: {', '.join(twice)}: a list's own parameter has that name, so no field can be offered by it"
    )
    return found


def listing(
    resource: Resource, relation: Relation | None, query: Mapping[str, Any], signer: Signer
) -> tuple[ListSelection, Values]:
    """The branch that a list's parameters ask for, and its values; `signer` verifies the cursors among them."""
    values: dict[str, Any] = {"limit": query.get("limit", DEFAULT_LIMIT)}
    compared = [_compared(resource, name, query[name], values) for name in query if name not in LIST_WORDS]
    searched = _searched(resource, query["q"], values) if "q" in query else ()
    where = _joined((*compared, *searched))
    order = query["sort"] if "sort" in query else default_order(resource, where, alone=relation is None)
    branch = _branch(resource, relation, where, order, frozenset(LIST_WORDS.intersection(query)))
    for name in ("after", "before"):
        if name in query:
            values |= cursor_values(
                query[name], name, resource, branch.relation, branch.order, branch.where, values, signer
            )
    return branch, values


@lru_cache(maxsize=1000)
def _branch(
    resource: Resource, relation: Relation | None, where: Condition | None, order: Order, words: frozenset[str]
) -> ListSelection:
    """The branch of all lists with this filter, in this order, whose parameters have these words among them."""
    item = item_of(relation) if relation else whole_record(resource)
    counted = (("total", Total()),) if "count" in words else ()
    return ListSelection(
        picks=(("items", Items(item)), ("next", NextCursor()), *counted),
        page=Page(
            "limit",
            after="after" if "after" in words else None,
            before="before" if "before" in words else None,
            backward="before" in words and "after" not in words,
        ),
        relation=relation.name if relation else None,
        where=where,
        order=order,
        around=True,
    )


@cache
def orders(resource: Resource) -> dict[str, Order]:
    """The orders that a list offers, as `sort` spells them."""
    return {
        ",".join(f"{minus}{name}" for name in fields): Order(
            tuple(name for name in fields if name != "id"), bool(minus)
        )
        for fields in resource.sorts
        for minus in ("", "-")
    }


def _paging(resource: Resource) -> Iterable[Parameter]:
    limit, offered = integer(1, MOST_LIMIT, DEFAULT_LIMIT), one_of(orders(resource), next(iter(orders(resource))))
    limit.schema["default"], offered.schema["default"] = DEFAULT_LIMIT, offered.example
    yield _parameter("limit", limit, "How many to give at most.")
    yield _parameter(
        "after", cursor(CURSOR), "Give what comes after this cursor: the `next` of a page of this very list."
    )
    yield _parameter(
        "before", cursor(CURSOR), "Give what comes before this cursor, which `Link` of a page has as `prev`."
    )
    sentence = (
        "What to sort by; a minus before each name turns the order round. Null comes first, the id decides ties. "
    )
    sentence += DEFAULT_ORDER
    yield _parameter("sort", offered, sentence)
    yield _parameter("count", one_of({"exact": True}, "exact"), "With `exact`, count what there is on all pages.")


def _filter(field: ResourceField, operator: Operator) -> Parameter:
    name = field.name if operator == "eq" else f"{field.name}__{operator}"
    sentence = f"Only those where `{field.name}` {_WORDS[operator]}."
    match operator:
        case "isnull":
            return _parameter(name, boolean(False), sentence)
        case "in":
            return _parameter(
                name, list_of(field), f"{sentence} Part them by commas, or repeat the parameter.", many=True
            )
        case "contains":
            return _parameter(name, part_of(field), sentence)
        case "startswith":
            whole = value_of(field)
            return _parameter(name, replace(whole, example=whole.example and whole.example[:2]), sentence)
        case _:
            return _parameter(name, value_of(field), sentence)


def _search(resource: Resource) -> Parameter:
    fields = [resource.fields[name] for name in search.searched_fields(resource)]
    listed = ", ".join(f"`{field.name}`" for field in fields)
    sentence = (
        f"Only those who have each of these words somewhere in {listed}, in upper or lower case. Words are parted by "
        f"blanks; one of them has at least {search.MIN_LENGTH} characters."
    )
    schema = {"type": "string", "minLength": search.MIN_LENGTH, "maxLength": search.MAX_LENGTH}
    example = next((field.example for field in fields if field.example), None)
    value = Value({**schema, "pattern": search.WORDS_PATTERN}, search.parse_words, example)
    return _parameter("q", value, sentence)


def _parameter(name: str, value: Value, sentence: str, *, many: bool = False) -> Parameter:
    return Parameter(name, "query", value.schema, value.read, sentence, many=many, example=value.example)


def _compared(resource: Resource, name: str, value: Any, values: dict[str, Any]) -> Compare:
    """A filter as a comparison; its values are added to `values`."""
    field_name, _, spelled = name.partition("__")
    field, operator = resource.fields[field_name], cast(Operator, spelled or "eq")
    values |= filter_values(field, operator, name, value)
    return Compare(field.name, "notnull" if operator == "isnull" and not value else operator, name)


def _searched(resource: Resource, words: tuple[str, ...], values: dict[str, Any]) -> tuple[Search]:
    """What `q` asks for; its words are added to `values`."""
    values |= search.search_values(resource, "q", words)
    return (Search("q", len(words)),)


def _joined(parts: tuple[Condition, ...]) -> Condition | None:
    if len(parts) > 1:
        return Junction("and", tuple(sorted(parts, key=str)))
    return parts[0] if parts else None


_WORDS: dict[str, str] = {
    "eq": "is this",
    "in": "is one of these",
    "lt": "is less than this",
    "lte": "is this or less",
    "gt": "is greater than this",
    "gte": "is this or greater",
    "startswith": "begins with this, in upper or lower case",
    "contains": "has this somewhere in it, in upper or lower case",
    "isnull": "is null (`true`) or is not (`false`)",
}
