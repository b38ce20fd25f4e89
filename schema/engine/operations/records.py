"""The operations on records: find, get, create, update, delete, and models' own actions.

Each operation is one transaction. A write's has the change, a query that distinguishes 404, 403 and 412 if nothing
changed, and the response, which is read through the same plans as any read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from schema.engine.changes import Change, TransactionResult
from schema.engine.driver import ListQuery, Query, QueryGenerator, SingleQueryTransaction, UnboundedTransaction
from schema.engine.errors import COUNT_TIMEOUT, Forbidden, NotFound, QueryTimeout, QueryTooComplex
from schema.engine.model.action import Action
from schema.engine.model.policy import Rule
from schema.engine.model.record import new_id, now
from schema.engine.model.resource import Relation, Resource
from schema.engine.operations import write_statements
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.cursors import NO_SIGNER, Signer
from schema.engine.query.pagination import PageEncoder
from schema.engine.query.planner import Plan, plan_insert, plan_list, plan_record
from schema.engine.query.selection import ListSelection, Selection, ToOne, sources
from schema.engine.sql.record_lookup import RecordResult, Rows
from schema.engine.sql.statement import Values

_NO_PLAN = object()  # cached where `plan_insert` returns None, which the cache takes for a miss


@dataclass(frozen=True, slots=True)
class PageResult:
    """A page as JSON, and the cursors of the pages before and after it, if there are any."""

    json: bytes
    previous: str | None = None
    next: str | None = None


async def find(unit_of_work: UnitOfWork, resource: Resource, selection: ListSelection, values: Values) -> PageResult:
    """Return a page of a resource's records."""
    plan = unit_of_work.cached_plan(plan_list, resource, selection)
    if plan is None:
        plan = await unit_of_work.compile_plan(plan_list, resource, selection)
    signer = await unit_of_work.directory.cursor_key.signer()
    query = ListQuery(plan.statement.sql, plan.statement.bind(_bound(unit_of_work, values)))
    ((row,),) = await _read(unit_of_work, plan, query)
    return _page(plan, row[0], values, signer)


async def find_related(
    unit_of_work: UnitOfWork, resource: Resource, id: str, selection: ListSelection, values: Values
) -> PageResult:
    """Return a page of the records that a relation of one record leads to; raise `NotFound` without that record."""
    plan = unit_of_work.cached_plan(plan_record, resource, selection)
    if plan is None:
        plan = await unit_of_work.compile_plan(plan_record, resource, selection)
    signer = await unit_of_work.directory.cursor_key.signer()
    query = plan.statement.sql, plan.statement.bind(_bound(unit_of_work, values, key=id))
    (rows,) = await _read(unit_of_work, plan, query)
    if not rows:
        raise write_statements.not_found(resource, id)
    return _page(plan, rows[0][0], values, signer)


async def get(
    unit_of_work: UnitOfWork, resource: Resource, id: str, selection: Selection, values: Values | None = None
) -> RecordResult:
    """Return a record; raise `NotFound` if there is none that the actor may see."""
    plan = unit_of_work.cached_plan(plan_record, resource, selection)
    if plan is None:
        plan = await unit_of_work.compile_plan(plan_record, resource, selection)
    values, signer = values or {}, await _signer(unit_of_work, selection)
    (rows,) = await _read(unit_of_work, plan, unit_of_work.record_query(plan, id, values))
    return record_result(plan, resource, id, rows, values, signer)


async def get_related(
    unit_of_work: UnitOfWork, resource: Resource, id: str, relation: Relation, selection: Selection
) -> bytes:
    """Return the JSON of the record that a to-one relation leads to; raise `NotFound` if there is none."""
    wrapper = Selection((("one", ToOne(relation.name, selection)),))
    record = (await get(unit_of_work, resource, id, wrapper)).json.removeprefix(b'{"one":').removesuffix(b"}")
    if record == b"null":
        raise NotFound(f"the {resource.singular} {id} has no {relation.name}")
    return record


async def create(
    unit_of_work: UnitOfWork,
    resource: Resource,
    data: Mapping[str, Any],
    selection: Selection,
    values: Values | None = None,
) -> tuple[str, RecordResult]:
    """Create a record; return its id and the record.

    Raises:
        Forbidden: the actor may not create it.
        Conflict: a unique value is taken, or a foreign key refers to no record.
    """
    id, time, profile, plans = new_id(), now(), unit_of_work.actor.profile, unit_of_work.directory.plans
    profile.check_scope(resource.plural, "write")
    creatable = plans.get_or_make(
        ("create", resource, profile), lambda: resource.rules.create.where(resource.table, profile)
    )
    if creatable is False:
        raise Forbidden(f"no permission to create {resource.plural}")
    resource.rules.check_grant(profile, data, new=True)
    secret, generated = resource.shown_once.generate(id) if resource.shown_once else (None, {})
    row = {**resource.defaults, **data, **generated, "id": id, "created_at": time, "updated_at": time, "version": 1}
    columns, values = write_statements.column_values(resource.fields, row), values or {}
    signer = await _signer(unit_of_work, selection)
    insert = plans.get_or_make(("insert", resource), lambda: write_statements.insert_statement(resource))

    def transaction() -> QueryGenerator:
        yield from write_statements.check_references(unit_of_work, resource, data)
        yield insert.sql, insert.bind(columns)
        if creatable is not True:
            yield from write_statements.check_permission(unit_of_work, resource, resource.rules.create, id, "create")
        plan = unit_of_work.plan(plan_record, resource, selection)
        return result(plan, (yield unit_of_work.record_query(plan, id, values)))

    def result(plan: Plan, rows: Rows) -> TransactionResult:
        record = record_result(plan, resource, id, rows, values, signer)
        if secret is not None:
            record = replace(record, shown_once=secret)
        change = Change(resource.name, id, "created", frozenset(data))
        return TransactionResult((id, record), (change,), secret=secret is not None)

    plan = _insert_plan(unit_of_work, resource, selection) if creatable is True else None
    if plan is None:
        return await unit_of_work.write(transaction, independent=True)  # type: ignore[no-any-return]
    query = SingleQueryTransaction(
        plan.statement.sql, plan.statement.bind(_bound(unit_of_work, {**values, **columns})), partial(result, plan)
    )
    return await unit_of_work.write(query, independent=True)  # type: ignore[no-any-return]


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
    """Change the fields in `data`; return the record. If no value differs, the version stays.

    `rule` replaces the model's own update rule.

    Raises:
        NotFound, Forbidden: the actor may not see the record, or not change it.
        VersionMismatch: `versions` are given, and the record has none of them.
        Conflict: a unique value is taken, or a foreign key refers to no record.
    """
    profile, rule, fields = unit_of_work.actor.profile, rule or resource.rules.update, frozenset(data)
    profile.check_scope(resource.plural, "write")
    resource.rules.check_grant(profile, data)
    versioned = versions is not None
    change = unit_of_work.directory.plans.get_or_make(
        ("update", resource, profile, rule, fields, versioned),
        lambda: write_statements.update_statement(resource, profile, rule, fields, versioned=versioned),
    )
    # Compiled before the transaction holds locks.
    write_statements.permission_query(unit_of_work, resource, rule, fields)
    signer, values = await _signer(unit_of_work, selection), values or {}
    columns = write_statements.column_values(resource.fields, data)
    bound = _bound(unit_of_work, columns, key=id, expected=_json_array(versions), now=now())

    def transaction() -> QueryGenerator:
        yield from write_statements.check_references(unit_of_work, resource, data)
        changed = yield change.sql, change.bind(bound)
        if not changed:
            yield from write_statements.check_refusal(unit_of_work, resource, rule, bound, "change", fields)
        plan = unit_of_work.plan(plan_record, resource, selection)
        rows = yield unit_of_work.record_query(plan, id, values)
        changes = (Change(resource.name, id, "updated", fields),) if changed else ()
        return TransactionResult(record_result(plan, resource, id, rows, values, signer), changes)

    return await unit_of_work.write(transaction)  # type: ignore[no-any-return]


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
    """Carry out one of a model's own actions; return the record. Raises what `update` raises."""
    changes = action.changes(arguments)
    return await update(unit_of_work, resource, id, changes, selection, values, versions=versions, rule=action.rule)


async def delete(
    unit_of_work: UnitOfWork, resource: Resource, id: str, *, versions: frozenset[int] | None = None
) -> None:
    """Delete a record and its links.

    Raises:
        NotFound, Forbidden, VersionMismatch: as `update`.
        Conflict: other records refer to it.
    """
    profile, versioned = unit_of_work.actor.profile, versions is not None
    profile.check_scope(resource.plural, "write")
    deletion = unit_of_work.directory.plans.get_or_make(
        ("delete", resource, profile, versioned),
        lambda: write_statements.delete_statement(resource, profile, versioned=versioned),
    )
    write_statements.permission_query(unit_of_work, resource, resource.rules.delete)
    bound = _bound(unit_of_work, {}, key=id, expected=_json_array(versions))

    def transaction() -> QueryGenerator:
        rows = yield deletion.sql, deletion.bind(bound)
        if not rows:
            yield from write_statements.check_refusal(unit_of_work, resource, resource.rules.delete, bound, "delete")
        return TransactionResult(None, (Change(resource.name, id, "deleted"),))

    await unit_of_work.write(UnboundedTransaction(transaction))


def record_result(plan: Plan, resource: Resource, id: str, rows: Rows, values: Values, signer: Signer) -> RecordResult:
    """Encode the rows of a record's plan; raise `NotFound` if there are none."""
    if not rows:
        raise write_statements.not_found(resource, id)
    text, version, whole = rows[0]
    return RecordResult(plan.encode(text, values, signer), version, bool(whole))


async def _signer(unit_of_work: UnitOfWork, selection: Selection) -> Signer:
    """Return what signs the cursors of nested lists. Without such lists, it is not waited for."""
    signer = unit_of_work.directory.cursor_key.current
    if signer is NO_SIGNER and any(isinstance(source, ListSelection) for source in sources(selection)):
        return await unit_of_work.directory.cursor_key.signer()
    return signer


async def _read(unit_of_work: UnitOfWork, plan: Plan, query: Query) -> list[Rows]:
    """Return the rows of a plan's statement; raise `QueryTooComplex` if counting its total took too long."""
    try:
        return await unit_of_work.read([query])
    except QueryTimeout:
        if plan.counts:
            raise QueryTooComplex(COUNT_TIMEOUT) from None
        raise


def _bound(unit_of_work: UnitOfWork, values: Values, **more: Any) -> dict[str, Any]:
    return {**values, **more, "actor": unit_of_work.actor.id}


def _page(plan: Plan, text: bytes, values: Values, signer: Signer) -> PageResult:
    encoder = plan.encode
    if not isinstance(encoder, PageEncoder):
        return PageResult(encoder(text, values, signer))
    page = encoder.page_content(text, values, signer)
    previous = page.cursor(0) if page.has_previous else None
    following = page.cursor(-1) if page.has_next else None
    return PageResult(encoder.json(page), _decode(previous), _decode(following))


def _decode(cursor: bytes | None) -> str | None:
    return None if cursor is None else cursor.decode()


def _insert_plan(unit_of_work: UnitOfWork, resource: Resource, selection: Selection) -> Plan | None:
    """Return the plan that creates a record and reads it in one statement, which PostgreSQL can."""
    if not unit_of_work.directory.is_postgres:
        return None
    profile = unit_of_work.actor.profile

    def make() -> Plan | object:
        return plan_insert(resource, write_statements.insert_clause(resource), selection, profile) or _NO_PLAN

    plan: Any = unit_of_work.directory.plans.get_or_make(("insert", resource, selection, profile), make)
    return None if plan is _NO_PLAN else plan


def _json_array(versions: frozenset[int] | None) -> str | None:
    return None if versions is None else json.dumps(sorted(versions))
