"""Link and unlink: the verbs that join two records, from the side that the link belongs to."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, false, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from schema.engine.changes import Change
from schema.engine.driver import Query, QueryGenerator
from schema.engine.errors import NotFound
from schema.engine.model.field import ResourceField
from schema.engine.model.policy import Rule, Rules
from schema.engine.model.record import Link, now
from schema.engine.model.resource import Relation, Resource, fields_by_name, resource_of, table_of
from schema.engine.operations import write_statements
from schema.engine.operations.directory import TransactionResult, UnitOfWork
from schema.engine.query.selection import Compare, ListSelection, Page, Selection
from schema.engine.query.selection import Items as RowsOf
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import CountedStatement, Statement


async def link(
    unit_of_work: UnitOfWork,
    relation: Relation,
    id: str,
    far: str,
    data: Mapping[str, Any],
    then: list[Query],
    *,
    only_change: bool = False,
) -> list[Rows]:
    """Join two records, or change the fields of what joins them; the rows of the steps that come `then`.

    Fields that are not in `data` keep their value, or get their default. What changes nothing is no change.
    With `only_change`, `NotFound` unless joined.
    """
    fields = _fields(relation)
    defaults = {name: it.default for name, it in fields.items() if not it.primary_key and not it.read_only}
    row = {**defaults, **data, relation.near: id, relation.far: far, "created_at": now()}
    bound = write_statements.column_values(fields, {name: value for name, value in row.items() if name in fields})
    make = _changing if only_change else _joining
    rule = _rules(relation).update if only_change else _rules(relation).create
    statement = unit_of_work.directory.plans.get_or_make(
        (make, relation, frozenset(data)), lambda: make(relation, frozenset(data))
    )

    def job() -> QueryGenerator:
        yield from _both_there(unit_of_work, relation, id, far, rule)
        rows = yield statement.sql, statement.bind(bound)
        if only_change and not rows:
            yield from _is_joined(unit_of_work, relation, id, far, bound)
        answers = yield from _each(then)
        return TransactionResult(answers, _changes(relation, id, far) if rows else ())

    return await unit_of_work.write(job)  # type: ignore[no-any-return]


async def unlink(unit_of_work: UnitOfWork, relation: Relation, id: str, far: str, then: list[Query]) -> list[Rows]:
    """Part two records, if they are joined; the rows of the steps `then`, which are taken before they part."""
    statement = unit_of_work.directory.plans.get_or_make(("unlink", relation), lambda: _parting(relation))
    bound = write_statements.column_values(_fields(relation), {relation.near: id, relation.far: far})

    def job() -> QueryGenerator:
        yield from _both_there(unit_of_work, relation, id, far, _rules(relation).delete)
        answers = yield from _each(then)
        rows = yield statement.sql, statement.bind(bound)
        return TransactionResult(answers, _changes(relation, id, far) if rows else ())

    return await unit_of_work.write(job)  # type: ignore[no-any-return]


async def get_link(unit_of_work: UnitOfWork, relation: Relation, id: str, far: str, item: Selection) -> bytes:
    """What joins two records, as an item of the relation's list; `NotFound` where nothing does."""
    step, finish = link_query(unit_of_work, relation, id, far, item)
    (rows,) = await unit_of_work.read([step])
    if not rows:
        raise write_statements.not_found(resource_of(relation.source), id)
    found = finish(rows)
    if found is None:
        raise not_linked(relation, id, far)
    return found


def link_query(
    unit_of_work: UnitOfWork, relation: Relation, id: str, far: str, item: Selection
) -> tuple[Query, Callable[[Rows], bytes | None]]:
    """The step that reads what joins two records, and what makes the item's JSON of its rows: none if nothing does."""
    branch = ListSelection((("item", RowsOf(item)),), Page("one"), relation.name, Compare("id", "eq", "far"))
    plan = unit_of_work.record_plan(resource_of(relation.source), branch)
    values = {"far": far, "one": 1, "key": id, "actor": unit_of_work.actor.id}

    def finish(rows: Rows) -> bytes | None:
        text = plan.encode(rows[0][0], values, unit_of_work.directory.cursor_key.current) if rows else b""
        return text.removeprefix(b'{"item":[').removesuffix(b"]}") or None

    return (plan.statement.sql, plan.statement.bind(values)), finish


def not_linked(relation: Relation, id: str, far: str) -> NotFound:
    """What to say where two records are not joined."""
    near, target = resource_of(relation.source), resource_of(relation.target)
    return NotFound(
        f"the {target.singular} {far[:64]} is not among the {relation.name} of the {near.singular} {id[:64]}"
    )


def _both_there(unit_of_work: UnitOfWork, relation: Relation, id: str, far: str, rule: Rule) -> QueryGenerator:
    """`NotFound` for either; `Forbidden` where the rule does not let the actor."""
    near, target = resource_of(relation.source), resource_of(relation.target)
    unit_of_work.actor.profile.check_scope(near.plural, "write")
    unit_of_work.actor.profile.check_scope(target.plural, "read")
    for made, key, asked_rule in ((near, id, rule), (target, far, target.rules.read)):
        asked = _asking(unit_of_work, made, asked_rule)
        rows = yield asked.sql, asked.bind({"key": key, "actor": unit_of_work.actor.id})
        write_statements.check_permission(made, key, rows, f"change the {relation.name} of")


def _asking(unit_of_work: UnitOfWork, resource: Resource, rule: Rule) -> Statement:
    kind = unit_of_work.actor.profile
    return unit_of_work.directory.plans.get_or_make(
        ("ask", resource, kind, rule), lambda: write_statements.permission_query(resource, kind, rule)
    )


def _each(steps: list[Query]) -> Generator[Query, Rows, list[Rows]]:
    answers = []
    for step in steps:
        answers.append((yield step))
    return answers


def _joining(relation: Relation, given: frozenset[str]) -> Statement:
    table = _table(relation)
    new = write_statements.bound_columns(table, [column.name for column in table.columns if column.computed is None])
    fresh = insert(table).values(new)
    changed = {name: fresh.excluded[name] for name in new if name in given or name.removesuffix("_key") in given}
    keys, differs = [relation.near, relation.far], _differs(table, changed)
    joining = (
        fresh.on_conflict_do_update(index_elements=keys, set_=changed, where=differs)
        if changed
        else fresh.on_conflict_do_nothing(index_elements=keys)
    )
    return Statement(joining.returning(table.c[relation.far]))


def _changing(relation: Relation, given: frozenset[str]) -> Statement:
    table = _table(relation)
    new = write_statements.bound_columns(
        table, [it.name for it in table.columns if it.name.removesuffix("_key") in given]
    )
    changing = update(table).where(*_here(relation), _differs(table, new)).values(new)
    return CountedStatement(changing, table.c[relation.far])


def _differs(table: Table, new: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
    """What changes nothing is no change."""
    return or_(false(), *(table.c[name].is_distinct_from(value) for name, value in new.items()))


def _is_joined(
    unit_of_work: UnitOfWork, relation: Relation, id: str, far: str, bound: Mapping[str, Any]
) -> QueryGenerator:
    """`NotFound` unless they are."""
    asked = unit_of_work.directory.plans.get_or_make(("joined", relation), lambda: _finding(relation))
    rows = yield asked.sql, asked.bind(bound)
    if not rows:
        raise not_linked(relation, id, far)


def _finding(relation: Relation) -> Statement:
    return Statement(select(_table(relation).c[relation.far]).where(*_here(relation)))


def _parting(relation: Relation) -> Statement:
    table = _table(relation)
    return CountedStatement(delete(table).where(*_here(relation)), table.c[relation.far])


def _here(relation: Relation) -> list[ColumnElement[bool]]:
    table = _table(relation)
    return [table.c[name] == bindparam(f"set_{name}") for name in (relation.near, relation.far)]


def _changes(relation: Relation, id: str, far: str) -> tuple[Change, ...]:
    none = frozenset[str]()
    ends = ((relation.source, id), (relation.target, far))
    return tuple(Change(model.__name__, of, "updated", none) for model, of in ends)


def _link(relation: Relation) -> type[Link]:
    assert relation.owning, f"{relation.name} is linked from its other side, if at all"
    assert relation.link is not None
    return relation.link


def _table(relation: Relation) -> Table:
    return table_of(_link(relation))


def _rules(relation: Relation) -> Rules:
    return _link(relation).rules


def _fields(relation: Relation) -> dict[str, ResourceField]:
    return fields_by_name(_link(relation))
