"""The operations on links: link, change a link, unlink; always from the side that owns the link."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, false, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from schema.engine.changes import Change, TransactionResult
from schema.engine.driver import Query, QueryGenerator
from schema.engine.errors import NotFound
from schema.engine.model.policy import Rule
from schema.engine.model.record import Link, now
from schema.engine.model.resource import Relation, fields_by_name, resource_of, table_of
from schema.engine.operations import write_statements
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.planner import plan_record
from schema.engine.query.selection import Compare, Items, ListSelection, Page, Selection
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import CountedStatement, Statement


async def link(
    unit_of_work: UnitOfWork,
    relation: Relation,
    id: str,
    target_id: str,
    data: Mapping[str, Any],
    reads: list[Query],
    *,
    only_change: bool = False,
) -> list[Rows]:
    """Link two records, or change the fields of their link; return the rows of `reads`, which follow.

    Fields that are not in `data` keep their value, or get their default. If no value differs, nothing is changed.

    Raises:
        NotFound: the actor may not see both records, or, with `only_change`, they are not linked.
        Forbidden: the actor may not change the links of the first record.
    """
    fields = fields_by_name(_link(relation))
    defaults = {name: field.default for name, field in fields.items() if not field.primary_key and not field.read_only}
    row = {**defaults, **data, relation.local_key: id, relation.remote_key: target_id, "created_at": now()}
    bound = write_statements.column_values(fields, {name: value for name, value in row.items() if name in fields})
    make = _update_statement if only_change else _upsert_statement
    rule = _link(relation).rules.update if only_change else _link(relation).rules.create
    statement = unit_of_work.directory.plans.get_or_make(
        (make, relation, frozenset(data)), lambda: make(relation, frozenset(data))
    )

    def transaction() -> QueryGenerator:
        yield from _check_ends(unit_of_work, relation, id, target_id, rule)
        rows = yield statement.sql, statement.bind(bound)
        if only_change and not rows:
            yield from _check_linked(unit_of_work, relation, id, target_id, bound)
        results = yield from _run(reads)
        return TransactionResult(results, _changes(relation, id, target_id) if rows else ())

    return await unit_of_work.write(transaction)  # type: ignore[no-any-return]


async def unlink(
    unit_of_work: UnitOfWork, relation: Relation, id: str, target_id: str, reads: list[Query]
) -> list[Rows]:
    """Delete the link of two records, if there is one; return the rows of `reads`, which come before.

    Raises:
        NotFound: the actor may not see both records.
        Forbidden: the actor may not change the links of the first record.
    """
    statement = unit_of_work.directory.plans.get_or_make(("unlink", relation), lambda: _delete_statement(relation))
    bound = write_statements.column_values(
        fields_by_name(_link(relation)), {relation.local_key: id, relation.remote_key: target_id}
    )

    def transaction() -> QueryGenerator:
        yield from _check_ends(unit_of_work, relation, id, target_id, _link(relation).rules.delete)
        results = yield from _run(reads)
        rows = yield statement.sql, statement.bind(bound)
        return TransactionResult(results, _changes(relation, id, target_id) if rows else ())

    return await unit_of_work.write(transaction)  # type: ignore[no-any-return]


async def get_link(unit_of_work: UnitOfWork, relation: Relation, id: str, target_id: str, item: Selection) -> bytes:
    """Return a link as an item of the relation's list; raise `NotFound` if there is none."""
    query, encode = link_query(unit_of_work, relation, id, target_id, item)
    (rows,) = await unit_of_work.read([query])
    if not rows:
        raise write_statements.not_found(resource_of(relation.source), id)
    text = encode(rows)
    if text is None:
        raise not_linked(relation, id, target_id)
    return text


def link_query(
    unit_of_work: UnitOfWork, relation: Relation, id: str, target_id: str, item: Selection
) -> tuple[Query, Callable[[Rows], bytes | None]]:
    """Return the query for a link, and the function from its rows to the item's JSON, or None without a link."""
    selection = ListSelection((("item", Items(item)),), Page("one"), relation.name, Compare("id", "eq", "target"))
    plan = unit_of_work.plan(plan_record, resource_of(relation.source), selection)
    values = {"target": target_id, "one": 1, "key": id, "actor": unit_of_work.actor.id}

    def encode(rows: Rows) -> bytes | None:
        text = plan.encode(rows[0][0], values, unit_of_work.directory.cursor_key.current) if rows else b""
        return text.removeprefix(b'{"item":[').removesuffix(b"]}") or None

    return (plan.statement.sql, plan.statement.bind(values)), encode


def not_linked(relation: Relation, id: str, target_id: str) -> NotFound:
    source, target = resource_of(relation.source), resource_of(relation.target)
    return NotFound(
        f"the {source.singular} {id[:64]} has no {target.singular} {target_id[:64]} among its {relation.name}"
    )


def _check_ends(unit_of_work: UnitOfWork, relation: Relation, id: str, target_id: str, rule: Rule) -> QueryGenerator:
    """Raise `NotFound` if the actor may not see both records, `Forbidden` if `rule` does not hold for the first."""
    source, target = resource_of(relation.source), resource_of(relation.target)
    profile = unit_of_work.actor.profile
    profile.check_scope(source.plural, "write")
    profile.check_scope(target.plural, "read")
    for resource, key, end_rule in ((source, id, rule), (target, target_id, target.rules.read)):
        yield from write_statements.check_permission(
            unit_of_work, resource, end_rule, key, f"change the {relation.name} of"
        )


def _check_linked(
    unit_of_work: UnitOfWork, relation: Relation, id: str, target_id: str, bound: Mapping[str, Any]
) -> QueryGenerator:
    statement = unit_of_work.directory.plans.get_or_make(("linked", relation), lambda: _select_statement(relation))
    rows = yield statement.sql, statement.bind(bound)
    if not rows:
        raise not_linked(relation, id, target_id)


def _run(queries: list[Query]) -> Generator[Query, Rows, list[Rows]]:
    results = []
    for query in queries:
        results.append((yield query))
    return results


def _upsert_statement(relation: Relation, names: frozenset[str]) -> Statement:
    """INSERT INTO membership … ON CONFLICT (…) DO UPDATE SET role = excluded.role WHERE role IS DISTINCT FROM …"""
    table = table_of(_link(relation))
    columns = [column.name for column in table.columns if column.computed is None]
    insertion = insert(table).values(write_statements.bound_columns(table, columns))
    changed = {name: insertion.excluded[name] for name in _changed_columns(table, names)}
    keys = [relation.local_key, relation.remote_key]
    upsert = (
        insertion.on_conflict_do_update(index_elements=keys, set_=changed, where=_differs(table, changed))
        if changed
        else insertion.on_conflict_do_nothing(index_elements=keys)
    )
    return Statement(upsert.returning(table.c[relation.remote_key]))


def _update_statement(relation: Relation, names: frozenset[str]) -> Statement:
    table = table_of(_link(relation))
    new = write_statements.bound_columns(table, _changed_columns(table, names))
    return CountedStatement(
        update(table).where(*_is_link(relation), _differs(table, new)).values(new), table.c[relation.remote_key]
    )


def _select_statement(relation: Relation) -> Statement:
    return Statement(select(table_of(_link(relation)).c[relation.remote_key]).where(*_is_link(relation)))


def _delete_statement(relation: Relation) -> Statement:
    table = table_of(_link(relation))
    return CountedStatement(delete(table).where(*_is_link(relation)), table.c[relation.remote_key])


def _changed_columns(table: Table, names: frozenset[str]) -> list[str]:
    """The columns of some fields, with their key columns."""
    columns = [column.name for column in table.columns]
    return [name for name in columns if name in names or name.removesuffix("_key") in names]


def _differs(table: Table, new: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
    return or_(false(), *(table.c[name].is_distinct_from(value) for name, value in new.items()))


def _is_link(relation: Relation) -> list[ColumnElement[bool]]:
    table = table_of(_link(relation))
    return [table.c[name] == bindparam(f"set_{name}") for name in (relation.local_key, relation.remote_key)]


def _changes(relation: Relation, id: str, target_id: str) -> tuple[Change, ...]:
    """Both records are updated, in none of their own fields."""
    ends = ((relation.source, id), (relation.target, target_id))
    return tuple(Change(model.__name__, end_id, "updated", frozenset()) for model, end_id in ends)


def _link(relation: Relation) -> type[Link]:
    assert relation.owning, f"{relation.name} does not own its link"
    assert relation.link is not None
    return relation.link
