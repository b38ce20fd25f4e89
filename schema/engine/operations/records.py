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
from schema.engine.driver import Listing, Sole, Step, Steps, Wide
from schema.engine.errors import UNCOUNTED, Forbidden, NotFound, OverlongQuery, TooComplex
from schema.engine.model.action import Verb
from schema.engine.model.action import verb as verb
from schema.engine.model.policy import Rule
from schema.engine.model.record import new_id, now
from schema.engine.model.resource import Relation, Shape
from schema.engine.operations import write_statements
from schema.engine.operations.directory import Work, Written
from schema.engine.query.cursors import UNKNOWN, Signer
from schema.engine.query.pagination import PageFinish
from schema.engine.query.planner import Plan, plan_new
from schema.engine.query.selection import Branch, One, Selection, Values, has_lists
from schema.engine.sql.record_lookup import Found as Found
from schema.engine.sql.record_lookup import Rows


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page as JSON, and the cursors that its neighbours start from, where there are neighbours."""

    json: bytes
    previous: str | None = None
    next: str | None = None


async def find(work: Work, made: Shape, branch: Branch, values: Values) -> FoundPage:
    """A page of a model's records."""
    plan = work.known_list_plan(made, branch)
    if plan is None:
        plan = await work.compile(lambda: work.list_plan(made, branch))
    signer = await work.directory.signing.signer()
    ((row,),) = await _read(work, plan, Listing(plan.statement.sql, plan.statement.bind(_bound(work, values))))
    return _page(plan.finish, row[0], values, signer)


async def find_below(work: Work, made: Shape, id: str, branch: Branch, values: Values) -> FoundPage:
    """A page of the list that a relation leads to from one record; `NotFound` where there is no such record."""
    plan = work.known_record_plan(made, branch)
    if plan is None:
        plan = await work.compile(lambda: work.record_plan(made, branch))
    signer = await work.directory.signing.signer()
    (rows,) = await _read(work, plan, (plan.statement.sql, plan.statement.bind(_bound(work, values, key=id))))
    if not rows:
        raise write_statements.missing(made, id)
    return _page(plan.finish, rows[0][0], values, signer)


async def get_one_below(work: Work, made: Shape, id: str, relation: Relation, selection: Selection) -> bytes:
    """The one record that a relation leads to; `NotFound` where there is none."""
    asked = Selection((("one", One(relation.name, selection)),))
    found = (await get(work, made, id, asked)).json.removeprefix(b'{"one":').removesuffix(b"}")
    if found == b"null":
        raise NotFound(f"the {made.singular} {id} has no {relation.name}")
    return found


async def get(work: Work, made: Shape, id: str, selection: Selection, values: Values | None = None) -> Found:
    """One record, or `NotFound`."""
    plan = work.known_record_plan(made, selection)
    if plan is None:
        plan = await work.compile(lambda: work.record_plan(made, selection))
    given, signer = values or {}, await _signer(work, selection)
    (rows,) = await _read(work, plan, work.looking_up(plan, id, given))
    return found(plan, made, id, rows, given, signer)


async def create(
    work: Work, made: Shape, data: Mapping[str, Any], selection: Selection, values: Values | None = None
) -> tuple[str, Found]:
    """A new record's id, and the record. `Forbidden`, or `Conflict` where something unique is taken."""
    id, moment, kind = new_id(), now(), work.actor.kind
    kind.keep_within(made.plural, "write")
    once, own = made.once.made_for(id) if made.once else (None, {})
    row = {**made.blank, **data, **own, "id": id, "created_at": moment, "updated_at": moment, "version": 1}
    plans = work.directory.plans
    verdict = plans.get(("verdict", made, kind, "create"), lambda: made.rules.create.where(made.table, kind))
    if verdict is False:
        raise Forbidden(f"you may not create {made.plural}")
    made.rules.check_grant(kind, data, new=True)
    signer = await _signer(work, selection)
    insertion = plans.get(("insert", made), lambda: write_statements.insertion(made))

    def job() -> Steps:
        yield from write_statements.referring(work.directory.plans, made, kind, work.actor.id, data)
        yield insertion.sql, insertion.bind(write_statements.columns_of(made.fields, row))
        if verdict is not True:
            asking = plans.get(
                ("ask", made, kind, "create"), lambda: write_statements.asking(made, kind, made.rules.create)
            )
            yield from write_statements.why_not(made, asking, _bound(work, {}, key=id), "create")
        plan = work.record_plan(made, selection)
        return told(plan, (yield work.looking_up(plan, id, values or {})))

    def told(plan: Plan, rows: Rows) -> Written:
        shown = found(plan, made, id, rows, values or {}, signer)
        # What is given once is no part of the record, and is kept with no answer.
        given = shown if once is None else replace(shown, once=once)
        return Written((id, given), (Change(made.name, id, "created", frozenset(data)),), secret=once is not None)

    if verdict is True and (plan := _at_once(work, made, selection)):
        bound = plan.statement.bind(_bound(work, {**(values or {}), **write_statements.columns_of(made.fields, row)}))
        return await work.write(Sole(plan.statement.sql, bound, partial(told, plan)), apart=True)  # type: ignore[no-any-return]
    return await work.write(job, apart=True)  # type: ignore[no-any-return]


def _at_once(work: Work, made: Shape, selection: Selection) -> Plan | Literal[False]:
    """The plan that writes a new record and shows it; False where the two are a statement each."""
    if not work.directory.shared:
        return False
    kind = work.actor.kind
    make = lambda: plan_new(made, write_statements.inserting(made), selection, kind)  # noqa: E731
    return work.directory.plans.get(("new", made, selection, kind), make)


async def update(
    work: Work,
    made: Shape,
    id: str,
    data: Mapping[str, Any],
    selection: Selection,
    values: Values | None = None,
    *,
    versions: frozenset[int] | None = None,
    rule: Rule | None = None,
) -> Found:
    """The record with the fields in `data` changed. What changes nothing is no change: the version stays.

    `VersionMismatch` unless the record has one of `versions`, where they are given. `rule` stands in for the model's
    own update rule.
    """
    kind, rule, fields = work.actor.kind, rule or made.rules.update, frozenset(data)
    kind.keep_within(made.plural, "write")
    made.rules.check_grant(kind, data)
    key = (made, kind, rule, fields, versions is not None)
    plans = work.directory.plans
    changing = plans.get(
        ("update", *key), lambda: write_statements.changing(made, kind, rule, fields, versioned=versions is not None)
    )
    asking = plans.get(("ask", *key), lambda: write_statements.asking(made, kind, rule, fields))
    signer = await _signer(work, selection)
    bound = _bound(
        work, {**write_statements.columns_of(made.fields, data), "expected": _listed(versions), "now": now()}, key=id
    )

    def job() -> Steps:
        yield from write_statements.referring(work.directory.plans, made, kind, work.actor.id, data)
        changed = yield changing.sql, changing.bind(bound)
        if not changed:
            barred = frozenset(name for name in fields if rule.where(made.table, kind, frozenset([name])) is False)
            yield from write_statements.why_not(made, asking, bound, "change", barred)
        plan = work.record_plan(made, selection)
        rows = yield work.looking_up(plan, id, values or {})
        changes = (Change(made.name, id, "updated", fields),) if changed else ()
        return Written(found(plan, made, id, rows, values or {}, signer), changes)

    return await work.write(job)  # type: ignore[no-any-return]


async def call(
    work: Work,
    made: Shape,
    verb: Verb,
    id: str,
    arguments: Mapping[str, Any],
    selection: Selection,
    values: Values | None = None,
    *,
    versions: frozenset[int] | None = None,
) -> Found:
    """The record after one of its model's own verbs."""
    return await update(work, made, id, verb.changes(arguments), selection, values, versions=versions, rule=verb.rule)


async def delete(work: Work, made: Shape, id: str, *, versions: frozenset[int] | None = None) -> None:
    """Delete a record, and with it its links. `Conflict` where other records refer to it."""
    kind, plans = work.actor.kind, work.directory.plans
    kind.keep_within(made.plural, "write")
    key = (made, kind, versions is not None)
    deletion = plans.get(
        ("delete", *key), lambda: write_statements.deletion(made, kind, versioned=versions is not None)
    )
    asking = plans.get(("ask", *key, "delete"), lambda: write_statements.asking(made, kind, made.rules.delete))
    bound = _bound(work, {"expected": _listed(versions)}, key=id)

    def job() -> Steps:
        rows = yield deletion.sql, deletion.bind(bound)
        if not rows:
            yield from write_statements.why_not(made, asking, bound, "delete")
        return Written(None, (Change(made.name, id, "deleted"),))

    await work.write(Wide(job))


def found(plan: Plan, made: Shape, id: str, rows: Rows, values: Values, signer: Signer) -> Found:
    """What the step of a record's plan brought, or `NotFound`."""
    if not rows:
        raise write_statements.missing(made, id)
    text, version, whole = rows[0]
    return Found(plan.finish(text, values, signer), version, bool(whole))


async def _signer(work: Work, selection: Selection) -> Signer:
    """What signs the cursors of lists below a record; it is not waited for where there are none."""
    signer = work.directory.signing.at_hand
    return await work.directory.signing.signer() if signer is UNKNOWN and has_lists(selection) else signer


async def _read(work: Work, plan: Plan, step: Step) -> list[Rows]:
    """The rows of a plan's statement; `TooComplex` where a total could not be counted in time."""
    try:
        return await work.read([step])
    except OverlongQuery:
        if plan.counts:
            raise TooComplex(UNCOUNTED) from None
        raise


def _bound(work: Work, values: Values, **more: Any) -> dict[str, Any]:
    return {**values, **more, "actor": work.actor.id}


def _listed(versions: frozenset[int] | None) -> str | None:
    return None if versions is None else json.dumps(sorted(versions))


def _page(finish: Any, text: bytes, values: Values, signer: Signer) -> FoundPage:
    if not isinstance(finish, PageFinish):
        return FoundPage(finish(text, values, signer))
    page = finish.stretch(text, values, signer)
    previous = page.cursor(0) if page.has_previous else None
    following = page.cursor(-1) if page.has_next else None
    return FoundPage(finish.json(page), _text(previous), _text(following))


def _text(cursor: bytes | None) -> str | None:
    return None if cursor is None else cursor.decode()
