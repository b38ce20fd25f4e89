"""What a caller asked for: fields, relations, filters, order, page; in no dialect.

Both doors' `selecting.py` write these words, and the planner reads nothing else. A selection holds no value of a
request: where a value belongs, it holds the value's *name*, and the values travel beside it (`Values`). Selections that
look alike are therefore equal, and share a plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from schema.engine.model.field import Operator


@dataclass(frozen=True, slots=True)
class Compare:
    """A field held against the value called `value`."""

    field: str
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Junction:
    """Conditions joined by a word; `not` takes one. No parts: `and` always holds, `or` never does."""

    word: Literal["and", "or", "not"]
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """Words that the record's searchable texts hold, each of them in any one: the values `<value>_0`, `<value>_1`, …"""

    value: str
    words: int


Condition = Compare | Junction | Search


def required(asked: Condition | None) -> Iterator[Compare | Search]:
    """The comparisons and searches that every row has to stand, whatever else it is like."""
    return (part for part in parts(asked) if not isinstance(part, Junction))


def parts(asked: Condition | None) -> Iterator[Condition]:
    """What a filter says, each thing by itself."""
    if isinstance(asked, Junction) and asked.word == "and":
        for part in asked.parts:
            yield from parts(part)
    elif asked is not None:
        yield asked


@dataclass(frozen=True, slots=True)
class Order:
    """The fields to sort by, all in one direction; the id follows. `folded`: by their lower-case form."""

    fields: tuple[str, ...] = ()
    descending: bool = False
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a list: the name of its size, and the names of the cursors it lies between.

    `backward` takes the last ones of the stretch, still in the list's own order.
    """

    size: str
    after: str | None = None
    before: str | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """A piece of JSON that is known beforehand."""

    json: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A field of the record; `of_link`: of the link that led to it. An enum's value is shown itself, or by its name."""

    field: str
    of_link: bool = False
    spelling: Literal["value", "name"] = "value"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The row's place in its list."""


@dataclass(frozen=True, slots=True)
class LinkedRecord:
    """The record itself, as an object inside the item that stands for it."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class ToOne:
    """The one record that a relation leads to, or null."""

    relation: str
    selection: Selection


@dataclass(frozen=True, slots=True)
class Items:
    """The list itself: each row as one item."""

    item: Selection


@dataclass(frozen=True, slots=True)
class Total:
    """How many rows there are on all pages."""


@dataclass(frozen=True, slots=True)
class NextCursor:
    """The cursor that the next page starts after, or null."""


InfoName = Literal["has_next", "has_previous", "start", "end"]


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What lies round the page: whether there is more, its first and its last cursor, by their keys."""

    picks: tuple[tuple[str, InfoName | Constant], ...]


@dataclass(frozen=True, slots=True)
class ListSelection:
    """A list of records: all of a model, or (`relation`) those that belong to a record above.

    `around`: whether there are further pages is to be known even if nothing picked says so.
    """

    picks: tuple[tuple[str, Items | Total | NextCursor | PageInfo | Constant], ...]
    page: Page
    relation: str | None = None
    where: Condition | None = None
    order: Order = Order()
    around: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.picks, self.page, self.relation, self.where, self.order)))

    def __hash__(self) -> int:
        return self._hash


Source = Constant | Scalar | Cursor | LinkedRecord | ToOne | ListSelection


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of one record, in the order in which it is to be shown.

    It is looked up with every request, so its hash is worked out once; a branch's likewise.
    """

    picks: tuple[tuple[str, Source], ...]
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.picks))

    def __hash__(self) -> int:
        return self._hash


def has_lists(asked: Selection) -> bool:
    """Whether lists are asked for below the record, at any depth."""
    return any(
        isinstance(source, ListSelection) or (isinstance(source, LinkedRecord | ToOne) and has_lists(source.selection))
        for _, source in asked.picks
    )
