"""Access paths: how SQLite is steered to a page whose filter and sort are served by different indexes.

SQLite chooses one index when it prepares a statement, without knowing how many rows a filter finds or where they lie in
the sort order. With the wrong index, a page reads the whole table. Two situations are steered by hand:

* `candidates_page`: one index has the list's order, another finds the rows of one comparison or search.
* `merged_page`: the filter selects several ranges of the sort's own index.

PostgreSQL has statistics and chooses for itself, but for searches, whose frequency a plan for all values cannot know.
"""

# ruff: noqa: S608  the SQL texts hold names of tables and fields, never values

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Integer,
    Select,
    SelectBase,
    String,
    and_,
    bindparam,
    case,
    column,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import TextClause, text

from schema.engine.model.field import ResourceField
from schema.engine.model.resource import Resource
from schema.engine.model.trigram_index import index_name, last_indexed_row, row_number_table
from schema.engine.query.filters import Predicate, compare_predicate, compared_column, null_key, parameter_type
from schema.engine.query.prefix_ranges import RANGES_CTE, prefix_ranges
from schema.engine.query.selection import Compare, Condition, Order, Search, required
from schema.engine.query.sort import (
    RANGE_OPERATORS,
    Bound,
    Comparison,
    index_conditions,
    order_by,
    required_comparisons,
    sort_column,
)
from schema.engine.sql.dialect import PerDialect

if TYPE_CHECKING:
    from schema.engine.query.row_set import RowSet

FEW_ROWS = 4000  # candidates up to which all are fetched and sorted; with more, scanning in order fills the page sooner
SCAN_ROWS = 4000  # rows scanned in the list's order before the candidates beyond them are sorted
SQLITE_SCAN_FACTOR = 3  # times as many on SQLite, where a row costs less
SORTABLE_FACTOR = 10  # times FEW_ROWS that are sorted at most; with more, the scan goes on
ONE, NONE = literal_column("1", Integer()), literal_column("0", Integer())
# By how many rows they are likely to select, fewest first.
_BY_SELECTIVITY = ("eq", "in", "startswith", "lt", "lte", "gt", "gte", "isnull", "notnull")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The rows that an index in another order than the list's finds, by one comparison (`compare`) or search (`hits`).

    `few` and `sortable` are predicates on their number: at most `FEW_ROWS`, and `SORTABLE_FACTOR` times as many.
    """

    few: Predicate
    sortable: Predicate
    compare: Compare | None = None
    hits: TrigramHits | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RangeMerge:
    """Ranges of the sort's index that hold all rows (`low`, and `high`, which is excluded), and the same rows again.

    `rows` has aliases of its own, since the pages of the ranges are read in a subquery.
    """

    ranges: CTE
    rows: RowSet


def candidates_of(resource: Resource, where: Condition | None, order: Order) -> Candidates | None:
    """The candidates of a list, if another index than the one in its order finds rows for the filter."""
    few, sortable = FEW_ROWS, FEW_ROWS * SORTABLE_FACTOR
    if hits := trigram_hits(resource, where):
        return Candidates(hits.at_most(few), hits.at_most(sortable), hits=hits)
    if selective := _most_selective(resource, where, order):
        rows = select(ONE).where(compare_predicate(*selective, resource.table.alias()))
        return Candidates(_at_most(rows, few), _at_most(rows, sortable), compare=selective[1])
    return None


def ranges_of(resource: Resource, where: Condition | None, order: Order) -> CTE | None:
    """The ranges of the sort's index that hold all rows, if the filter is one `startswith` or `in` of the sort field.

    `in` gives `SELECT DISTINCT value AS low, value + 1 AS high FROM json_each(:v)`; `startswith` see `prefix_ranges`.
    """
    if not isinstance(where, Compare) or order.fields[:1] != (where.field,):
        return None
    field, sorted_by = resource.fields[where.field], sort_column(resource.fields[where.field], order)
    if where.operator == "startswith" and not order.folded:
        return prefix_ranges(resource.table, sorted_by, where.value)
    if where.operator != "in" or compared_column(field, where) != sorted_by:
        return None
    value = func.json_each(bindparam(where.value, type_=String())).table_valued("value").c.value
    after = value + 1 if field.kind == "integer" else value.concat(func.char(literal_column("0")))
    return select(value.label("low"), after.label("high")).distinct().cte(RANGES_CTE)


def candidates_page(
    rows: RowSet,
    candidates: Candidates,
    columns: Sequence[ColumnElement[Any]],
    size: ColumnElement[int],
    within: Sequence[Predicate],
    *,
    descending: bool,
) -> PathUnion:
    """Three paths to the page, of which a statement takes as many as it needs.

        SELECT … FROM (<the first SCAN_ROWS in order>) WHERE <filter>  LIMIT CASE WHEN <few> THEN 0 ELSE :size END
        UNION ALL
        SELECT … WHERE <candidate> AND (<few> OR key > <end of the scan>) ORDER BY key
                 LIMIT CASE WHEN <few> THEN :size WHEN <sortable> THEN <rest of the page> ELSE 0 END
        UNION ALL
        SELECT … WHERE <filter> AND key > <end of the scan> ORDER BY key
                 LIMIT CASE WHEN <sortable> THEN 0 ELSE <rest of the page> END

    Few candidates are sorted at once. Else the scan comes first; if it ends before the page is full, the candidates
    beyond it are sorted, or if they are too many for that, the scan goes on. PostgreSQL scans first for any search, and
    plans other filters itself (`RowSet.page`).
    """
    scan = _index_scan(rows, within, descending=descending)
    scanned = scan.rows.with_only_columns(*columns, and_(true(), *rows.where).label("_holds")).subquery()
    scanned_matches = select(*(column for column in scanned.c if column.key != "_holds")).where(scanned.c["_holds"])
    later_candidates = rows.unfiltered(*columns).where(*rows.rules, *_beyond_scan(rows, candidates, scan, within))
    # As expressions: by bare columns, SQLite would read the index of the sort instead of the candidates'.
    keys = [PerDialect(func.coalesce(key, key), func.greatest(key)) for key in rows.keys]
    served = {compare for _, compare in rows.index_conditions}
    in_order = (part.predicate if part.condition in served else part.predicate.is_(true()) for part in rows.filters)
    remaining_rows = rows.unfiltered(*columns).where(*within, *rows.rules, *in_order, scan.passed)
    conditions = (compare_predicate(field, compare, rows.row) for field, compare in rows.index_conditions)
    rest_of_page = case((scan.ended(*conditions), NONE), else_=size)
    few, sortable = candidates.few, candidates.sortable
    return _union_in_order(
        scanned_matches.limit(PerDialect(case((few, NONE), else_=size), size)),
        later_candidates.order_by(*order_by(keys, descending=descending)).limit(
            PerDialect(case((few, size), (sortable, rest_of_page), else_=NONE), rest_of_page)
        ),
        remaining_rows.order_by(*order_by(rows.keys, descending=descending)).limit(
            PerDialect(case((sortable, NONE), else_=rest_of_page), NONE)
        ),
    )


def merged_page(
    rows: RowSet,
    merge: RangeMerge,
    columns: Sequence[ColumnElement[Any]],
    size: ColumnElement[int],
    within: Sequence[Bound],
    *,
    descending: bool,
) -> SelectBase:
    """A page of each range, and from these together the page; PostgreSQL chooses for itself.

    ```sql
    SELECT … WHERE id IN (SELECT user.id FROM ranges JOIN user ON user.id IN (
                              SELECT id WHERE key >= low AND key < high ORDER BY key LIMIT :size))
    ORDER BY key LIMIT :size
    ```
    """
    inner, ranges, table = merge.rows, merge.ranges, rows.row.original.alias()  # type: ignore[attr-defined]
    page = inner.unfiltered(inner.row.c.id).where(*_in_range(inner, ranges, within), *inner.rules)
    page = page.order_by(*order_by(inner.keys, descending=descending)).limit(size).correlate(ranges)
    ids = select(table.c.id).select_from(ranges.join(table, table.c.id.in_(page)))
    plain = and_(true(), *map(rows.within, within), *rows.where)
    merged = rows.unfiltered(*columns).where(PerDialect(rows.row.c.id.in_(ids), plain))
    return merged.order_by(*order_by(map(unindexed, rows.keys), descending=descending)).limit(size)


def unindexed(key: ColumnElement[Any]) -> ColumnElement[Any]:
    """A sort key as `coalesce(key, key)` on SQLite, which sorts by it without looking for an index."""
    return PerDialect(func.coalesce(key, key), key)


def trigram_hits(resource: Resource, where: Condition | None) -> TrigramHits | None:
    """What SQLite's trigram index finds for the searches and `contains` that every row has to meet."""
    searches = [part for part in required(where) if isinstance(part, Search) or part.operator == "contains"]
    return TrigramHits(resource.table.name, tuple(f"{part.value}_match" for part in searches)) if searches else None


class TrigramHits:
    """The rows that match in SQLite's FTS5 index (`trigram_index.py`), where rows have numbers instead of ids."""

    def __init__(self, table: str, names: tuple[str, ...]) -> None:
        self._index, self._numbers, self._latest = index_name(table), row_number_table(table), last_indexed_row(table)
        self._names = names

    def include(self, id: ColumnElement[Any]) -> Predicate:
        """Whether a row matches, or is too new to be in the index; always true on PostgreSQL."""
        ids = (
            f"SELECT id FROM {self._numbers} WHERE number IN (SELECT rowid {self._matches}) UNION ALL"
            f" SELECT id FROM {self._numbers} WHERE number > coalesce({self._latest}, 0)"
        )
        return PerDialect(id.in_(self._bound(ids)), true())

    def at_most(self, count: int) -> Predicate:
        """Whether at most so many rows match: `(SELECT 1 FROM user_search WHERE … LIMIT 1 OFFSET 4000) IS NULL`."""
        fewer = self._bound(f"SELECT (SELECT 1 {self._matches} LIMIT 1 OFFSET {count}) IS NULL AS fewer")
        return _evaluated_once(fewer.columns(column("fewer", Boolean())).cte())

    @property
    def _matches(self) -> str:
        expression = " || ' AND ' || ".join(f":{name}" for name in self._names)
        return f"FROM {self._index} WHERE {self._index} MATCH {expression}"

    def _bound(self, sql: str) -> TextClause:
        return text(sql).bindparams(*(bindparam(name, type_=String()) for name in self._names))


@dataclass(frozen=True, slots=True, eq=False)
class IndexScan:
    """A scan of the index in the list's order, up to `SCAN_ROWS`: `ordered` is sorted by `key`, `id` is a row's id."""

    ordered: Select[Any]
    id: ColumnElement[Any]
    key: ColumnElement[Any]
    descending: bool

    @property
    def rows(self) -> Select[Any]:
        """The rows that are scanned: `… ORDER BY key LIMIT 12000`."""
        return self.ordered.limit(_scan_rows(0))

    @property
    def passed(self) -> Predicate:
        """Whether a row comes after them: `key > (… OFFSET 11999 LIMIT 1)`; null if there are not so many."""
        end = self._end.correlate(None).scalar_subquery()
        return self.key < end if self.descending else self.key > end

    def ended(self, *conditions: Predicate) -> Predicate:
        """Whether the scan read all rows, or its last one does not meet the conditions."""
        id = self._end.with_only_columns(self.id).correlate(None).scalar_subquery()
        return select(self.id).where(self.id == id, *conditions).correlate(None).scalar_subquery().is_(None)

    @property
    def _end(self) -> Select[Any]:
        return self.ordered.offset(_scan_rows(1)).limit(ONE)


class PathUnion(CompoundSelect[Any]):
    """`UNION ALL` of access paths; `plain`: what PostgreSQL runs instead, if it chooses for itself."""

    plain: Select[Any] | None = None

    def on_postgres(self, plain: Select[Any]) -> PathUnion:
        """The same, with another statement for PostgreSQL."""
        self.plain = plain
        return self


@compiles(PathUnion, "postgresql")
def _(union: PathUnion, compiler: SQLCompiler, **options: Any) -> str:
    if union.plain is not None:
        return compiler.process(union.plain, **options)
    return compiler.visit_compound_select(union, **options)  # type: ignore[no-untyped-call, no-any-return]


def _union_in_order(*paths: Select[Any]) -> PathUnion:
    """SQLite reads the parts of a UNION ALL in turn, and stops at the LIMIT."""
    parts = [select(*path.subquery().c) for path in paths]
    return PathUnion(union_all(*parts).keyword, *parts)


def _index_scan(rows: RowSet, within: Sequence[Predicate], *, descending: bool) -> IndexScan:
    starts = (_scan_start(*pair, rows.row, descending=descending) for pair in rows.index_conditions)
    keys = [unindexed(key).label(f"k{number}") for number, key in enumerate(rows.keys)]
    select_ = rows.unfiltered(*keys).where(*within, *starts)
    return IndexScan(select_.order_by(*order_by(rows.keys, descending=descending)), rows.row.c.id, rows.key, descending)


def _scan_rows(less: int) -> ColumnElement[int]:
    sqlite, postgres = (
        literal_column(str(count - less), Integer()) for count in (SCAN_ROWS * SQLITE_SCAN_FACTOR, SCAN_ROWS)
    )
    return PerDialect(sqlite, postgres)


def _scan_start(field: ResourceField, compare: Compare, row: FromClause, *, descending: bool) -> Predicate:
    """Where the scan enters the range of a comparison; where the range ends is checked row by row."""
    column, value = row.c[compared_column(field, compare)], bindparam(compare.value, type_=parameter_type(field))
    match compare.operator:
        case "eq" | "isnull":
            return compare_predicate(field, compare, row)
        case "startswith":
            end = bindparam(f"{compare.value}_end", type_=String())
            return column < end if descending else column >= value
        case "lt" if descending:
            return column < value
        case "lte" if descending:
            return column <= value
        case "lt" | "lte":  # from the least value that is not null
            return column > null_key(field) if field.sort_column != field.name else true()
        case _:
            return true() if descending else compare_predicate(field, compare, row)


def _beyond_scan(
    rows: RowSet, candidates: Candidates, scan: IndexScan, within: Sequence[Predicate]
) -> Iterator[Predicate]:
    """The conditions on candidates beyond the scan, if there was one.

    `… IS true` keeps SQLite from serving a condition by another index than that of the candidates.
    """
    beyond = or_(candidates.few, scan.passed).self_group(against=operators.and_)
    if candidates.hits is not None:
        yield from within
        for part in rows.filters:
            yield _unindexed_range(part.condition, part.predicate)
        yield PerDialect(and_(candidates.hits.include(rows.row.c.id), beyond), scan.passed.is_(true()))
    else:
        yield from (predicate.is_(true()) for predicate in within)
        for part in rows.filters:
            yield part.predicate if part.condition == candidates.compare else part.predicate.is_(true())
        yield beyond


def _unindexed_range(condition: Condition, predicate: Predicate) -> Predicate:
    """Keep PostgreSQL from serving a range by an index beside a search.

    A generic plan does not know how many rows a range selects, and takes them for fewer than the search finds.
    """
    is_range = isinstance(condition, Compare) and condition.operator not in ("eq", "in", "contains")
    return PerDialect(predicate, predicate.is_(true())) if is_range else predicate


def _in_range(rows: RowSet, ranges: CTE, within: Sequence[Bound]) -> Iterator[Predicate]:
    """Whether a row lies in a range and within the cursors' bounds: on each side, the closer of the two counts.

    SQLite's index search takes one bound a side, so `max(low, :cursor)` picks it; of a cursor's other keys, the least
    value stands in where the range's end is the closer one.
    """
    least: list[ColumnElement[Any]] = [
        literal_column(str(null_key(field)) if field.kind == "integer" else "''") for field in rows.key_fields
    ]
    bounds = {bound.later is not rows.descending: bound for bound in within}
    for lower, end in ((True, ranges.c.low), (False, ranges.c.high)):
        if (bound := bounds.get(lower)) is None:
            yield rows.keys[0] >= end if lower else rows.keys[0] < end
            continue
        first, *rest = rows.cursor_keys(bound)
        end_is_closer = end > first if lower else end <= first
        others = (case((end_is_closer, low), else_=value) for low, value in zip(least[1:], rest, strict=True))
        yield rows.compare_keys(rows.keys, [(func.max if lower else func.min)(end, first), *others], bound)


def _most_selective(resource: Resource, where: Condition | None, order: Order) -> Comparison | None:
    """The comparison that another index than the sort's serves, and likely the fewest rows meet, with its field.

    None if the filter names a single row, or for equality in the order of ids: its index entries end with the id.
    """
    comparisons = required_comparisons(resource, where)
    if any((field.unique or field.primary_key) and compare.operator in ("eq", "in") for field, compare in comparisons):
        return None
    served = [compare for _, compare in index_conditions(resource, where, order)]
    selective = [
        (field, compare)
        for field, compare in comparisons
        if field.indexed and compare.operator != "contains" and compare not in served
        if field.nullable or compare.operator not in ("isnull", "notnull")
        if order.fields or compare.operator in RANGE_OPERATORS
    ]
    return min(selective, key=_selectivity, default=None)


def _selectivity(comparison: Comparison) -> tuple[bool, int]:
    field, compare = comparison
    return field.kind in ("boolean", "enum"), _BY_SELECTIVITY.index(compare.operator)


def _at_most(rows: Select[Any], count: int) -> Predicate:
    """Whether there are at most so many rows: `(… LIMIT 1 OFFSET 4000) IS NULL`."""
    beyond = rows.limit(ONE).offset(literal_column(str(count), Integer())).correlate(None).scalar_subquery()
    return _evaluated_once(select(beyond.is_(None).label("fewer")).cte())


def _evaluated_once(answer: CTE) -> Predicate:
    """A predicate from a CTE, which SQLite evaluates once for all places that use it."""
    return select(answer.c.fewer).scalar_subquery()
