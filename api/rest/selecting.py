"""From a query string to a `Selection`: the parameters of a list, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from api.rest.endpoint import Parameter, Schema
from api.rest.schemas import CURSOR, UUID
from schema.engine import cursors
from schema.engine.comparison import bound
from schema.engine.faces import UUID as UUID_PATTERN
from schema.engine.faces import moment
from schema.engine.field import GREATEST_INTEGER, LEAST_INTEGER, FieldShape
from schema.engine.selection import (
    Branch, Compare, Condition, Far, Junction, Next, Operator, Order, Page, Rows, Scalar, Selection, Total, Values,
)  # fmt: skip
from schema.engine.shape import Relation, Shape, shape

DEFAULT_LIMIT, MOST_LIMIT, MOST_IDS = 20, 100, 250
NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]+$"
NO_CONTROL_NO_COMMA = r"^[^,\u0000-\u001f\u007f-\u009f]+$"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,9})", re.ASCII)


@cache
def whole_record(made: Shape) -> Selection:
    """Every field of a record, as REST always shows it."""
    return Selection(tuple((field.name, Scalar(field.name)) for field in made.shown))


@cache
def item_of(relation: Relation) -> Selection:
    """An item of a relation's list: the record, and round it the link's own fields, if there are any."""
    target = shape(relation.target)
    if not relation.link_fields:
        return whole_record(target)
    own = ((field.name, Scalar(field.name, of_link=True)) for field in relation.link_fields if not field.write_only)
    return Selection(((target.singular, Far(whole_record(target))), *own))


@cache
def list_parameters(made: Shape) -> tuple[Parameter, ...]:
    """What a list of records takes."""
    return (*_paging(made), *(_filter(field, operator) for field in made.filters for operator in field.operators))


def listing(made: Shape, relation: Relation | None, query: Mapping[str, Any]) -> tuple[Branch, Values]:
    """The branch that a list's parameters ask for, and its values."""
    values: dict[str, Any] = {"limit": query.get("limit", DEFAULT_LIMIT)}
    compared = list(_compared(made, query, values))
    item = item_of(relation) if relation else whole_record(made)
    counted = (("total", Total()),) if "count" in query else ()
    branch = Branch(
        picks=(("items", Rows(item)), ("next", Next()), *counted),
        page=Page(
            "limit",
            after="after" if "after" in query else None,
            before="before" if "before" in query else None,
            backward="before" in query and "after" not in query,
        ),
        relation=relation.name if relation else None,
        where=_joined(compared),
        order=query.get("sort", Order()),
        around=True,
    )
    for name in ("after", "before"):
        if name in query:
            values |= cursors.keys_of(query[name], name, made, branch, values)
    return branch, values


@cache
def orders(made: Shape) -> dict[str, Order]:
    """The orders that a list offers, as `sort` spells them."""
    return {
        ",".join(f"{minus}{name}" for name in fields): Order(tuple(name for name in fields if name != "id"), bool(minus))
        for fields in made.sorts
        for minus in ("", "-")
    }


def _paging(made: Shape) -> Iterable[Parameter]:
    bounds = {"minimum": 1, "maximum": MOST_LIMIT}
    limit: Schema = {"type": "integer", "format": "int32", **bounds, "default": DEFAULT_LIMIT}
    offered = orders(made)
    yield Parameter("limit", "query", limit, _integer(1, MOST_LIMIT), "How many to give at most.")
    yield Parameter("after", "query", CURSOR, _text, "Give what comes after this cursor: the `next` of another page.")
    yield Parameter("before", "query", CURSOR, _text, "Give what comes before this cursor.")
    yield Parameter(
        "sort", "query", {"type": "string", "enum": list(offered)}, _one_of(offered),
        "What to sort by; a minus before each name turns the order round. Null comes first, the id decides ties.",
    )  # fmt: skip
    yield Parameter(
        "count", "query", {"type": "string", "enum": ["exact"]}, _one_of({"exact": True}),
        "With `exact`, count what there is on all pages.",
    )  # fmt: skip


def _filter(field: FieldShape, operator: Operator) -> Parameter:
    name = field.name if operator == "eq" else f"{field.name}__{operator}"
    words = _WORDS[operator]
    if operator == "isnull":
        return Parameter(name, "query", {"type": "boolean"}, _boolean, f"Only those where `{field.name}` {words}.")
    item, read = _value(field, in_list=operator == "in")
    schema: Schema = {"type": "array", "minItems": 1, "maxItems": MOST_IDS, "items": item} if operator == "in" else item
    sentence = f"Only those where `{field.name}` {words}."
    return Parameter(name, "query", schema, read, sentence, many=operator == "in")


def _value(field: FieldShape, *, in_list: bool) -> tuple[Schema, Any]:
    match field.kind:
        case "id":
            return UUID, _uuid
        case "enum":
            choices = {str(choice.value): choice.value for choice in field.choices}
            return {"type": "string", "enum": list(choices)}, _one_of(choices)
        case "boolean":
            return {"type": "boolean"}, _boolean
        case "integer":
            bounds = {"minimum": LEAST_INTEGER, "maximum": GREATEST_INTEGER}
            return {"type": "integer", "format": "int32", **bounds}, _integer(LEAST_INTEGER, GREATEST_INTEGER)
        case "time":
            return {"type": "string", "format": "date-time", "maxLength": 40}, moment
        case "text":
            pattern = NO_CONTROL_NO_COMMA if in_list else NO_CONTROL
            longest = field.max_length or 0
            return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern}, _matching(pattern, longest)


def _compared(made: Shape, query: Mapping[str, Any], values: dict[str, Any]) -> Iterable[Condition]:
    """Each filter as a comparison; its values are added to `values`."""
    for name, value in query.items():
        field_name, _, spelled = name.partition("__")
        field = made.fields.get(field_name)
        if field is None or name in ("limit", "after", "before", "sort", "count"):
            continue
        operator: Operator = spelled or "eq"  # type: ignore[assignment]
        values |= bound(field, operator, name, value)
        yield Compare(field.name, "notnull" if operator == "isnull" and not value else operator, name)


def _joined(parts: list[Condition]) -> Condition | None:
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
    "isnull": "is null (`true`) or is not (`false`)",
}


def _text(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text, re.ASCII) or len(text) > cursors.MAX_LENGTH:
        raise ValueError(f"a cursor is made of letters, digits, - and _, at most {cursors.MAX_LENGTH} of them")
    return text


def _integer(least: int, greatest: int) -> Any:
    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= greatest:
            raise ValueError(f"it has to be an integer from {least} to {greatest}")
        return int(text)

    return read


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("it has to be true or false")
    return text == "true"


def _uuid(text: str) -> str:
    if not re.fullmatch(UUID_PATTERN, text):
        raise ValueError("it has to be a UUID")
    return text.lower()


def _one_of(choices: Mapping[str, Any]) -> Any:
    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"it has to be one of {', '.join(choices)}")
        return choices[text]

    return read


def _matching(pattern: str, longest: int) -> Any:
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text) or len(text) > longest:
            raise ValueError(f"it has to be 1 to {longest} characters, none of them a control character")
        return text

    return read
