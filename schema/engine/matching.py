"""Which rows a branch is about: FROM, WHERE, ORDER BY and the keys of its cursors, under the actor's rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    Select,
    SelectBase,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from schema.engine.comparison import beginning, bind_type, predicate, sorted_by, stretch
from schema.engine.dialect import quoted
from schema.engine.errors import Fault, Forbidden
from schema.engine.field import FieldShape
from schema.engine.policy import Kind, Verdict, both
from schema.engine.predicates import Either, Unindexed
from schema.engine.searching import Hits, first_of, hits, last_walked, searched
from schema.engine.selection import Branch, Compare, Condition, Search, parts
from schema.engine.shape import Relation, Shape, table_of

Predicate = ColumnElement[bool]


class Outer:
    """A row of an enclosing query by its name there. `c` gives its columns, as a table's does."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def c(self) -> Outer:
        """The columns."""
        return self

    def __getitem__(self, column: str) -> ColumnElement[Any]:
        return literal_column(f'{self.name}."{column}"')


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """The rows of a branch: `row` is the record's table, `link` the link's, `keys` what the rows are sorted by.

    Of use to a search: `stretch` is what of the filter an index in that order can go by, `loose` what stands in `where`
    as no index serves it where that is a stretch.
    """

    row: FromClause
    link: FromClause | None
    source: FromClause
    where: tuple[Predicate, ...]
    keys: tuple[ColumnElement[Any], ...]
    key_fields: tuple[FieldShape, ...]
    descending: bool
    stretch: tuple[tuple[FieldShape, Compare], ...] = ()
    loose: tuple[Predicate, ...] = ()
    hits: Hits | None = None

    def select(self, *columns: ColumnElement[Any], within: Iterable[Predicate] = ()) -> Select[Any]:
        """These columns of all rows that lie `within` some bounds.

        Those of cursors are said first: of two bounds to one side, a filter's and a cursor's, SQLite goes by the first,
        and the cursor's is the closer one.
        """
        return select(*columns).select_from(self.source).where(*within, *self.where)

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
            return self._search(self.hits, columns, size, within, down=down)
        return self.select(*columns, within=within).order_by(*_turned(self.keys, down=down)).limit(size)

    def _search(
        self,
        hits: Hits,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        within: Sequence[Predicate],
        *,
        down: bool,
    ) -> SelectBase:
        """Few hits are sorted; where there are many, rows are walked in their order until the page is full.

        SQLite counts them first. PostgreSQL walks so many rows, and sorts the hits beyond them if the page is not full.
        """
        begun = (beginning(field, asked, self.row, down=down) for field, asked in self.stretch)
        walk = select(*self.keys).select_from(self.source).where(*within, *begun)
        end, last = (walk.order_by(*_turned(self.keys, down=way)) for way in (down, not down))
        end = last_walked(end)
        walked = not_(self._after(first_of(end, last), down=down))
        found = select(*columns).select_from(self.source).where(*within)
        near = found.where(*map(Unindexed, self.where), Either(hits.among(self.row.c.id), walked))
        # That nearly all rows come later, and in which order, is nothing that an index should be asked for.
        far = found.where(*self.loose, Either(true(), self._after(end, down=down).is_(true())))
        unindexed = [Either(key, func.greatest(key)) for key in self.keys]
        near = near.order_by(*_turned(self.keys, down=down)).limit(hits.size(size, size, many=False))
        far = far.order_by(*_turned(unindexed, down=down)).limit(hits.size(size, self._if_more(end, size), many=True))
        return union_all(*(select(*way.subquery().c) for way in (near, far))).limit(size)

    def _after(self, end: Select[Any], *, down: bool) -> Predicate:
        """Whether a row comes after another one in the order that is gone in; of no such row, null."""
        bound = end.correlate(None).scalar_subquery()
        keys = self.keys[0] if len(self.keys) == 1 else tuple_(*self.keys)
        return keys < bound if down else keys > bound

    def _if_more(self, end: Select[Any], size: ColumnElement[int]) -> ColumnElement[int]:
        """The size of a page, if the stretch does not end before the walk."""
        id = end.with_only_columns(self.row.c.id).correlate(None).scalar_subquery()
        there = [predicate(field, asked, self.row) for field, asked in self.stretch]
        more = select(self.row.c.id).where(self.row.c.id == id, *there).correlate(None).scalar_subquery()
        return case((more.is_(None), literal_column("0", Integer())), else_=size)

    def any(self, *conditions: Predicate) -> ColumnElement[Any]:
        """Whether there is such a row: `1` or `0`. Sorted rows make SQLite take the index of their order."""
        one = literal_column("1", Integer())
        found = self.page([one.label("one")], one, within=conditions)
        return case((exists(found), quoted("1")), else_=quoted("0"))

    def count(self) -> ColumnElement[Any]:
        """How many rows there are."""
        found = self.select(func.count())
        return (found if self.hits is None else found.where(self.hits.among(self.row.c.id))).scalar_subquery()


def matching(branch: Branch, made: Shape, kind: Kind, relation: Relation | None, parent: Outer) -> Matching:
    """The rows of `made` that a branch asks for: all, or those that `relation` leads to from `parent`."""
    row = made.table.alias()
    link = table_of(relation.link).alias() if relation and relation.link else None
    # Before the order, which may follow the filter: whoever may not see the field is told of what they said.
    asked = _asked(branch, made, row, kind)
    fields = [made.fields[name] for name in branch.order.fields if name != "id"]
    for field in fields:
        _must_see(made, field, kind, "sort")
    by_link = link is not None and relation is not None and not fields
    identity = link.c[relation.far] if by_link and link is not None and relation is not None else row.c.id
    given = [*_belonging(relation, row, link, parent), *_allowed(made, relation, row, parent, kind)]
    return Matching(
        row,
        link,
        link.join(row, row.c.id == link.c[relation.far]) if link is not None and relation else row,
        (*given, *asked),
        (*(row.c[sorted_by(field, branch.order)] for field in fields), identity),
        (*fields, made.fields["id"]),
        branch.order.descending,
        tuple(stretch(made, branch.where, branch.order)),
        (*given, *(_loose(part, made, row, kind) for part in parts(branch.where))),
        hits(made, branch.where) if relation is None else None,
    )


def condition(asked: Condition, made: Shape, row: FromClause, kind: Kind) -> Predicate:
    """A filter as a predicate; `Forbidden` for a field that the actor may not see in every record."""
    if isinstance(asked, Compare):
        field = made.fields[asked.field]
        _must_see(made, field, kind, "filter")
        return predicate(field, asked, row)
    if isinstance(asked, Search):
        return searched(asked, made, row)
    parts = [condition(part, made, row, kind) for part in asked.parts]
    match asked.word:
        case "and":
            return and_(true(), *parts)
        case "or":
            return or_(false(), *parts)
        case "not":
            # Of a null, a comparison is neither true nor false: what does not hold is all that is not true.
            return and_(true(), *parts).is_not(true())


def opened(verdict: Verdict) -> list[Predicate]:
    """A verdict as conditions of a WHERE clause."""
    if isinstance(verdict, bool):
        return [] if verdict else [false()]
    return [verdict]


def _loose(asked: Condition, made: Shape, row: FromClause, kind: Kind) -> Predicate:
    """A part of a filter, for PostgreSQL as no index serves it if it is a stretch: how long that is, a plan that serves
    everybody cannot know, and takes it for shorter than what a search finds.
    """
    holds = condition(asked, made, row, kind)
    stretched = isinstance(asked, Compare) and asked.operator not in ("eq", "in", "contains")
    return Either(holds, holds.is_(true())) if stretched else holds


def _turned(keys: Iterable[ColumnElement[Any]], *, down: bool) -> list[ColumnElement[Any]]:
    return [key.desc() if down else key.asc() for key in keys]


def _belonging(relation: Relation | None, row: FromClause, link: FromClause | None, parent: Outer) -> list[Predicate]:
    if relation is None:
        return []
    return [(row if link is None else link).c[relation.near] == parent.c["id"]]


def _allowed(made: Shape, relation: Relation | None, row: FromClause, parent: Outer, kind: Kind) -> list[Predicate]:
    verdict = made.rules.read.where(row, kind)
    if relation and relation.link:
        verdict = both(verdict, relation.link.rules.read.where(parent if relation.owning else row, kind))
    elif relation:
        # Who may not see the foreign key of a record does not learn it from the list that it puts the record on.
        verdict = both(verdict, made.rules.sight(relation.near).where(row, kind))
    return opened(verdict)


def _asked(branch: Branch, made: Shape, row: FromClause, kind: Kind) -> list[Predicate]:
    return [condition(branch.where, made, row, kind)] if branch.where else []


def _must_see(made: Shape, field: FieldShape, kind: Kind, deed: str) -> None:
    if made.rules.sight(field.name).where(made.table, kind) is not True:
        fault = Fault((field.name,), f"you may not {deed} by it", "forbidden", "parameter")
        raise Forbidden(f"you may not {deed} {made.plural} by {field.name}, which you may not see", [fault])
