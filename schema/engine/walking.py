"""What an index finds in another order than a list's; a walk in the list's order, and what lies beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Integer, Select, func, literal_column, select, true, union_all

from schema.engine import searching
from schema.engine.predicates import Either
from schema.engine.searching import Hits
from schema.engine.selection import Compare, Condition

Predicate = ColumnElement[bool]
ONE = literal_column("1", Integer())


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of the things that a filter says, and whether it holds for a row."""

    said: Condition
    holds: Predicate


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What an index finds that has its rows in another order than the list's: by a comparison, or by a search (`hits`).

    Whether that is `few` rows, which are sorted at once, or `some`, which are sorted where a walk does not meet enough.
    """

    few: ColumnElement[bool]
    some: ColumnElement[bool]
    said: Compare | None = None
    hits: Hits | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """The `rows` that are walked, sorted; the `id` of a row, and the `key` that they are sorted by, `down` or up."""

    rows: Select[Any]
    id: ColumnElement[Any]
    key: ColumnElement[Any]
    down: bool

    @property
    def walked(self) -> Select[Any]:
        """Those that the walk comes to."""
        return self.rows.limit(literal_column(str(searching.WALKED), Integer()))

    @property
    def passed(self) -> Predicate:
        """Whether a row comes after them; if they are all, null."""
        end = self._end.correlate(None).scalar_subquery()
        return self.key < end if self.down else self.key > end

    def ended(self, *within: Predicate) -> Predicate:
        """Whether there is no row at its end, or it does not lie within some bounds."""
        id = self._end.with_only_columns(self.id).correlate(None).scalar_subquery()
        return select(self.id).where(self.id == id, *within).correlate(None).scalar_subquery().is_(None)

    @property
    def _end(self) -> Select[Any]:
        return self.rows.offset(literal_column(str(searching.WALKED - 1), Integer())).limit(ONE)


def one_after_the_other(*ways: Select[Any]) -> CompoundSelect[Any]:
    """The rows of all ways: where the first ones are enough, the others are not begun."""
    return union_all(*(select(*way.subquery().c) for way in ways))


def bare(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """A key as a value, which to SQLite is no column: of two columns it compares the first alone by an index."""
    return Either(func.coalesce(key, key), key)


def unled(holds: Predicate) -> Predicate:
    """A condition that for SQLite no index serves: of two indexes, the order of one and the rows of the other, it takes
    the one that finds rows.
    """
    return Either(holds.is_(true()), holds)


def loose(part: Part) -> Predicate:
    """A part of a filter, for PostgreSQL as no index serves it if it is a stretch: how long that is, a plan that serves
    everybody cannot know, and takes it for shorter than what a search finds.
    """
    stretched = isinstance(part.said, Compare) and part.said.operator not in ("eq", "in", "contains")
    return Either(part.holds, part.holds.is_(true())) if stretched else part.holds
