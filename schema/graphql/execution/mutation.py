"""A mutation: its input as the verb's data, and its payload read in the verb's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import orjson

from schema.engine.driver import Query
from schema.engine.errors import DirectoryError, FieldError, QueryTooComplex, ValidationFailed
from schema.engine.model import input_models
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.operations import records
from schema.engine.operations.directory import UnitOfWork
from schema.engine.operations.idempotency import idempotency_key, parse_key
from schema.engine.operations.links import link, link_query, unlink
from schema.engine.query.cursors import Signer
from schema.engine.query.planner import Plan
from schema.engine.query.selection import LinkedRecord, Scalar, Selection
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import Values
from schema.graphql.execution.context import Context
from schema.graphql.execution.selection_builder import Details, SelectionBuilder
from schema.graphql.types.declarations import camel_case, snake_case
from schema.graphql.types.mutations import Mutation

Read = tuple[Query, Callable[[Rows], dict[str, Any]]]


async def perform(mutation: Mutation, context: Context, key: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the mutation says, and give its payload by the keys that it is asked under."""
    try:
        context.operation.signer = await context.directory.cursor_key.signer()
        if mutation.relation:
            return await _link(mutation, context, key, _plain(given))
        if mutation.deed == "delete":
            return await _delete(mutation, context, key, _plain(given))
        return await _write(mutation, context, key, _plain(given))
    except DirectoryError as error:
        raise _in_graphql_words(error) from error


async def _write(mutation: Mutation, context: Context, key: str, data: dict[str, Any]) -> dict[str, Any]:
    """Create, update, or a model's own verb."""
    resource, unit_of_work, selecting = mutation.resource, context.unit_of_work, SelectionBuilder(context.operation)
    selection = _payload(mutation, context, key, selecting)
    values = selecting.named.values
    _check(context, selecting)
    id, versions = str(data.pop("id", "")).lower(), _versions(data.pop("if_version", None))
    if mutation.deed == "create":
        unit_of_work = _work(context, key, data)
        accepted = input_models.create_input(resource).read(data)
        _, found = await records.create(unit_of_work, resource, accepted, selection, values)
    elif mutation.action:
        accepted = input_models.action_input(resource, mutation.action).read(data)
        found = await records.call_action(
            unit_of_work, resource, mutation.action, id, accepted, selection, values, versions=versions
        )
    else:
        accepted = input_models.update_input(resource).read(data)
        found = await records.update(unit_of_work, resource, id, accepted, selection, values, versions=versions)
    payload: dict[str, Any] = orjson.loads(found.json)
    if resource.shown_once and mutation.deed == "create":
        payload |= {
            name: found.shown_once for name, _ in _below(mutation, context, key, camel_case(resource.shown_once.name))
        }
    return payload


def _work(context: Context, key: str, data: dict[str, Any]) -> UnitOfWork:
    """A transaction of the actor's own; one that is done once, if the input has a key."""
    chosen = data.pop("idempotency_key", None)
    if chosen is None:
        return context.unit_of_work
    try:
        checked = parse_key(chosen)
    except ValueError as error:
        raise ValidationFailed.of(FieldError(("idempotency_key",), str(error), "invalid")) from None
    # The same operation of the same document with the same variables: the selection is a part of the request.
    location, operation = context.roots[key][0].node.loc, context.operation
    document, name = location.source.body if location else "", operation.node.name
    request = ("graphql", key, document, name and name.value, operation.variables.coerced, data)
    return context.directory.unit_of_work(context.actor, idempotency_key(checked, *request))


async def _delete(mutation: Mutation, context: Context, key: str, data: dict[str, Any]) -> dict[str, Any]:
    id = str(data["id"]).lower()
    await records.delete(context.unit_of_work, mutation.resource, id, versions=_versions(data.get("if_version")))
    return {name: id for name, _ in _below(mutation, context, key, "deletedId")}


async def _link(mutation: Mutation, context: Context, key: str, data: dict[str, Any]) -> dict[str, Any]:
    relation, unit_of_work = mutation.relation, context.unit_of_work
    assert relation is not None
    id, far = str(data.pop(relation.near)).lower(), str(data.pop(relation.far)).lower()
    reads = [
        *_ends(mutation.resource, id, mutation, context, key),
        *_ends(resource_of(relation.target), far, mutation, context, key),
        *_own(relation, id, far, mutation, context, key),
    ]
    steps = [step for step, _ in reads]
    if mutation.deed == "unlink":
        brought = await unlink(unit_of_work, relation, id, far, steps)
    else:
        accepted = input_models.link_input(relation).read(data)
        brought = await link(unit_of_work, relation, id, far, accepted, steps, only_change=mutation.deed == "set")
    payload: dict[str, Any] = {}
    for (_, finish), rows in zip(reads, brought, strict=True):
        payload |= finish(rows)
    return payload


def _ends(resource: Resource, id: str, mutation: Mutation, context: Context, key: str) -> Iterator[Read]:
    """One of the two records, under each key that it is asked under."""
    for name, found in _below(mutation, context, key, camel_case(resource.singular)):
        selecting = SelectionBuilder(context.operation)
        selection = selecting.record(resource, context.operation.type(resource.name), found)
        values = selecting.named.values
        _check(context, selecting)
        plan = context.unit_of_work.record_plan(resource, selection)
        step = context.unit_of_work.record_query(plan, id, values)
        yield step, partial(_record, name, plan, values, context.operation.signer)


def _record(name: str, plan: Plan, values: Values, signer: Signer, rows: Rows) -> dict[str, Any]:
    return {name: orjson.loads(plan.encode(rows[0][0], values, signer)) if rows else None}


def _own(relation: Relation, id: str, far: str, mutation: Mutation, context: Context, key: str) -> Iterator[Read]:
    """What the link says of its own."""
    picks = [
        (name, Scalar(field.name, True, "name"))
        for field in relation.link_fields
        for name, _ in _below(mutation, context, key, camel_case(field.name))
    ]
    if picks:
        step, finish = link_query(context.unit_of_work, relation, id, far, Selection(tuple(picks)))
        empty = dict.fromkeys((name for name, _ in picks), None)
        yield step, lambda rows: empty if (found := finish(rows)) is None else orjson.loads(found)


def _payload(mutation: Mutation, context: Context, key: str, selecting: SelectionBuilder) -> Selection:
    """The record, under each key that it is asked under."""
    resource = mutation.resource
    kind = context.operation.type(resource.name)
    found = _below(mutation, context, key, camel_case(resource.singular))
    return Selection(tuple((name, LinkedRecord(selecting.record(resource, kind, details))) for name, details in found))


def _below(mutation: Mutation, context: Context, key: str, field: str) -> Iterator[tuple[str, Details]]:
    """The keys that a field of the payload is asked under."""
    kind = context.operation.type(mutation.payload)
    for name, details in context.operation.below(kind, context.roots[key]).items():
        if details[0].node.name.value == field:
            yield name, details


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """An input in the engine's words: names in snake_case, enums by their values."""
    return {snake_case(name): getattr(value, "value", value) for name, value in given.items()}


def _check(context: Context, selecting: SelectionBuilder) -> None:
    """`TooComplex` if the payload could bring back too many records."""
    if (records := selecting.records()) > context.most_records:
        raise QueryTooComplex(f"the payload could bring back {records} records; {context.most_records} are allowed")


def _versions(version: int | None) -> frozenset[int] | None:
    return None if version is None else frozenset([version])


def _in_graphql_words(error: DirectoryError) -> DirectoryError:
    """The same error, its faults pointing into the arguments."""
    field_errors = [
        FieldError(
            ("input", *(camel_case(part) if isinstance(part, str) else part for part in field_error.path)),
            field_error.message,
            field_error.code,
        )
        for field_error in error.field_errors
    ]
    if isinstance(error, ValidationFailed):
        return ValidationFailed.of(*field_errors)
    return type(error)(error.detail, field_errors)
