"""Which rows a branch is about: FROM, WHERE, ORDER BY and the keys of its cursors, under the actor's rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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

from schema.engine.comparison import bind_type, predicate, stretched_over
from schema.engine.dialect import quoted
from schema.engine.errors import Fault, Forbidden
from schema.engine.field import FieldShape
from schema.engine.policy import Kind, Verdict, both
from schema.engine.predicates import Either, Unindexed
from schema.engine.searching import Hits, hits, last_walked, searched
from schema.engine.selection import Branch, Compare, Condition, Order, Search, required
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
    """The rows of a branch: `row` is the record's table, `link` the link's, `keys` what the rows are sorted by."""

    row: FromClause
    link: FromClause | None
    source: FromClause
    where: tuple[Predicate, ...]
    keys: tuple[ColumnElement[Any], ...]
    key_fields: tuple[FieldShape, ...]
    descending: bool
    stretch: tuple[Predicate, ...] = ()
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
        """So many of these rows, sorted by the keys, all in one direction.

        Few hits of a search are sorted; where there are many, rows are walked in their order until the page is full.
        SQLite counts them first. PostgreSQL walks a stretch of the order, and sorts the hits beyond it if that did not
        fill the page.
        """
        down = self.descending is not backward
        order = [key.desc() if down else key.asc() for key in self.keys]
        if self.hits is None:
            return self.select(*columns, within=within).order_by(*order).limit(size)
        beyond = self._beyond_walk(order, within, down=down)
        found = select(*columns).select_from(self.source)
        few = found.where(*within, *map(Unindexed, self.where), Either(self.hits.among(self.row.c.id), not_(beyond)))
        many = found.where(*within, *self.where, Either(true(), func.coalesce(beyond, true())))
        unwalked = [Either(key, func.greatest(key)) for key in self.keys]  # no index is in the order of these
        turned = [key.desc() if down else key.asc() for key in unwalked]
        ways = (
            few.order_by(*order).limit(self.hits.size(size, many=False)).subquery(),
            many.order_by(*turned).limit(self.hits.size(size, many=True)).subquery(),
        )
        return union_all(*(select(*rows.c) for rows in ways)).limit(size)

    def _beyond_walk(
        self, order: Sequence[ColumnElement[Any]], within: Iterable[Predicate], *, down: bool
    ) -> Predicate:
        """Whether a row comes after so many, hits or not; null where there are no more than these."""
        walked = select(*self.keys).select_from(self.source).where(*within, *self.stretch).order_by(*order)
        end = last_walked(walked).correlate(None).scalar_subquery()
        keys = self.keys[0] if len(self.keys) == 1 else tuple_(*self.keys)
        return keys < end if down else keys > end

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
    return Matching(
        row,
        link,
        link.join(row, row.c.id == link.c[relation.far]) if link is not None and relation else row,
        (
            *_belonging(relation, row, link, parent),
            *_allowed(made, relation, row, parent, kind),
            *asked,
        ),
        (*(row.c[_sorted_by(field, branch.order)] for field in fields), identity),
        (*fields, made.fields["id"]),
        branch.order.descending,
        tuple(_stretch(branch, made, row)),
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


def _sorted_by(field: FieldShape, order: Order) -> str:
    return f"{field.name}_key" if order.folded else field.sort_column


def _stretch(branch: Branch, made: Shape, row: FromClause) -> Iterator[Predicate]:
    """What of the filter an index in the list's order can go by.

    That is what is said of the field sorted by first. In the order of ids, whatever has one value stands in it.
    """
    first = made.fields[next(iter(branch.order.fields), "id")]
    compared = [it for it in required(branch.where) if isinstance(it, Compare)]
    for asked in compared:
        if asked.field == first.name and stretched_over(first, asked) == _sorted_by(first, branch.order):
            yield predicate(first, asked, row)
    equal = [it for it in compared if it.operator == "eq" and it.field != "id"]
    if equal and not branch.order.fields:
        yield predicate(made.fields[equal[0].field], equal[0], row)


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
