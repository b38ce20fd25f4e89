"""The rows of a list: FROM, WHERE and ORDER BY under the actor's rules, and from them its pages and counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, SelectBase, bindparam, case, func, select, tuple_

from schema.engine.model.field import ResourceField
from schema.engine.model.policy import ActorProfile, all_of
from schema.engine.model.resource import Relation, Resource, table_of
from schema.engine.query.access_paths import (
    ONE,
    Candidates,
    RangeMerge,
    candidates_of,
    candidates_page,
    merged_page,
    ranges_of,
)
from schema.engine.query.filters import Predicate, check_visible, filter_predicate, parameter_type, where_clauses
from schema.engine.query.query_level import OuterRow
from schema.engine.query.selection import Condition, ListSelection, conjuncts
from schema.engine.query.sort import Bound, Comparison, index_conditions, order_by, sort_column
from schema.engine.sql.dialect import quoted


@dataclass(frozen=True, slots=True, eq=False)
class FilterPart:
    """One of the conditions that a filter joins by `and`, and its predicate."""

    condition: Condition
    predicate: Predicate


@dataclass(frozen=True, slots=True, eq=False)
class RowSet:
    """All rows of a list, before they are cut into pages.

    `row` is the record's table, `link` the link's, `source` the FROM of both. `rules` hold for every list like this:
    the access rules, and the join with the record above; `filters` come from the request. The rows are sorted by
    `keys`, of which the last is the id. `index_conditions` are the filters that an index in this order serves. How
    SQLite gets at the rows in another way than by that index: `candidates`, `merge`.
    """

    row: FromClause
    link: FromClause | None
    source: FromClause
    rules: tuple[Predicate, ...]
    filters: tuple[FilterPart, ...]
    keys: tuple[ColumnElement[Any], ...]
    key_fields: tuple[ResourceField, ...]
    descending: bool
    index_conditions: tuple[Comparison, ...]
    candidates: Candidates | None = None
    merge: RangeMerge | None = None

    def page(
        self,
        columns: Sequence[ColumnElement[Any]],
        size: ColumnElement[int],
        *,
        within: Sequence[Bound] = (),
        backward: bool = False,
    ) -> SelectBase:
        """`size` rows, from the list's beginning or (`backward`) its end: `SELECT … WHERE … ORDER BY … LIMIT …`."""
        descending = self.descending is not backward
        plain = self.select(*columns, within=within).order_by(*order_by(self.keys, descending=descending)).limit(size)
        if self.candidates is not None:
            bounds = list(map(self.within, within))
            page = candidates_page(self, self.candidates, columns, size, bounds, descending=descending).limit(size)
            return page if self.candidates.hits else page.on_postgres(plain)
        if self.merge is not None:
            return merged_page(self, self.merge, columns, size, within, descending=descending)
        return plain

    def has_rows(self, cursor: str, *, later: bool) -> ColumnElement[Any]:
        """Whether there is a row at the cursor or later (or earlier), as the text `1` or `0`.

        It looks for the nearest, mostly the cursor's own row, in the list's order: without an ORDER BY, SQLite might
        take another index.
        """
        bound = Bound(cursor, later, inclusive=True)
        own = self.select(ONE, within=[bound]).where(self.row.c.id == self.cursor_keys(bound)[-1])
        nearest = self.page([ONE.label("one")], ONE, within=[bound], backward=not later)
        queries = [own, nearest] if self.candidates or self.merge else [nearest]
        return case(*((query.scalar_subquery().is_not(None), quoted("1")) for query in queries), else_=quoted("0"))

    def count(self) -> ColumnElement[Any]:
        """The number of rows on all pages: `(SELECT count(*) …)`."""
        count, hits = self.select(func.count()), self.candidates.hits if self.candidates else None
        return (count if hits is None else count.where(hits.include(self.row.c.id))).scalar_subquery()

    def select(self, *columns: ColumnElement[Any], within: Iterable[Bound] = ()) -> Select[Any]:
        """These columns of the rows within some cursors.

        The cursors come first in WHERE: of two bounds on one side, SQLite's index search takes the first, and a
        cursor's is closer than a filter's.
        """
        return self.unfiltered(*columns).where(*map(self.within, within), *self.where)

    def unfiltered(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """`SELECT columns FROM source`, to be filtered by the caller."""
        return select(*columns).select_from(self.source)

    @property
    def where(self) -> tuple[Predicate, ...]:
        return (*self.rules, *(part.predicate for part in self.filters))

    @property
    def key(self) -> ColumnElement[Any]:
        """The sort key: one column, or a row value."""
        return self.keys[0] if len(self.keys) == 1 else tuple_(*self.keys)

    def within(self, bound: Bound) -> Predicate:
        """Whether a row lies within a cursor: `(age, id) > (:after_0, :after_1)`.

        A first key that the filter fixes (`age = :v`) is left out, since SQLite would search the index by it alone.
        """
        keys = self.keys[1:] if self._first_key_is_fixed else self.keys
        return self.compare_keys(keys, self.cursor_keys(bound)[-len(keys) :], bound)

    def cursor_keys(self, bound: Bound) -> list[ColumnElement[Any]]:
        """The parameters for the keys in a cursor: `:after_0`, `:after_1`."""
        fields = enumerate(self.key_fields)
        return [bindparam(f"{bound.cursor}_{number}", type_=parameter_type(field)) for number, field in fields]

    def compare_keys(
        self, keys: Sequence[ColumnElement[Any]], values: Sequence[ColumnElement[Any]], bound: Bound
    ) -> Predicate:
        left, right = (keys[0], values[0]) if len(keys) == 1 else (tuple_(*keys), tuple_(*values))
        if bound.later is not self.descending:
            return left >= right if bound.inclusive else left > right
        return left <= right if bound.inclusive else left < right

    @property
    def _first_key_is_fixed(self) -> bool:
        fixed = (field.name for field, compare in self.index_conditions if compare.operator in ("eq", "isnull"))
        return len(self.keys) > 1 and self.key_fields[0].name in fixed


def row_set(
    selection: ListSelection, resource: Resource, profile: ActorProfile, relation: Relation | None, parent: OuterRow
) -> RowSet:
    """The rows of a list: all of the resource's, or those that `relation` leads to from `parent`.

    Raises:
        Forbidden: the filter or sort names a field that the actor may not see in every record.
    """
    rows = _row_set(selection, resource, profile, relation, parent)
    if relation is not None:
        return rows
    ranges = ranges_of(resource, selection.where, selection.order)
    if ranges is not None:
        return replace(rows, merge=RangeMerge(ranges, _row_set(selection, resource, profile, relation, parent)))
    return replace(rows, candidates=candidates_of(resource, selection.where, selection.order))


def _row_set(
    selection: ListSelection, resource: Resource, profile: ActorProfile, relation: Relation | None, parent: OuterRow
) -> RowSet:
    order, row = selection.order, resource.table.alias()
    # Before the sort, which may follow the filter: an error is to name what the request named.
    filters = [FilterPart(part, filter_predicate(part, resource, row, profile)) for part in conjuncts(selection.where)]
    fields = [resource.fields[name] for name in order.fields if name != "id"]
    for field in fields:
        check_visible(resource, field, profile, "sort")
    link, source, join, id = _source(relation, row, parent, sorted_by_id=not fields)
    return RowSet(
        row=row,
        link=link,
        source=source,
        rules=(*join, *_access_rules(resource, relation, row, parent, profile)),
        filters=tuple(filters),
        keys=(*(row.c[sort_column(field, order)] for field in fields), id),
        key_fields=(*fields, resource.fields["id"]),
        descending=order.descending,
        index_conditions=tuple(index_conditions(resource, selection.where, order)),
    )


def _source(
    relation: Relation | None, row: FromClause, parent: OuterRow, *, sorted_by_id: bool
) -> tuple[FromClause | None, FromClause, list[Predicate], ColumnElement[Any]]:
    """The link's table, the FROM, the join with the record above, and the column of the id to sort by."""
    if relation is None:
        return None, row, [], row.c.id
    if relation.link is None:
        return None, row, [row.c[relation.local_key] == parent.c["id"]], row.c.id
    link = table_of(relation.link).alias()
    # In the order of ids, the link's column is sorted by: its index has them below the record above.
    id = link.c[relation.remote_key] if sorted_by_id else row.c.id
    join = link.join(row, row.c.id == link.c[relation.remote_key])
    return link, join, [link.c[relation.local_key] == parent.c["id"]], id


def _access_rules(
    resource: Resource, relation: Relation | None, row: FromClause, parent: OuterRow, profile: ActorProfile
) -> list[Predicate]:
    result = resource.rules.read.where(row, profile)
    if relation and relation.link:
        result = all_of(result, relation.link.rules.read.where(parent if relation.owning else row, profile))
    elif relation:
        # The list would reveal the foreign key of its records to actors who may not see it.
        result = all_of(result, resource.rules.read_rule(relation.local_key).where(row, profile))
    return where_clauses(result)
