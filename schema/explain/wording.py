"""A selection in words. Values go by their names, as they do in the plan."""

from __future__ import annotations

from collections.abc import Iterator

from schema.engine.model.resource import Resource, resource_of
from schema.engine.query.selection import (
    Compare,
    Condition,
    Items,
    Junction,
    LinkedRecord,
    ListSelection,
    NextCursor,
    Page,
    PageInfo,
    Scalar,
    Search,
    Selection,
    ToOne,
    Total,
)

_SIGNS = {"eq": "is", "in": "is one of", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "startswith": "starts with"}
_STEP = "  "


def in_words(resource: Resource, asked: Selection | ListSelection, *, of_one: bool) -> list[str]:
    """The lines that say what is asked of a model's records; `of_one`: of one of them."""
    if not of_one:
        assert isinstance(asked, ListSelection)
        return list(_list(resource.plural, resource, asked, ""))
    below = Selection((("", asked),)) if isinstance(asked, ListSelection) else asked
    return [f"one {resource.singular}, by its id", *_record(resource, below, _STEP)]


def narrowed(resource: Resource, asked: Selection | ListSelection) -> set[str]:
    """The tables of whose rows some are looked for, or all of them counted."""
    found: set[str] = set()
    inner = [asked] if isinstance(asked, Selection) else [it.item for _, it in asked.picks if isinstance(it, Items)]
    if isinstance(asked, ListSelection) and (asked.where or any(isinstance(it, Total) for _, it in asked.picks)):
        link = resource.relations[asked.relation].link if asked.relation else None
        target = resource_of(resource.relations[asked.relation].target) if asked.relation else resource
        found = {target.table.name, *([str(link.__tablename__)] if link else [])}
    below = (
        resource_of(resource.relations[asked.relation].target)
        if isinstance(asked, ListSelection) and asked.relation
        else resource
    )
    for selection in inner:
        for _, source in selection.picks:
            match source:
                case ListSelection():
                    found |= narrowed(below, source)
                case ToOne():
                    found |= narrowed(resource_of(below.relations[source.relation].target), source.selection)
                case LinkedRecord():
                    found |= narrowed(below, source.selection)
    return found


def _list(name: str, resource: Resource, asked: ListSelection, indent: str) -> Iterator[str]:
    where = f", where {_condition(asked.where)}" if asked.where else ""
    yield f"{indent}{name}: {_page(asked.page)}{where}, sorted by {_order(asked)}"
    for _, source in asked.picks:
        match source:
            case Items():
                yield from _record(resource, source.item, indent + _STEP)
            case Total():
                yield f"{indent}{_STEP}how many there are in all"
            case NextCursor():
                yield f"{indent}{_STEP}where the next page starts"
            case PageInfo():
                told = ", ".join(it for _, it in source.picks if isinstance(it, str))
                yield f"{indent}{_STEP}of the page: {told}"


def _record(resource: Resource, asked: Selection, indent: str) -> Iterator[str]:
    own = [f"{'the link’s ' if it.of_link else ''}{it.field}" for _, it in asked.picks if isinstance(it, Scalar)]
    if own:
        yield f"{indent}{', '.join(own)}"
    for _, source in asked.picks:
        match source:
            case LinkedRecord():
                yield from _record(resource, source.selection, indent)
            case ToOne():
                relation = resource.relations[source.relation]
                yield f"{indent}the {source.relation}:"
                yield from _record(resource_of(relation.target), source.selection, indent + _STEP)
            case ListSelection():
                assert source.relation is not None
                relation = resource.relations[source.relation]
                yield from _list(f"the {source.relation}", resource_of(relation.target), source, indent)


def _page(page: Page) -> str:
    bounds = "".join(f" {word} :{name}" for word, name in (("after", page.after), ("before", page.before)) if name)
    return f"the {'last' if page.backward else 'first'} :{page.size}{bounds}"


def _order(asked: ListSelection) -> str:
    order = asked.order
    if asked.relation and not order.fields:
        return "the key of what joins them"
    fields = [f"{name} in lower case" if order.folded else name for name in order.fields]
    return f"{', '.join((*fields, 'id'))}{' from the greatest down' if order.descending else ''}"


def _condition(asked: Condition) -> str:
    match asked:
        case Compare(field, "isnull" | "notnull" as operator, _):
            return f"{field} is {'' if operator == 'isnull' else 'not '}null"
        case Compare(field, operator, value):
            return f"{field} {_SIGNS.get(operator, operator)} :{value}"
        case Search(value, words):
            return f"it has the words {', '.join(f':{value}_{number}' for number in range(words))}"
        case Junction("not", (part,)):
            return f"not ({_condition(part)})"
        case Junction(word, ()):
            return "always" if word == "and" else "never"
        case Junction(word, parts):
            inner = f" {word} ".join(_condition(part) for part in parts)
            return f"({inner})" if word == "or" else inner
