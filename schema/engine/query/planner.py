"""The planner: compiles a selection into one SQL statement whose result is JSON text. It touches no database.

A selection is a tree of records and lists. Each list or record becomes one query level (`query_level.py`): a subquery
of the columns that its JSON needs, and around it a scalar subquery that joins them into text. Nested levels are columns
of the level above. `GET /users?age__gte=18` without page information gives:

    SELECT CAST((
        SELECT '{"items":[' || coalesce(group_concat(json_object('id', q0.id, 'age', q0.age), ','), '') || ']}'
        FROM (SELECT user.id, user.age FROM user WHERE user.age >= ? ORDER BY user.age, user.id LIMIT ?) AS q0
    ) AS BLOB)

Where the pieces come from: WHERE from `filters.py`, `search.py` and the access rules; FROM, ORDER BY and LIMIT from
`row_set.py`; the JSON text from `sql/json_text.py`; what SQL cannot write is added by `pagination.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import FromClause, Insert, Integer, Label, String, Subquery, bindparam, func, literal_column, select
from sqlalchemy.engine.interfaces import Dialect

from schema.engine.errors import Forbidden, ValidationFailed
from schema.engine.model.policy import ActorProfile
from schema.engine.model.resource import Resource, resource_of
from schema.engine.query.cursors import Signer
from schema.engine.query.filters import in_json_array, where_clauses
from schema.engine.query.pagination import (
    HEAD,
    CursorColumn,
    EncodedColumn,
    Encoder,
    PageEncoder,
    PageLayout,
    RecordEncoder,
    page_layout,
)
from schema.engine.query.query_level import QueryLevel, column_label, sees_all_fields, selected_columns
from schema.engine.query.row_set import RowSet, row_set
from schema.engine.query.selection import (
    Constant,
    Cursor,
    Items,
    LinkedRecord,
    ListSelection,
    Member,
    MemberSource,
    Order,
    Scalar,
    Selection,
    ToOne,
    Total,
    sources,
)
from schema.engine.query.sort import Bound
from schema.engine.sql.dialect import Expression, JsonArray, control_character, quoted, string_agg, utf8
from schema.engine.sql.json_text import (
    Leaf,
    Piece,
    columns_of,
    concatenated,
    enum_name,
    is_complete,
    json_object,
    sent_columns,
)
from schema.engine.sql.record_lookup import FIELD, RECORD
from schema.engine.sql.statement import Statement, Values


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled selection: its statement, and the encoder that makes JSON of the text in the first column.

    A list's statement returns one row: the text. A record's returns at most one: the text, the record's version, and
    whether the actor sees all of its fields. `batch` reads the records whose ids are in the value `keys`, as one row
    (`record_lookup.py`). `counts`: the statement counts a total, whose cost no index bounds.
    """

    statement: Statement
    encode: Encoder
    batch: Statement | None = None
    counts: bool = False

    def on(self, dialect: Dialect) -> Plan:
        """The same plan for another database."""
        return Plan(self.statement.on(dialect), self.encode, self.batch and self.batch.on(dialect), self.counts)


class JsonText(NamedTuple):
    """An expression for JSON text; with an encoder, it is text that the encoder makes JSON of."""

    expression: Expression
    encoder: Encoder | None


def plan_list(resource: Resource, selection: ListSelection, profile: ActorProfile) -> Plan:
    """A page of a resource's records.

    Raises:
        Forbidden: the actor may see none of them, or not the fields that the filter or sort names.
    """
    if resource.rules.read.where(resource.table, profile) is False:
        raise Forbidden(f"no permission to read {resource.plural}")
    text, encoder = _list_text(selection, QueryLevel(resource, profile, number=-1, single=True))
    return Plan(Statement(select(utf8(text))), encoder or _unchanged, counts=_has_total(selection))


def plan_record(resource: Resource, selection: Selection | ListSelection, profile: ActorProfile) -> Plan:
    """The record whose id is the value `key`; with a `ListSelection`, that list below it.

    ```sql
    SELECT CAST(<text> AS BLOB), q0._v, q0._seen
    FROM (SELECT …, version AS _v, <sees all fields> AS _seen FROM user WHERE <rule> AND id = :key) AS q0
    ```
    """
    level, row = QueryLevel(resource, profile, number=0, single=True), resource.table.alias()
    members: tuple[Member, ...] = ()
    if isinstance(selection, ListSelection):
        page, encoder = _list_text(selection, level)
        text = level.nest(page)
    else:
        members = selection.members
        text, encoder = _record_text(selection, level)
    visible = select(*_record_columns(members, resource, profile, row))
    visible = visible.where(*where_clauses(resource.rules.read.where(row, profile)))
    record = level.subquery(visible.where(row.c.id == bindparam("key")))
    records = level.subquery(visible.where(in_json_array(row.c.id, "keys", String())))
    fields = _separated([records.c.id, records.c["_v"], records.c["_seen"], text], FIELD)
    batch = select(utf8(string_agg(concatenated(fields), control_character(RECORD)))).select_from(records)
    return Plan(
        Statement(select(utf8(text), record.c["_v"], record.c["_seen"])),
        encoder or _unchanged,
        Statement(batch),
        _has_total(selection),
    )


def plan_insert(resource: Resource, insert: Insert, selection: Selection, profile: ActorProfile) -> Plan | None:
    """A new record, written and shown by one statement of PostgreSQL: `WITH q0 AS (INSERT … RETURNING …) SELECT …`.

    None where the record has to be read afterwards, since the statement does not see what it writes: for a rule that
    reads rows, or a selection with relations.
    """
    only_fields = all(isinstance(source, Scalar | Constant) for _, source in selection.members)
    no_foreign_keys = all(relation.many for relation in resource.relations.values())
    if not (only_fields and no_foreign_keys and resource.rules.read.where(resource.table, profile) is True):
        return None
    text, encoder = _record_text(selection, QueryLevel(resource, profile, number=0, single=True))
    columns = _record_columns(selection.members, resource, profile, resource.table)
    new = insert.returning(*columns).cte("q0")
    return Plan(Statement(select(utf8(text), new.c["_v"], new.c["_seen"])), encoder or _unchanged)


def _list_text(selection: ListSelection, above: QueryLevel) -> JsonText:
    """A list as text: the JSON itself where SQL can write it, else its columns for a `PageEncoder`."""
    relation = above.resource.relations[selection.relation] if selection.relation else None
    resource = resource_of(relation.target) if relation else above.resource
    if selection.order != Order() and not above.single:
        singular = above.resource.singular
        raise ValidationFailed(
            f"{selection.relation} must be sorted below a single {singular}, not below a list of them"
        )
    level = above.below(resource, relation)
    rows = row_set(selection, resource, above.profile, relation, above.row)
    items = [source.item for _, source in selection.members if isinstance(source, Items)]
    layout = page_layout(selection, [columns_of(_object_pieces(item, level)) for item in items])
    sql_only = not layout.keyed and not selection.page.backward and all(map(is_complete, layout.items))
    members = [member for item in items for member in item.members]
    page = _page_rows(selection, rows, level, members, one_more=not sql_only)
    if sql_only:
        json = _page_json(selection, rows, chain.from_iterable(map(sent_columns, layout.items)))
        return JsonText(select(json).select_from(page).scalar_subquery(), None)
    columns = _page_columns(selection, rows, level, layout)
    encoder = PageEncoder(resource.name, selection, layout, bytes([level.separator]))
    return JsonText(select(columns).select_from(page).scalar_subquery(), encoder)


def _page_rows(
    selection: ListSelection, rows: RowSet, level: QueryLevel, members: Iterable[Member], *, one_more: bool
) -> Subquery:
    """The page's rows, with one beyond it if it must be known whether there are more."""
    page = selection.page
    keys = [key.label(f"_k{number}") for number, key in enumerate(rows.keys)]
    within = [Bound(cursor, later) for cursor, later in ((page.after, True), (page.before, False)) if cursor]
    columns = [*selected_columns(members, level.resource, level.profile, rows.row, rows.link), *keys]
    size = bindparam(page.size, type_=Integer())
    limit = size + literal_column("1", Integer()) if one_more else size
    return level.subquery(rows.page(columns, limit, within=within, backward=page.backward))


def _page_json(selection: ListSelection, rows: RowSet, items: Iterator[Expression]) -> Expression:
    """The page's JSON: `'{"items":[' || coalesce(group_concat(<item>, ','), '') || ']}'`."""
    parts: list[str | Expression] = ["{"]
    for number, (key, source) in enumerate(selection.members):
        parts.append(f'{"," if number else ""}"{key}":')
        if isinstance(source, Items):
            parts += ["[", func.coalesce(string_agg(next(items), quoted(",")), quoted("")), "]"]
        else:
            parts.append(source.json if isinstance(source, Constant) else rows.count())
    return concatenated([*parts, "}"])


def _page_columns(selection: ListSelection, rows: RowSet, level: QueryLevel, layout: PageLayout) -> Expression:
    """The page as columns, in the order of `PageLayout`: what concerns the list, the rows' keys, then each row."""
    separator = control_character(level.separator)
    row = _separated([column for item in layout.items for column in sent_columns(item)], level.separator)
    items = func.coalesce(string_agg(concatenated(row), separator), quoted("")) if row else quoted("")
    head = _separated(list(_page_facts(selection, rows, layout)), level.separator)
    if layout.keyed:
        keys = string_agg(_row_keys(rows, level), separator)
        head.append(func.coalesce(concatenated([separator, keys]) if head else keys, quoted("")))
    return concatenated([*head, control_character(HEAD), items]) if head else items


def _page_facts(selection: ListSelection, rows: RowSet, layout: PageLayout) -> Iterator[Expression]:
    if layout.total:
        yield rows.count()
    if layout.before and selection.page.after:
        yield rows.has_rows(selection.page.after, later=False)
    if layout.after and selection.page.before:
        yield rows.has_rows(selection.page.before, later=True)


def _row_keys(rows: RowSet, level: QueryLevel) -> Expression:
    """A row's sort keys, as `encode_cursor` takes them."""
    keys = [(field, level.columns[f"_k{number}"]) for number, field in enumerate(rows.key_fields)]
    return JsonArray(*keys) if len(keys) > 1 else keys[0][1]


def _record_text(selection: Selection, level: QueryLevel) -> JsonText:
    """A record as text: the JSON itself where SQL can write it, else its columns for a `RecordEncoder`."""
    columns = columns_of(_object_pieces(selection, level))
    text = concatenated(_separated(list(sent_columns(columns)), level.separator))
    return JsonText(text, None if is_complete(columns) else RecordEncoder(columns, bytes([level.separator])))


def _record_columns(
    members: Iterable[Member], resource: Resource, profile: ActorProfile, row: FromClause
) -> list[Label[Any]]:
    """A record's columns, its version, and whether the actor sees all of its fields."""
    return [
        *selected_columns(members, resource, profile, row),
        row.c.version.label("_v"),
        sees_all_fields(resource, row, profile).label("_seen"),
    ]


def _object_pieces(selection: Selection, level: QueryLevel) -> list[Piece]:
    return json_object([(key, _member_pieces(source, level)) for key, source in selection.members])


def _member_pieces(source: MemberSource, level: QueryLevel) -> Leaf | list[Piece]:
    match source:
        case Scalar():
            field, column = level.field(source), level.columns[column_label(source)]
            return Leaf(field, enum_name(field, column) if source.spelling == "name" else column)
        case Constant():
            return [source.json]
        case Cursor():
            return [CursorColumn(None)]
        case LinkedRecord():
            return _object_pieces(source.selection, level)
        case ToOne():
            return [_to_one_text(source, level)]
        case ListSelection():
            text, encoder = _list_text(source, level)
            return [_piece(level.nest(text), encoder)]


def _to_one_text(source: ToOne, level: QueryLevel) -> Piece:
    """The record that a relation leads to, or `null`."""
    relation = level.resource.relations[source.relation]
    resource = resource_of(relation.target)
    below, row = level.below(resource, relation), resource.table.alias()
    record = select(*selected_columns(source.selection.members, resource, level.profile, row)).where(
        row.c.id == level.row[relation.local_key], *where_clauses(resource.rules.read.where(row, level.profile))
    )
    text, encoder = _record_text(source.selection, below)
    nested = level.nest(select(text).select_from(below.subquery(record)).scalar_subquery())
    return _piece(func.coalesce(nested, quoted("" if encoder else "null")), encoder)


def _piece(text: Expression, encoder: Encoder | None) -> Piece:
    return EncodedColumn(text, encoder) if encoder else text


def _has_total(selection: Selection | ListSelection) -> bool:
    return any(isinstance(source, Total) for source in sources(selection))


def _separated(parts: list[Expression], separator: int) -> list[Expression]:
    return [item for part in parts for item in (control_character(separator), part)][1:]


def _unchanged(raw: bytes, values: Values, signer: Signer) -> bytes:
    return raw
