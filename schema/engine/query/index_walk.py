"""What an index finds in another order than a list's; a walk in the list's order, and what lies beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Integer, Select, func, literal_column, select, true, union_all
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from schema.engine.query import search
from schema.engine.query.search import Hits
from schema.engine.query.selection import Compare, Condition
from schema.engine.sql.dialect import PerDialect

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
        return self.rows.limit(_so_many(0))

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
        return self.rows.offset(_so_many(1)).limit(ONE)


def _so_many(less: int) -> ColumnElement[int]:
    sqlite, postgres = search.WALKED * search.EASIER, search.WALKED
    return PerDialect(*(literal_column(str(number - less), Integer()) for number in (sqlite, postgres)))


class Ways(CompoundSelect[Any]):
    """The rows of several ways, one after the other: where the first ones are enough, the others are not begun."""

    inherit_cache = False
    plain: Select[Any] | None = None

    def on_postgres(self, plain: Select[Any]) -> Ways:
        """The same, but that PostgreSQL has another statement."""
        self.plain = plain
        return self


@compiles(Ways, "postgresql")
def _(ways: Ways, compiler: SQLCompiler, **told: Any) -> str:
    return (
        compiler.process(ways.plain, **told) if ways.plain is not None else compiler.visit_compound_select(ways, **told)  # type: ignore[no-untyped-call]
    )


def one_after_the_other(*ways: Select[Any]) -> Ways:
    """The rows of these ways."""
    each = [select(*way.subquery().c) for way in ways]
    return Ways(union_all(*each).keyword, *each)


def bare(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """A key as a value, which to SQLite is no column: of two columns it compares the first alone by an index."""
    return PerDialect(func.coalesce(key, key), key)


def loose(part: Part) -> Predicate:
    """A part of a filter, for PostgreSQL as no index serves it if it is a stretch: how long that is, a plan that serves
    everybody cannot know, and takes it for shorter than what a search finds.
    """
    stretched = isinstance(part.said, Compare) and part.said.operator not in ("eq", "in", "contains")
    return PerDialect(part.holds, part.holds.is_(true())) if stretched else part.holds
