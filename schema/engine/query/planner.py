"""From a selection to SQL, without touching a database.

`plan_list` and `plan_record` are pure functions: the same selection and kind of actor always give the same statement.
They walk the selection from above. A record is a row under a rule; a branch is a page of rows below it; all of it is
one statement, whose answer is JSON text. Which rows a branch is about is `matching.py`'s business, which columns
of them `columns.py`'s; how the text is written, `text.py`'s; how it is finished, `pages.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Insert, Integer, String, Subquery, bindparam, func, literal_column, select
from sqlalchemy.engine.interfaces import Dialect

from schema.engine.errors import Forbidden, ValidationFailed
from schema.engine.model.policy import ActorProfile
from schema.engine.model.resource import Resource, resource_of
from schema.engine.query.columns import Pick, label, needed, sees_all
from schema.engine.query.cursors import Signer
from schema.engine.query.filters import in_json_array
from schema.engine.query.from_clause import matching, where_clauses
from schema.engine.query.pagination import HEAD, Layout, PageEncoder, RecordEncoder, layout
from schema.engine.query.scope import Scope
from schema.engine.query.selection import (
    Constant,
    Cursor,
    Items,
    LinkedRecord,
    ListSelection,
    Order,
    Scalar,
    Selection,
    Source,
    ToOne,
    Total,
)
from schema.engine.query.sort import Bound, Matching
from schema.engine.sql.dialect import Char, JsonArray, StringAgg, Utf8, quoted
from schema.engine.sql.json_text import Encoder, Hole, Leaf, Piece, Place, cut, joined, named, object_of, text_of, whole
from schema.engine.sql.record_lookup import FIELD, RECORD
from schema.engine.sql.statement import Statement, Values

Expression = ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement, and what finishes the text in its first column.

    A list's statement gives one row: the text. A record's gives one row or none: the text, the record's version, and
    whether the actor sees all of its fields. `several` is the same for all the ids in `keys`, as `lookup.py` reads it.
    `counts`: a total is counted somewhere in it, which no index can bound.
    """

    statement: Statement
    encode: Encoder
    batch: Statement | None = None
    counts: bool = False

    def on(self, dialect: Dialect) -> Plan:
        """The same plan for another database."""
        return Plan(self.statement.on(dialect), self.encode, self.batch and self.batch.on(dialect), self.counts)


def plan_list(resource: Resource, branch: ListSelection, kind: ActorProfile) -> Plan:
    """A page of all the records of a model; `Forbidden` for a kind of actor that may see none."""
    if resource.rules.read.where(resource.table, kind) is False:
        raise Forbidden(f"you may not see {resource.plural}")
    text, finish = _page(branch, Scope(resource, kind, -1, True))
    return Plan(Statement(select(Utf8(text))), finish or _as_it_is, counts=_counts(branch))


def plan_record(resource: Resource, asked: Selection | ListSelection, kind: ActorProfile) -> Plan:
    """The record whose id is the value `key`; with a branch, the list below it instead of the record itself."""
    scope = Scope(resource, kind, 0, True)
    if isinstance(asked, ListSelection):
        text, finish = _page(asked, scope)
        text = scope.nest(text)
    else:
        text, finish = _record(asked, scope)
    row = resource.table.alias()
    needs = [] if isinstance(asked, ListSelection) else asked.picks
    columns = [
        *needed(needs, resource, kind, row),
        row.c.version.label("_v"),
        sees_all(resource, row, kind).label("_seen"),
    ]
    seen = select(*columns).where(*where_clauses(resource.rules.read.where(row, kind)))
    found = scope.query(seen.where(row.c.id == bindparam("key")))
    some = scope.query(seen.where(in_json_array(row.c.id, "keys", String())))
    parts = [some.c.id, some.c["_v"], some.c["_seen"], text]
    joint = StringAgg(joined(_between(parts, _character(FIELD))), _character(RECORD))
    return Plan(
        Statement(select(Utf8(text), found.c["_v"], found.c["_seen"])),
        finish or _as_it_is,
        Statement(select(Utf8(joint)).select_from(some)),
        _counts(asked),
    )


def plan_insert(resource: Resource, inserting: Insert, asked: Selection, kind: ActorProfile) -> Plan | Literal[False]:
    """A new record, written and shown by one statement, which PostgreSQL has.

    False where the statement could show anything else than a reading afterwards: it does not see itself what it writes.
    """
    plain = all(isinstance(source, Scalar | Constant) for _, source in asked.picks)
    alone = all(relation.many for relation in resource.relations.values())
    if not (plain and alone and resource.rules.read.where(resource.table, kind) is True):
        return False
    text, finish = _record(asked, Scope(resource, kind, 0, True))
    row = resource.table
    columns = [
        *needed(asked.picks, resource, kind, row),
        row.c.version.label("_v"),
        sees_all(resource, row, kind).label("_seen"),
    ]
    new = inserting.returning(*columns).cte("q0")
    return Plan(Statement(select(Utf8(text), new.c["_v"], new.c["_seen"])), finish or _as_it_is)


def _counts(asked: Selection | ListSelection) -> bool:
    """Whether a total is asked for, at any depth."""
    for _, source in asked.picks:
        match source:
            case Total():
                return True
            case Items() if _counts(source.item):
                return True
            case ListSelection() if _counts(source):
                return True
            case LinkedRecord() | ToOne() if _counts(source.selection):
                return True
    return False


def _page(branch: ListSelection, scope: Scope) -> tuple[Expression, Encoder | None]:
    """A list as text; without an encoder, the text is the JSON already."""
    relation = scope.resource.relations[branch.relation] if branch.relation else None
    resource = resource_of(relation.target) if relation else scope.resource
    if branch.order != Order() and not scope.alone:
        raise ValidationFailed(
            f"{branch.relation} can be sorted below a single {scope.resource.singular}, not below a list of them"
        )
    below = scope.below(resource, relation)
    found = matching(branch, resource, scope.kind, relation, scope.row)
    lists = [(source.item, _object(source.item, below)) for _, source in branch.picks if isinstance(source, Items)]
    needs = [pick for item, _ in lists for pick in item.picks]
    columns = layout(branch, [cut(pieces) for _, pieces in lists])
    simple = not columns.keyed and not branch.page.backward and all(whole(pieces) for _, pieces in lists)
    rows = _rows(branch, found, below, needs, beyond=not simple)
    if simple:
        texts = iter([text_of(pieces) for _, pieces in lists])
        return select(_written(branch, found, texts)).select_from(rows).scalar_subquery(), None
    text = select(_joined(branch, found, below, columns)).select_from(rows).scalar_subquery()
    return text, PageEncoder(resource.name, branch, columns, below.separator.encode())


def _rows(branch: ListSelection, found: Matching, below: Scope, needs: Iterable[Pick], *, beyond: bool) -> Subquery:
    """The rows of the page, and if it must be known whether there are more, one beyond."""
    keys = [key.label(f"_k{number}") for number, key in enumerate(found.keys)]
    cursors = ((branch.page.after, True), (branch.page.before, False))
    within = [Bound(cursor, later) for cursor, later in cursors if cursor]
    columns = [*needed(needs, below.resource, below.kind, found.row, found.link), *keys]
    size = bindparam(branch.page.size, type_=Integer())
    limit = size + literal_column("1", Integer()) if beyond else size
    return below.query(found.page(columns, limit, within=within, backward=branch.page.backward))


def _written(branch: ListSelection, found: Matching, texts: Iterator[Expression]) -> Expression:
    """The page as JSON, which SQL can write alone."""
    parts: list[str | Expression] = ["{"]
    for number, (key, source) in enumerate(branch.picks):
        parts.append(f'{"," if number else ""}"{key}":')
        if isinstance(source, Items):
            parts += ["[", func.coalesce(StringAgg(next(texts), quoted(",")), quoted("")), "]"]
        else:
            parts.append(source.json if isinstance(source, Constant) else found.count())
    return joined([*parts, "}"])


def _joined(branch: ListSelection, found: Matching, below: Scope, columns: Layout) -> Expression:
    """The page as text: what is known of the list, the keys of its rows, and then the columns of each row."""
    separator = _character(below.level + 1)
    texts = [
        column.raw if isinstance(column, Hole) else column
        for row in columns.items
        for column in row
        if not isinstance(column, Place)
    ]
    listed = StringAgg(joined(_between(texts, separator)), separator)
    rows = func.coalesce(listed, quoted("")) if texts else quoted("")
    known = list(_between(list(_known(branch, found, columns)), separator))
    if columns.keyed:
        keys = StringAgg(_keys(found, below), separator)
        known.append(func.coalesce(joined([separator, keys]) if known else keys, quoted("")))
    return joined([*known, _character(HEAD), rows]) if known else rows


def _keys(found: Matching, below: Scope) -> Expression:
    """What a row's cursor is made of, as `cursors.make` takes it."""
    keys = [(field, below.shown[f"_k{number}"]) for number, field in enumerate(found.key_fields)]
    return JsonArray(*keys) if len(keys) > 1 else keys[0][1]


def _known(branch: ListSelection, found: Matching, columns: Layout) -> Iterator[Expression]:
    if columns.total:
        yield found.count()
    for wanted, cursor, later in (
        (columns.before, branch.page.after, False),
        (columns.after, branch.page.before, True),
    ):
        if wanted and cursor:
            yield found.any(cursor, later=later)


def _object(asked: Selection, scope: Scope) -> list[Piece]:
    """A record as the pieces of a JSON object."""
    return object_of([(key, _member(source, scope)) for key, source in asked.picks])


def _member(source: Source, scope: Scope) -> Leaf | list[Piece]:
    match source:
        case Scalar():
            field = scope.field(source)
            column = scope.shown[label(source)]
            return Leaf(field, named(field, column) if source.spelling == "name" else column)
        case Constant():
            return [source.json]
        case Cursor():
            return [Place()]
        case LinkedRecord():
            return _object(source.selection, scope)
        case ToOne():
            return [_one(source, scope)]
        case ListSelection():
            page, finish = _page(source, scope)
            text = scope.nest(page)
            return [text if finish is None else Hole(text, finish)]


def _one(asked: ToOne, scope: Scope) -> Piece:
    """The record that a relation leads to."""
    relation = scope.resource.relations[asked.relation]
    resource = resource_of(relation.target)
    below, row = scope.below(resource, relation), resource.table.alias()
    allowed = where_clauses(resource.rules.read.where(row, scope.kind))
    found = select(*needed(asked.selection.picks, resource, scope.kind, row)).where(
        row.c.id == scope.row[relation.near], *allowed
    )
    text, finish = _record(asked.selection, below)
    one = scope.nest(select(text).select_from(below.query(found)).scalar_subquery())
    there = func.coalesce(one, quoted("" if finish else "null"))
    return Hole(there, finish) if finish else there


def _record(asked: Selection, scope: Scope) -> tuple[Expression, Encoder | None]:
    """A record as text; without an encoder, the text is the JSON already."""
    pieces = _object(asked, scope)
    if whole(pieces):
        return text_of(pieces), None
    columns = cut(pieces)
    texts = [column.raw if isinstance(column, Hole) else column for column in columns if not isinstance(column, Place)]
    return joined(_between(texts, _character(scope.level + 1))), RecordEncoder(columns, scope.separator.encode())


def _between(parts: list[Expression], separator: Expression) -> list[Expression]:
    """The parts with the separator between them."""
    return [item for part in parts for item in (separator, part)][1:]


def _character(code: int) -> Expression:
    return Char(literal_column(str(code)))


def _as_it_is(raw: bytes, values: Values, signer: Signer) -> bytes:
    return raw
