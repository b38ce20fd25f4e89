"""The verbs: find, get, create, update, delete, and a model's own. `links.py` has link and unlink.

Each is one transaction. A write is a job for the writer: the change, what tells 404, 403 and 412 apart if it changed
nothing, and the answer, read through the same plans as any read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from schema.engine.changes import Change
from schema.engine.driver import ListQuery, Query, QueryGenerator, SingleQuery, UnboundedWrite
from schema.engine.errors import COUNT_TIMEOUT, Forbidden, NotFound, QueryTimeout, QueryTooComplex
from schema.engine.model.action import Action
from schema.engine.model.action import action as action
from schema.engine.model.policy import Rule
from schema.engine.model.record import new_id, now
from schema.engine.model.resource import Relation, Resource
from schema.engine.operations import write_statements
from schema.engine.operations.directory import TransactionResult, UnitOfWork
from schema.engine.query.cursors import NO_SIGNER, Signer
from schema.engine.query.pagination import PageEncoder
from schema.engine.query.planner import Plan, plan_insert
from schema.engine.query.selection import ListSelection, Selection, ToOne, has_lists
from schema.engine.sql.record_lookup import RecordResult as RecordResult
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import Values


@dataclass(frozen=True, slots=True)
class PageResult:
    """A page as JSON, and the cursors that its neighbours start from, where there are neighbours."""

    json: bytes
    previous: str | None = None
    next: str | None = None


async def find(unit_of_work: UnitOfWork, resource: Resource, branch: ListSelection, values: Values) -> PageResult:
    """A page of a model's records."""
    plan = unit_of_work.known_list_plan(resource, branch)
    if plan is None:
        plan = await unit_of_work.compile(lambda: unit_of_work.list_plan(resource, branch))
    signer = await unit_of_work.directory.cursor_key.signer()
    ((row,),) = await _read(
        unit_of_work, plan, ListQuery(plan.statement.sql, plan.statement.bind(_bound(unit_of_work, values)))
    )
    return _page(plan.encode, row[0], values, signer)


async def find_related(
    unit_of_work: UnitOfWork, resource: Resource, id: str, branch: ListSelection, values: Values
) -> PageResult:
    """A page of the list that a relation leads to from one record; `NotFound` where there is no such record."""
    plan = unit_of_work.known_record_plan(resource, branch)
    if plan is None:
        plan = await unit_of_work.compile(lambda: unit_of_work.record_plan(resource, branch))
    signer = await unit_of_work.directory.cursor_key.signer()
    (rows,) = await _read(
        unit_of_work, plan, (plan.statement.sql, plan.statement.bind(_bound(unit_of_work, values, key=id)))
    )
    if not rows:
        raise write_statements.not_found(resource, id)
    return _page(plan.encode, rows[0][0], values, signer)


async def get_related(
    unit_of_work: UnitOfWork, resource: Resource, id: str, relation: Relation, selection: Selection
) -> bytes:
    """The one record that a relation leads to; `NotFound` where there is none."""
    asked = Selection((("one", ToOne(relation.name, selection)),))
    related = (await get(unit_of_work, resource, id, asked)).json.removeprefix(b'{"one":').removesuffix(b"}")
    if related == b"null":
        raise NotFound(f"the {resource.singular} {id} has no {relation.name}")
    return related


async def get(
    unit_of_work: UnitOfWork, resource: Resource, id: str, selection: Selection, values: Values | None = None
) -> RecordResult:
    """One record, or `NotFound`."""
    plan = unit_of_work.known_record_plan(resource, selection)
    if plan is None:
        plan = await unit_of_work.compile(lambda: unit_of_work.record_plan(resource, selection))
    given, signer = values or {}, await _signer(unit_of_work, selection)
    (rows,) = await _read(unit_of_work, plan, unit_of_work.record_query(plan, id, given))
    return record_result(plan, resource, id, rows, given, signer)


async def create(
    unit_of_work: UnitOfWork,
    resource: Resource,
    data: Mapping[str, Any],
    selection: Selection,
    values: Values | None = None,
) -> tuple[str, RecordResult]:
    """A new record's id, and the record. `Forbidden`, or `Conflict` where something unique is taken."""
    id, moment, kind = new_id(), now(), unit_of_work.actor.profile
    kind.check_scope(resource.plural, "write")
    once, own = resource.shown_once.made_for(id) if resource.shown_once else (None, {})
    row = {**resource.defaults, **data, **own, "id": id, "created_at": moment, "updated_at": moment, "version": 1}
    plans = unit_of_work.directory.plans
    verdict = plans.get_or_make(
        ("verdict", resource, kind, "create"), lambda: resource.rules.create.where(resource.table, kind)
    )
    if verdict is False:
        raise Forbidden(f"you may not create {resource.plural}")
    resource.rules.check_grant(kind, data, new=True)
    signer = await _signer(unit_of_work, selection)
    insertion = plans.get_or_make(("insert", resource), lambda: write_statements.insert_statement(resource))

    def job() -> QueryGenerator:
        yield from write_statements.check_references(
            unit_of_work.directory.plans, resource, kind, unit_of_work.actor.id, data
        )
        yield insertion.sql, insertion.bind(write_statements.column_values(resource.fields, row))
        if verdict is not True:
            asking = plans.get_or_make(
                ("ask", resource, kind, "create"),
                lambda: write_statements.permission_query(resource, kind, resource.rules.create),
            )
            yield from write_statements.check_refusal(resource, asking, _bound(unit_of_work, {}, key=id), "create")
        plan = unit_of_work.record_plan(resource, selection)
        return told(plan, (yield unit_of_work.record_query(plan, id, values or {})))

    def told(plan: Plan, rows: Rows) -> TransactionResult:
        shown = record_result(plan, resource, id, rows, values or {}, signer)
        # What is given once is no part of the record, and is kept with no answer.
        given = shown if once is None else replace(shown, shown_once=once)
        return TransactionResult(
            (id, given), (Change(resource.name, id, "created", frozenset(data)),), secret=once is not None
        )

    if verdict is True and (plan := _at_once(unit_of_work, resource, selection)):
        bound = plan.statement.bind(
            _bound(unit_of_work, {**(values or {}), **write_statements.column_values(resource.fields, row)})
        )
        return await unit_of_work.write(SingleQuery(plan.statement.sql, bound, partial(told, plan)), independent=True)  # type: ignore[no-any-return]
    return await unit_of_work.write(job, independent=True)  # type: ignore[no-any-return]


def _at_once(unit_of_work: UnitOfWork, resource: Resource, selection: Selection) -> Plan | Literal[False]:
    """The plan that writes a new record and shows it; False where the two are a statement each."""
    if not unit_of_work.directory.is_postgres:
        return False
    kind = unit_of_work.actor.profile
    make = lambda: plan_insert(resource, write_statements.insert_clause(resource), selection, kind)  # noqa: E731
    return unit_of_work.directory.plans.get_or_make(("new", resource, selection, kind), make)


async def update(
    unit_of_work: UnitOfWork,
    resource: Resource,
    id: str,
    data: Mapping[str, Any],
    selection: Selection,
    values: Values | None = None,
    *,
    versions: frozenset[int] | None = None,
    rule: Rule | None = None,
) -> RecordResult:
    """The record with the fields in `data` changed. What changes nothing is no change: the version stays.

    `VersionMismatch` unless the record has one of `versions`, where they are given. `rule` stands in for the model's
    own update rule.
    """
    kind, rule, fields = unit_of_work.actor.profile, rule or resource.rules.update, frozenset(data)
    kind.check_scope(resource.plural, "write")
    resource.rules.check_grant(kind, data)
    key = (resource, kind, rule, fields, versions is not None)
    plans = unit_of_work.directory.plans
    changing = plans.get_or_make(
        ("update", *key),
        lambda: write_statements.update_statement(resource, kind, rule, fields, versioned=versions is not None),
    )
    asking = plans.get_or_make(("ask", *key), lambda: write_statements.permission_query(resource, kind, rule, fields))
    signer = await _signer(unit_of_work, selection)
    bound = _bound(
        unit_of_work,
        {**write_statements.column_values(resource.fields, data), "expected": _listed(versions), "now": now()},
        key=id,
    )

    def job() -> QueryGenerator:
        yield from write_statements.check_references(
            unit_of_work.directory.plans, resource, kind, unit_of_work.actor.id, data
        )
        changed = yield changing.sql, changing.bind(bound)
        if not changed:
            barred = frozenset(name for name in fields if rule.where(resource.table, kind, frozenset([name])) is False)
            yield from write_statements.check_refusal(resource, asking, bound, "change", barred)
        plan = unit_of_work.record_plan(resource, selection)
        rows = yield unit_of_work.record_query(plan, id, values or {})
        changes = (Change(resource.name, id, "updated", fields),) if changed else ()
        return TransactionResult(record_result(plan, resource, id, rows, values or {}, signer), changes)

    return await unit_of_work.write(job)  # type: ignore[no-any-return]


async def call_action(
    unit_of_work: UnitOfWork,
    resource: Resource,
    action: Action,
    id: str,
    arguments: Mapping[str, Any],
    selection: Selection,
    values: Values | None = None,
    *,
    versions: frozenset[int] | None = None,
) -> RecordResult:
    """The record after one of its model's own verbs."""
    return await update(
        unit_of_work, resource, id, action.changes(arguments), selection, values, versions=versions, rule=action.rule
    )


async def delete(
    unit_of_work: UnitOfWork, resource: Resource, id: str, *, versions: frozenset[int] | None = None
) -> None:
    """Delete a record, and with it its links. `Conflict` where other records refer to it."""
    kind, plans = unit_of_work.actor.profile, unit_of_work.directory.plans
    kind.check_scope(resource.plural, "write")
    key = (resource, kind, versions is not None)
    deletion = plans.get_or_make(
        ("delete", *key), lambda: write_statements.delete_statement(resource, kind, versioned=versions is not None)
    )
    asking = plans.get_or_make(
        ("ask", *key, "delete"), lambda: write_statements.permission_query(resource, kind, resource.rules.delete)
    )
    bound = _bound(unit_of_work, {"expected": _listed(versions)}, key=id)

    def job() -> QueryGenerator:
        rows = yield deletion.sql, deletion.bind(bound)
        if not rows:
            yield from write_statements.check_refusal(resource, asking, bound, "delete")
        return TransactionResult(None, (Change(resource.name, id, "deleted"),))

    await unit_of_work.write(UnboundedWrite(job))


def record_result(plan: Plan, resource: Resource, id: str, rows: Rows, values: Values, signer: Signer) -> RecordResult:
    """What the step of a record's plan brought, or `NotFound`."""
    if not rows:
        raise write_statements.not_found(resource, id)
    text, version, whole = rows[0]
    return RecordResult(plan.encode(text, values, signer), version, bool(whole))


async def _signer(unit_of_work: UnitOfWork, selection: Selection) -> Signer:
    """What signs the cursors of lists below a record; it is not waited for where there are none."""
    signer = unit_of_work.directory.cursor_key.current
    return await unit_of_work.directory.cursor_key.signer() if signer is NO_SIGNER and has_lists(selection) else signer


async def _read(unit_of_work: UnitOfWork, plan: Plan, step: Query) -> list[Rows]:
    """The rows of a plan's statement; `TooComplex` where a total could not be counted in time."""
    try:
        return await unit_of_work.read([step])
    except QueryTimeout:
        if plan.counts:
            raise QueryTooComplex(COUNT_TIMEOUT) from None
        raise


def _bound(unit_of_work: UnitOfWork, values: Values, **more: Any) -> dict[str, Any]:
    return {**values, **more, "actor": unit_of_work.actor.id}


def _listed(versions: frozenset[int] | None) -> str | None:
    return None if versions is None else json.dumps(sorted(versions))


def _page(finish: Any, text: bytes, values: Values, signer: Signer) -> PageResult:
    if not isinstance(finish, PageEncoder):
        return PageResult(finish(text, values, signer))
    page = finish.page_content(text, values, signer)
    previous = page.cursor(0) if page.has_previous else None
    following = page.cursor(-1) if page.has_next else None
    return PageResult(finish.json(page), _text(previous), _text(following))


def _text(cursor: bytes | None) -> str | None:
    return None if cursor is None else cursor.decode()
