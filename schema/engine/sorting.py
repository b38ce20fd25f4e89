"""How a page of sorted rows is come by.

There may be an index that has them in their order, and another that finds those which a filter or a search is about;
which is the better one depends on how many these are. So a plan holds both ways, and counts first, a few thousand rows
at most: few are fetched and sorted; where there are many, the list is walked in its order until the page is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Integer,
    Select,
    SelectBase,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from schema.engine.comparison import beginning, bind_type, predicate
from schema.engine.dialect import quoted
from schema.engine.field import FieldShape
from schema.engine.predicates import Either, Unindexed
from schema.engine.searching import Hits, first_of, last_walked
from schema.engine.selection import Compare, Condition

Predicate = ColumnElement[bool]
NOTHING, ONE = literal_column("0", Integer()), literal_column("1", Integer())


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of the things that a filter says, and whether it holds for a row."""

    said: Condition
    holds: Predicate


@dataclass(frozen=True, slots=True, eq=False)
class Sought:
    """What of a filter an index finds, and whether that is few rows."""

    said: Compare
    few: ColumnElement[bool]


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """The rows of a branch: `row` is the record's table, `link` the link's, `keys` what the rows are sorted by.

    They are `given` by the rules and the way that leads to them, and `asked` for. Of that, an index in their order can
    go by `stretch`, and one of its own finds what is `sought`; a search is about `hits`.
    """

    row: FromClause
    link: FromClause | None
    source: FromClause
    given: tuple[Predicate, ...]
    asked: tuple[Part, ...]
    keys: tuple[ColumnElement[Any], ...]
    key_fields: tuple[FieldShape, ...]
    descending: bool
    stretch: tuple[tuple[FieldShape, Compare], ...] = ()
    sought: Sought | None = None
    hits: Hits | None = None

    @property
    def where(self) -> tuple[Predicate, ...]:
        """All that holds for the rows."""
        return (*self.given, *(part.holds for part in self.asked))

    def select(self, *columns: ColumnElement[Any], within: Iterable[Predicate] = ()) -> Select[Any]:
        """These columns of all rows that lie `within` some bounds.

        Those of cursors are said first: of two bounds to one side, a filter's and a cursor's, SQLite goes by the first,
        and the cursor's is the closer one.
        """
        return self._rows(*columns).where(*within, *self.where)

    def beyond(self, cursor: str, *, later: bool, inclusive: bool = False) -> Predicate:
        """Whether a row comes later (or earlier) than a cursor, in the list's own order."""
        bounds = [bindparam(f"{cursor}_{at}", type_=bind_type(field)) for at, field in enumerate(self.key_fields)]
        left, right = (self.keys[0], bounds[0]) if len(bounds) == 1 else (tuple_(*self.keys), tuple_(*bounds))
        if later is not self.descending:
            return left >= right if inclusive else left > right
        return left <= right if inclusive else left < right

    def page(
        self,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        *,
        within: Sequence[Predicate] = (),
        backward: bool = False,
    ) -> SelectBase:
        """So many of these rows, sorted by the keys, all in one direction."""
        down = self.descending is not backward
        if self.hits is not None:
            return self._searched(self.hits, columns, size, within, down=down)
        if self.sought is not None:
            return self._found(self.sought, columns, size, within, down=down)
        return self.select(*columns, within=within).order_by(*_turned(self.keys, down=down)).limit(size)

    def any(self, cursor: str, *, later: bool) -> ColumnElement[Any]:
        """Whether there is a row at a cursor or later (or earlier): `1` or `0`. It is the nearest that is looked for,
        which mostly is the cursor's own; without an order to keep, SQLite might take another index than that of it.
        """
        within = self.beyond(cursor, later=later, inclusive=True)
        found = self.page([ONE.label("one")], ONE, within=[within], backward=not later)
        return case((found.scalar_subquery().is_not(None), quoted("1")), else_=quoted("0"))

    def count(self) -> ColumnElement[Any]:
        """How many rows there are."""
        found = self.select(func.count())
        return (found if self.hits is None else found.where(self.hits.among(self.row.c.id))).scalar_subquery()

    def _found(
        self,
        sought: Sought,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        within: Sequence[Predicate],
        *,
        down: bool,
    ) -> SelectBase:
        """By the index of what is sought where that is few, else by that of the order. PostgreSQL is left to choose."""
        led = [it for _, it in self.stretch]
        by_filter = (part.holds if part.said == sought.said else _unled(part.holds) for part in self.asked)
        by_order = (part.holds if part.said in led else _unled(part.holds) for part in self.asked)
        sorted_ = self._rows(*columns).where(*map(_unled, within), *self.given, *by_filter)
        walked = self._rows(*columns).where(*within, *self.given, *by_order)
        keys = list(map(_bare, self.keys))
        return _one_of(
            sorted_.order_by(*_turned(keys, down=down)).limit(Either(case((sought.few, size), else_=NOTHING), NOTHING)),
            walked.order_by(*_turned(self.keys, down=down)).limit(
                Either(case((sought.few, NOTHING), else_=size), size)
            ),
        ).limit(size)

    def _searched(
        self,
        hits: Hits,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        within: Sequence[Predicate],
        *,
        down: bool,
    ) -> SelectBase:
        """Few hits are sorted; where there are many, so many rows are walked in their order, and if the page is not
        full by then, the hits beyond them are sorted. PostgreSQL always walks first.
        """
        begun = (beginning(field, asked, self.row, down=down) for field, asked in self.stretch)
        # Of two columns, SQLite compares the first alone by an index: it would walk through all that is alike in it.
        walk = self._rows(*(_bare(key).label(f"k{at}") for at, key in enumerate(self.keys))).where(*within, *begun)
        end, last = (walk.order_by(*_turned(self.keys, down=way)) for way in (down, not down))
        end = last_walked(end)
        walked = Either(self._up_to(first_of(end, last), down=down), not_(self._after(first_of(end, last), down=down)))
        near = self._rows(*columns).where(*within, *map(Unindexed, self.where), walked)
        near = near.order_by(*_turned(self.keys, down=down)).limit(Either(case((hits.few, NOTHING), else_=size), size))
        after = self._after(end, down=down)
        # That nearly all rows come later, and in which order, is nothing that an index should be asked for.
        beyond = Either(and_(hits.among(self.row.c.id), or_(hits.few, after)), after.is_(true()))
        far = self._rows(*columns).where(*within, *self.given, *map(_loose, self.asked), beyond)
        more = self._if_more(end, size)
        keys = [Either(key, func.greatest(key)) for key in self.keys]
        far = far.order_by(*_turned(keys, down=down)).limit(Either(case((hits.few, size), else_=more), more))
        return _one_of(near, far).limit(size)

    def _rows(self, *columns: ColumnElement[Any]) -> Select[Any]:
        return select(*columns).select_from(self.source)

    def _after(self, end: Select[Any], *, down: bool) -> Predicate:
        """Whether a row comes after another one in the order that is gone in; of no such row, null."""
        bound = end.correlate(None).scalar_subquery()
        return self._key < bound if down else self._key > bound

    def _up_to(self, end: Select[Any], *, down: bool) -> Predicate:
        """Whether it does not, in words that SQLite's indexes go by."""
        bound = end.correlate(None).scalar_subquery()
        return self._key >= bound if down else self._key <= bound

    @property
    def _key(self) -> ColumnElement[Any]:
        return self.keys[0] if len(self.keys) == 1 else tuple_(*self.keys)

    def _if_more(self, end: Select[Any], size: ColumnElement[int]) -> ColumnElement[int]:
        """The size of a page, if the stretch does not end before the walk."""
        id = end.with_only_columns(self.row.c.id).correlate(None).scalar_subquery()
        there = [predicate(field, asked, self.row) for field, asked in self.stretch]
        more = select(self.row.c.id).where(self.row.c.id == id, *there).correlate(None).scalar_subquery()
        return case((more.is_(None), NOTHING), else_=size)


def _one_of(*ways: Select[Any]) -> CompoundSelect[Any]:
    """The rows of one way after the other."""
    return union_all(*(select(*way.subquery().c) for way in ways))


def _unled(holds: Predicate) -> Predicate:
    """The same, for SQLite as no index serves it: it would take the one that finds the rows for the one to sort by."""
    return Either(holds.is_(true()), holds)


def _bare(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """A key as a value, which to SQLite is no column."""
    return Either(func.coalesce(key, key), key)


def _loose(part: Part) -> Predicate:
    """A part of a filter, for PostgreSQL as no index serves it if it is a stretch: how long that is, a plan that serves
    everybody cannot know, and takes it for shorter than what a search finds.
    """
    stretched = isinstance(part.said, Compare) and part.said.operator not in ("eq", "in", "contains")
    return Either(part.holds, part.holds.is_(true())) if stretched else part.holds


def _turned(keys: Iterable[ColumnElement[Any]], *, down: bool) -> list[ColumnElement[Any]]:
    return [key.desc() if down else key.asc() for key in keys]
