"""Selections: what a request asks for (fields, relations, filter, sort, page), independent of any API and database.

The REST and GraphQL APIs build them, the planner compiles them. A selection holds no value of a request, only the
*names* of values, which travel beside it (`Values`). So requests that differ in values alone have equal selections,
and share one plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from schema.engine.model.field import Operator


@dataclass(frozen=True, slots=True)
class Compare:
    """A field compared with the value named `value`."""

    field: str
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Junction:
    """Conditions joined by `and`, `or` or `not`, which takes one. Without parts, `and` is true and `or` is false."""

    operator: Literal["and", "or", "not"]
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Words that the record's searchable texts contain, each in any of them: the values `<value>_0`, `<value>_1`, …"""

    value: str
    words: int


Condition = Compare | Junction | Search


def conjuncts(where: Condition | None) -> Iterator[Condition]:
    """The conditions that a filter joins by `and` at its top."""
    if isinstance(where, Junction) and where.operator == "and":
        for part in where.parts:
            yield from conjuncts(part)
    elif where is not None:
        yield where


def required(where: Condition | None) -> Iterator[Compare | Search]:
    """The comparisons and searches that every row has to meet."""
    return (part for part in conjuncts(where) if not isinstance(part, Junction))


@dataclass(frozen=True, slots=True)
class Order:
    """The fields to sort by, all in one direction; the id follows. `folded`: by their lower-case form."""

    fields: tuple[str, ...] = ()
    descending: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """The names of a page's size and of the cursors that it lies between.

    `backward` takes the last records between them, still in the list's own order.
    """

    size: str
    after: str | None = None
    before: str | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """JSON that needs no database."""

    json: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A field of the record, or (`of_link`) of the link that led to it. `spelling`: an enum's value or its name."""

    field: str
    of_link: bool = False
    spelling: Literal["value", "name"] = "value"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The record's cursor in its list."""


@dataclass(frozen=True, slots=True)
class LinkedRecord:
    """The record itself, as an object inside its item of the list."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class ToOne:
    """The one record that a relation leads to, or null."""

    relation: str
    selection: Selection


@dataclass(frozen=True, slots=True)
class Items:
    """The array of the page's records."""

    item: Selection


@dataclass(frozen=True, slots=True)
class Total:
    """The number of records on all pages."""


@dataclass(frozen=True, slots=True)
class NextCursor:
    """The cursor that the next page starts after, or null."""


PageInfoField = Literal["has_next", "has_previous", "start", "end"]


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Whether there are more records before and after the page, and its first and last cursors."""

    members: tuple[tuple[str, PageInfoField | Constant], ...]


@dataclass(frozen=True, slots=True)
class ListSelection:
    """A page of records: of all records of a model, or of those that `relation` leads to from the record above.

    `members` are the members of the JSON object, each with its key. `around`: whether there are pages before and after
    is needed even if no member shows it (REST's `Link` header).
    """

    members: tuple[tuple[str, Items | Total | NextCursor | PageInfo | Constant], ...]
    page: Page
    relation: str | None = None
    where: Condition | None = None
    order: Order = Order()
    around: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.members, self.page, self.relation, self.where, self.order)))

    def __hash__(self) -> int:
        return self._hash


MemberSource = Constant | Scalar | Cursor | LinkedRecord | ToOne | ListSelection
Member = tuple[str, MemberSource]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is selected of one record: the members of its JSON object, in order.

    Every request looks up its plan by it, so the hash is computed once; a `ListSelection`'s likewise.
    """

    members: tuple[Member, ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.members))

    def __hash__(self) -> int:
        return self._hash


def sources(selection: Selection | ListSelection) -> Iterator[MemberSource | Items | Total | NextCursor | PageInfo]:
    """Everything that is selected, at any depth."""
    for _, source in selection.members:
        yield source
        match source:
            case Items():
                yield from sources(source.item)
            case ListSelection():
                yield from sources(source)
            case LinkedRecord() | ToOne():
                yield from sources(source.selection)
