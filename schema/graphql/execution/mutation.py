"""Runs a mutation: its input becomes the data of an operation, and its payload is read in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from graphql.execution.collect_fields import FieldDetailsList

from schema.engine.driver import Query
from schema.engine.errors import DirectoryError, FieldError, QueryTooComplex, ValidationFailed
from schema.engine.model import input_models
from schema.engine.model.names import camel_case, snake_case
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.operations import records
from schema.engine.operations.idempotency import IdempotencyKey, parse_key
from schema.engine.operations.links import link, link_query, unlink
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.cursors import Signer
from schema.engine.query.planner import Plan, plan_record
from schema.engine.query.selection import LinkedRecord, Scalar, Selection
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import Values
from schema.graphql.execution.context import Context
from schema.graphql.execution.selection_builder import SelectionBuilder
from schema.graphql.types.mutations import Mutation

# A query for a part of a payload, and the function that makes this part of its rows.
PayloadQuery = tuple[Query, Callable[[Rows], dict[str, Any]]]


async def execute_mutation(mutation: Mutation, context: Context, key: str, input: Mapping[str, Any]) -> dict[str, Any]:
    """Run a mutation field, in a transaction of its own; returns its payload by response keys."""
    execution = _MutationExecution(mutation, context, key)
    # The engine's terms: names in snake_case, enums by their values.
    data = {snake_case(name): getattr(value, "value", value) for name, value in input.items()}
    try:
        context.operation.signer = await context.directory.cursor_key.signer()
        if mutation.relation:
            return await execution.change_link(mutation.relation, data)
        if mutation.operation == "delete":
            return await execution.delete(data)
        return await execution.write(data)
    except DirectoryError as error:
        raise _with_argument_paths(error) from error


@dataclass(frozen=True, slots=True)
class _MutationExecution:
    """One mutation field of an operation; `key` is its response key."""

    mutation: Mutation
    context: Context
    key: str

    async def write(self, data: dict[str, Any]) -> dict[str, Any]:
        """Create, update, or run an action of the model."""
        resource, unit_of_work = self.mutation.resource, self.context.unit_of_work
        builder = SelectionBuilder(self.context.operation)
        selection = self._record_selection(builder)
        values = builder.parameters.values
        id, versions = str(data.pop("id", "")).lower(), _versions(data.pop("if_version", None))
        if self.mutation.operation == "create":
            unit_of_work = self._idempotent_unit_of_work(data)
            accepted = input_models.create_input(resource).read(data)
            _, record = await records.create(unit_of_work, resource, accepted, selection, values)
        elif action := self.mutation.action:
            accepted = input_models.action_input(resource, action).read(data)
            record = await records.call_action(
                unit_of_work, resource, action, id, accepted, selection, values, versions=versions
            )
        else:
            accepted = input_models.update_input(resource).read(data)
            record = await records.update(unit_of_work, resource, id, accepted, selection, values, versions=versions)
        payload: dict[str, Any] = orjson.loads(record.json)
        if resource.shown_once and self.mutation.operation == "create":
            payload |= {key: record.shown_once for key, _ in self._payload_fields(camel_case(resource.shown_once.name))}
        return payload

    async def delete(self, data: dict[str, Any]) -> dict[str, Any]:
        id, versions = str(data["id"]).lower(), _versions(data.get("if_version"))
        await records.delete(self.context.unit_of_work, self.mutation.resource, id, versions=versions)
        return {key: id for key, _ in self._payload_fields("deletedId")}

    async def change_link(self, relation: Relation, data: dict[str, Any]) -> dict[str, Any]:
        """Link, unlink, or change the fields of a link."""
        unit_of_work = self.context.unit_of_work
        id, target_id = str(data.pop(relation.local_key)).lower(), str(data.pop(relation.remote_key)).lower()
        payload_queries = [
            *self._record_queries(self.mutation.resource, id),
            *self._record_queries(resource_of(relation.target), target_id),
            *self._link_queries(relation, id, target_id),
        ]
        queries = [query for query, _ in payload_queries]
        if self.mutation.operation == "unlink":
            results = await unlink(unit_of_work, relation, id, target_id, queries)
        else:
            accepted = input_models.link_input(relation).read(data)
            only_change = self.mutation.operation == "set"
            results = await link(unit_of_work, relation, id, target_id, accepted, queries, only_change=only_change)
        payload: dict[str, Any] = {}
        for (_, finish), rows in zip(payload_queries, results, strict=True):
            payload |= finish(rows)
        return payload

    def _record_selection(self, builder: SelectionBuilder) -> Selection:
        """The record, under each key that the payload has it."""
        resource = self.mutation.resource
        fields = self._payload_fields(camel_case(resource.singular))
        selection = Selection(tuple((key, LinkedRecord(builder.record(resource, details))) for key, details in fields))
        self._check_records(builder)
        return selection

    def _idempotent_unit_of_work(self, data: dict[str, Any]) -> UnitOfWork:
        """A unit of work that runs once for each idempotency key, if the input has one."""
        context, key = self.context, data.pop("idempotency_key", None)
        if key is None:
            return context.unit_of_work
        try:
            key = parse_key(key)
        except ValueError as error:
            raise ValidationFailed.of(FieldError(("idempotency_key",), str(error), "invalid")) from None
        # The same operation of the same document with the same variables: the selection is a part of the request.
        operation, location = context.operation, context.root_fields[self.key].details[0].node.loc
        document, name = location.source.body if location else "", operation.node.name
        request = ("graphql", self.key, document, name and name.value, operation.variables.coerced, data)
        return context.directory.unit_of_work(context.actor, IdempotencyKey.of(key, *request))

    def _record_queries(self, resource: Resource, id: str) -> Iterator[PayloadQuery]:
        """Query one of the two records, for each key that the payload has it under."""
        operation, unit_of_work = self.context.operation, self.context.unit_of_work
        for key, details in self._payload_fields(camel_case(resource.singular)):
            builder = SelectionBuilder(operation)
            plan = unit_of_work.plan(plan_record, resource, builder.record(resource, details))
            self._check_records(builder)
            values = builder.parameters.values
            yield unit_of_work.record_query(plan, id, values), partial(_record, key, plan, values, operation.signer)

    def _link_queries(self, relation: Relation, id: str, target_id: str) -> Iterator[PayloadQuery]:
        members = [
            (key, Scalar(field.name, True, "name"))
            for field in relation.link_fields
            for key, _ in self._payload_fields(camel_case(field.name))
        ]
        if members:
            query, encode = link_query(self.context.unit_of_work, relation, id, target_id, Selection(tuple(members)))
            empty = dict.fromkeys((key for key, _ in members), None)
            yield query, lambda rows: empty if (json := encode(rows)) is None else orjson.loads(json)

    def _payload_fields(self, name: str) -> Iterator[tuple[str, FieldDetailsList]]:
        """The response keys under which the payload has a field, with what is selected of it."""
        operation = self.context.operation
        payload_type = operation.object_type(self.mutation.payload)
        subfields = operation.subfields(payload_type, self.context.root_fields[self.key].details)
        for key, details in subfields.items():
            if details[0].node.name.value == name:
                yield key, details

    def _check_records(self, builder: SelectionBuilder) -> None:
        records, allowed = builder.max_records(), self.context.max_records
        if records > allowed:
            raise QueryTooComplex(f"the payload must return at most {allowed} records, could return {records}")


def _record(key: str, plan: Plan, values: Values, signer: Signer, rows: Rows) -> dict[str, Any]:
    return {key: orjson.loads(plan.encode(rows[0][0], values, signer)) if rows else None}


def _versions(version: int | None) -> frozenset[int] | None:
    return None if version is None else frozenset([version])


def _with_argument_paths(error: DirectoryError) -> DirectoryError:
    """The same error, its field errors pointing into the arguments."""
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
