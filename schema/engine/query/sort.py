"""How a page of sorted rows is come by.

There may be an index that has them in their order, and another that finds those which a filter or a search is about;
which is the better one depends on how many these are. So a plan holds both ways, and counts first, a few thousand rows
at most: few are fetched and sorted; where there are many, the list is walked in its order until the page is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    SelectBase,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql import operators

from schema.engine.model.field import NO_INTEGER, ResourceField
from schema.engine.query.filters import beginning, bind_type, predicate
from schema.engine.query.index_walk import ONE, Found, Part, Predicate, Walk, Ways, bare, loose, one_after_the_other
from schema.engine.query.selection import Compare
from schema.engine.sql.dialect import PerDialect, quoted

NOTHING = literal_column("0", Integer())


@dataclass(frozen=True, slots=True)
class Bound:
    """Rows that come later (or earlier) than a cursor in the list's own order, or are its own."""

    cursor: str
    later: bool
    inclusive: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Stretches of the list's order, in one of which each of the rows lies; and the rows again, by another name."""

    stretches: CTE
    rows: Matching


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """The rows of a branch: `row` is the record's table, `link` the link's, `keys` what the rows are sorted by.

    They are `given` by the rules and the way that leads to them, and `asked` for. Of that, an index in their order can
    go by `stretch`, or by several, over which they are `spread`; another one may have `found` them.
    """

    row: FromClause
    link: FromClause | None
    source: FromClause
    given: tuple[Predicate, ...]
    asked: tuple[Part, ...]
    keys: tuple[ColumnElement[Any], ...]
    key_fields: tuple[ResourceField, ...]
    descending: bool
    stretch: tuple[tuple[ResourceField, Compare], ...] = ()
    found: Found | None = None
    spread: Spread | None = None

    @property
    def where(self) -> tuple[Predicate, ...]:
        """All that holds for the rows."""
        return (*self.given, *(part.holds for part in self.asked))

    def select(self, *columns: ColumnElement[Any], within: Iterable[Bound] = ()) -> Select[Any]:
        """These columns of all rows that lie `within` some bounds.

        Those of cursors are said first: of two bounds to one side, a filter's and a cursor's, SQLite goes by the first,
        and the cursor's is the closer one.
        """
        return self._rows(*columns).where(*map(self.beyond, within), *self.where)

    def beyond(self, bound: Bound) -> Predicate:
        """Whether a row lies within a bound.

        A first key that is the same in all rows is not compared: SQLite would go through them all from the beginning.
        """
        keys = self.keys[int(self._alike) :]
        return self._compared(keys, self._values(bound)[-len(keys) :], bound)

    def page(
        self,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        *,
        within: Sequence[Bound] = (),
        backward: bool = False,
    ) -> SelectBase:
        """So many of these rows, sorted by the keys, all in one direction."""
        down = self.descending is not backward
        plain = self.select(*columns, within=within).order_by(*_turned(self.keys, down=down)).limit(size)
        if self.found is not None:
            ways = self._ways(self.found, columns, size, list(map(self.beyond, within)), down=down)
            return ways.limit(size) if self.found.hits else ways.limit(size).on_postgres(plain)
        if self.spread is not None:
            return self._gathered(self.spread, columns, size, within, down=down)
        return plain

    def any(self, cursor: str, *, later: bool) -> ColumnElement[Any]:
        """Whether there is a row at a cursor or later (or earlier): `1` or `0`. It is the nearest that is looked for,
        which mostly is the cursor's own; without an order to keep, SQLite might take another index than that of it.
        """
        within = [Bound(cursor, later, inclusive=True)]
        own = self.select(ONE, within=within).where(self.row.c.id == self._values(within[0])[-1])
        found = self.page([ONE.label("one")], ONE, within=within, backward=not later)
        ways = [own, found] if self.found or self.spread else [found]
        return case(*((way.scalar_subquery().is_not(None), quoted("1")) for way in ways), else_=quoted("0"))

    def count(self) -> ColumnElement[Any]:
        """How many rows there are."""
        counted, hits = self.select(func.count()), self.found.hits if self.found else None
        return (counted if hits is None else counted.where(hits.among(self.row.c.id))).scalar_subquery()

    def _ways(
        self,
        found: Found,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        within: Sequence[Predicate],
        *,
        down: bool,
    ) -> Ways:
        """Few rows are sorted at once. Else so many are walked in the list's order; if the page is not full by then,
        what was found beyond them is sorted, or if it is too much for that, the walk goes on.

        PostgreSQL always walks first, for a search; how to filter it chooses for itself.
        """
        walk = self._walk(within, down=down)
        near = walk.walked.with_only_columns(*columns, and_(true(), *self.where).label("_holds")).subquery()
        met = select(*(column for column in near.c if column.key != "_holds")).where(near.c["_holds"])
        far = self._rows(*columns).where(*self.given, *self._beyond(found, walk, within))
        keys = [PerDialect(func.coalesce(key, key), func.greatest(key)) for key in self.keys]
        led = {it for _, it in self.stretch}
        by_order = (part.holds if part.said in led else part.holds.is_(true()) for part in self.asked)
        rest = self._rows(*columns).where(*within, *self.given, *by_order, walk.passed)
        there = (predicate(field, asked, self.row) for field, asked in self.stretch)
        more = case((walk.ended(*there), NOTHING), else_=size)
        sorted_ = case((found.few, size), (found.some, more), else_=NOTHING)
        return one_after_the_other(
            met.limit(PerDialect(case((found.few, NOTHING), else_=size), size)),
            far.order_by(*_turned(keys, down=down)).limit(PerDialect(sorted_, more)),
            rest.order_by(*_turned(self.keys, down=down)).limit(
                PerDialect(case((found.some, NOTHING), else_=more), NOTHING)
            ),
        )

    def _beyond(self, found: Found, walk: Walk, within: Sequence[Predicate]) -> Iterator[Predicate]:
        """What holds for rows that are found, and lie beyond the walk if there is one.

        That nearly all come later is nothing that an index should be asked for; nor is, of SQLite, anything else than
        what was found: of two indexes, the order of one and the rows of the other, it takes as it pleases.
        """
        beyond = or_(found.few, walk.passed).self_group(against=operators.and_)
        if found.hits is not None:
            yield from (*within, *map(loose, self.asked))
            yield PerDialect(and_(found.hits.among(self.row.c.id), beyond), walk.passed.is_(true()))
        else:
            yield from (bound.is_(true()) for bound in within)
            yield from (part.holds if part.said == found.said else part.holds.is_(true()) for part in self.asked)
            yield beyond

    def _gathered(
        self,
        spread: Spread,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        within: Sequence[Bound],
        *,
        down: bool,
    ) -> SelectBase:
        """A page of each stretch, and of these together the page. PostgreSQL chooses for itself."""
        rows, stretches, each = spread.rows, spread.stretches, self.row.original.alias()  # type: ignore[attr-defined]
        page = rows._rows(rows.row.c.id).where(*rows._inside(stretches, within), *rows.given)
        page = page.order_by(*_turned(rows.keys, down=down)).limit(size).correlate(stretches)
        ids = select(each.c.id).select_from(stretches.join(each, each.c.id.in_(page)))
        plain = and_(true(), *map(self.beyond, within), *self.where)
        gathered = self._rows(*columns).where(PerDialect(self.row.c.id.in_(ids), plain))
        return gathered.order_by(*_turned(map(bare, self.keys), down=down)).limit(size)

    def _inside(self, stretches: CTE, within: Sequence[Bound]) -> Iterator[Predicate]:
        """Whether a row lies in a stretch, and within bounds: of two on one side, the closer one."""
        least: list[ColumnElement[Any]] = [
            literal_column(str(NO_INTEGER) if field.kind == "integer" else "''") for field in self.key_fields
        ]
        upward = {bound.later is not self.descending: bound for bound in within}
        for up, end in ((True, stretches.c.low), (False, stretches.c.high)):
            if (bound := upward.get(up)) is None:
                yield self.keys[0] >= end if up else self.keys[0] < end
                continue
            first, *rest = self._values(bound)
            closer = end > first if up else end <= first
            others = (case((closer, low), else_=value) for low, value in zip(least[1:], rest, strict=True))
            yield self._compared(self.keys, [(func.max if up else func.min)(end, first), *others], bound)

    def _values(self, bound: Bound) -> list[ColumnElement[Any]]:
        """What a cursor says of the keys."""
        fields = enumerate(self.key_fields)
        return [bindparam(f"{bound.cursor}_{at}", type_=bind_type(field)) for at, field in fields]

    def _compared(
        self, keys: Sequence[ColumnElement[Any]], values: Sequence[ColumnElement[Any]], bound: Bound
    ) -> Predicate:
        left, right = (keys[0], values[0]) if len(keys) == 1 else (tuple_(*keys), tuple_(*values))
        if bound.later is not self.descending:
            return left >= right if bound.inclusive else left > right
        return left <= right if bound.inclusive else left < right

    def _walk(self, within: Sequence[Predicate], *, down: bool) -> Walk:
        begun = (beginning(field, asked, self.row, down=down) for field, asked in self.stretch)
        keys = [bare(key).label(f"k{at}") for at, key in enumerate(self.keys)]
        rows = self._rows(*keys).where(*within, *begun).order_by(*_turned(self.keys, down=down))
        return Walk(rows, self.row.c.id, self._key, down)

    @property
    def _alike(self) -> bool:
        """Whether the filter says what the first key is."""
        same = (field.name for field, asked in self.stretch if asked.operator in ("eq", "isnull"))
        return len(self.keys) > 1 and self.key_fields[0].name in same

    @property
    def _key(self) -> ColumnElement[Any]:
        return self.keys[0] if len(self.keys) == 1 else tuple_(*self.keys)

    def _rows(self, *columns: ColumnElement[Any]) -> Select[Any]:
        return select(*columns).select_from(self.source)


def _turned(keys: Iterable[ColumnElement[Any]], *, down: bool) -> list[ColumnElement[Any]]:
    return [key.desc() if down else key.asc() for key in keys]
