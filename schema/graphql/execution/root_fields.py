"""The root fields of `Query` that the planner answers: lists, records by id, `node`, `nodes`, and `me`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from strawberry.scalars import ID

from schema.engine.driver import ListQuery, Query
from schema.engine.errors import FieldError, ValidationFailed
from schema.engine.model.names import camel_case
from schema.engine.model.resource import Resource
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.filters import MAX_IN_VALUES, UUID, filter_values
from schema.engine.query.planner import Plan, plan_list, plan_record
from schema.engine.query.selection import Compare, Items, LinkedRecord, ListSelection, Page, Scalar, Selection
from schema.engine.sql.record_lookup import Rows
from schema.engine.sql.statement import Values
from schema.graphql.execution.context import Operation, SelectedField
from schema.graphql.execution.selection_builder import SelectionBuilder
from schema.graphql.types.declarations import Argument, Member
from schema.graphql.types.records import Types

NULL = b"null"


@dataclass(slots=True)
class BoundField:
    """A root field with the values of one request: its queries, and the function that makes JSON of their rows.

    `max_records` bounds the records it can return. `type_names` are the types of nodes, known after `finish`. `counts`:
    a query counts a total.
    """

    queries: Sequence[Query]
    finish: Callable[[Sequence[Rows]], bytes]
    max_records: int = 0
    type_names: list[str | None] = field(default_factory=list)
    counts: bool = False


@dataclass(frozen=True, slots=True)
class ListField:
    """`users`: a page of all records."""

    resource: Resource
    member: Member

    def plan(self, unit_of_work: UnitOfWork, builder: SelectionBuilder, selected: SelectedField) -> Plan:
        return unit_of_work.plan(plan_list, self.resource, builder.connection(self.resource, selected))

    def bind(
        self, unit_of_work: UnitOfWork, operation: Operation, selected: SelectedField, plan: Plan, values: Values
    ) -> BoundField:
        """Bind the values of one request; the query's one row holds the page."""
        return _bound_list(unit_of_work, operation, plan, {**values, "actor": unit_of_work.actor.id})


@dataclass(frozen=True, slots=True)
class RecordField:
    """`user(id:)`: one record, or null. `me` is the record that has the actor's id."""

    resource: Resource
    member: Member
    is_me: bool = False

    def plan(self, unit_of_work: UnitOfWork, builder: SelectionBuilder, selected: SelectedField) -> Plan:
        return unit_of_work.plan(plan_record, self.resource, builder.record(self.resource, selected.details))

    def bind(
        self, unit_of_work: UnitOfWork, operation: Operation, selected: SelectedField, plan: Plan, values: Values
    ) -> BoundField:
        """Bind the values of one request; the query has one row at most, the record."""
        id = unit_of_work.actor.id if self.is_me else _uuid(operation.arguments(selected)["id"])
        if id is None:
            return BoundField((), lambda rows: NULL)
        return _bound_record(unit_of_work, operation, plan, id, values)


# Fields whose plan depends only on the document and on the arguments of its connections.
PlannedField = ListField | RecordField


@dataclass(frozen=True, slots=True)
class NodeField:
    """`node(id:)`: the record of any model that has this id, or null."""

    resources: Sequence[Resource]
    member: Member

    def bind(self, unit_of_work: UnitOfWork, operation: Operation, selected: SelectedField) -> BoundField:
        """Plan and bind one query for each model."""
        id = _uuid(operation.arguments(selected)["id"])
        candidates: list[tuple[str, BoundField]] = []
        for resource in self.resources:
            builder = SelectionBuilder(operation)
            selection = builder.record(resource, selected.details)
            if id is not None and _is_readable(resource, unit_of_work):
                plan = unit_of_work.plan(plan_record, resource, selection)
                record = _bound_record(unit_of_work, operation, plan, id, builder.parameters.values)
                record.max_records = builder.max_records()
                candidates.append((resource.name, record))

        def finish(rows: Sequence[Rows]) -> bytes:
            for (type_name, record), record_rows in zip(candidates, rows, strict=True):
                if (json := record.finish([record_rows])) != NULL:
                    node.type_names.append(type_name)
                    return json
            return NULL

        node = _merged([record for _, record in candidates], finish)
        return node


@dataclass(frozen=True, slots=True)
class NodesField:
    """`nodes(ids:)`: the records that have these ids, in the ids' order, null where there is none."""

    resources: Sequence[Resource]
    member: Member

    def bind(self, unit_of_work: UnitOfWork, operation: Operation, selected: SelectedField) -> BoundField:
        """Plan and bind one query for each model."""
        sent = operation.arguments(selected)["ids"]
        if len(sent) > MAX_IN_VALUES:
            message = f"must have at most {MAX_IN_VALUES} values, got {len(sent)}"
            raise ValidationFailed.of(FieldError(("ids",), message, "invalid"))
        ids = [_uuid(id) for id in sent]
        valid = [id for id in ids if id]
        readable = [resource for resource in self.resources if _is_readable(resource, unit_of_work)]
        lists = [self._list(unit_of_work, resource, operation, selected, valid) for resource in readable]

        def finish(rows: Sequence[Rows]) -> bytes:
            records: dict[str | None, tuple[str, Any]] = {}
            for resource, bound_list, list_rows in zip(readable, lists, rows, strict=True):
                page = orjson.loads(bound_list.finish([list_rows]))
                records |= {item["id"]: (resource.name, item["node"]) for item in page["items"]}
            typed_records = [records.get(id, (None, None)) for id in ids]
            nodes.type_names.extend(type_name for type_name, _ in typed_records)
            return orjson.dumps([record for _, record in typed_records])

        nodes = _merged(lists, finish)
        return nodes

    def _list(
        self,
        unit_of_work: UnitOfWork,
        resource: Resource,
        operation: Operation,
        selected: SelectedField,
        ids: list[str],
    ) -> BoundField:
        builder = SelectionBuilder(operation)
        record = builder.record(resource, selected.details)
        item = Selection((("id", Scalar("id")), ("node", LinkedRecord(record))))
        selection = ListSelection((("items", Items(item)),), Page("size"), where=Compare("id", "in", "ids"))
        values = {**builder.parameters.values, **filter_values(resource.fields["id"], "in", "ids", ids)}
        values |= {"size": len(ids), "actor": unit_of_work.actor.id}
        bound_list = _bound_list(unit_of_work, operation, unit_of_work.plan(plan_list, resource, selection), values)
        bound_list.max_records = len(ids) + builder.max_records(len(ids))
        return bound_list


RootField = PlannedField | NodeField | NodesField


def root_fields(resources: Sequence[Resource], me: Resource, types: Types) -> dict[str, RootField]:
    """All root fields by name; `me` is the model of actors."""
    id = Argument("id", ID, "The id.", required=True)
    ids = Argument("ids", list[ID], f"The ids, at most {MAX_IN_VALUES}.", required=True)
    node: Any = types.node
    nodes = Member("nodes", list[node | None], "The records with these ids, in their order.", (ids,))
    fields: list[RootField] = [
        RecordField(me, Member("me", types.record(me) | None, f"The authenticated {me.singular}."), is_me=True),
        NodeField(resources, Member("node", node | None, "The record with this id, of any type.", (id,))),
        NodesField(resources, nodes),
    ]
    for resource in resources:
        record, page = types.record(resource), types.declare(f"{resource.name}Connection")
        single = Member(camel_case(resource.singular), record | None, f"The {resource.singular} with this id.", (id,))
        plural = Member(camel_case(resource.plural), page, f"All {resource.plural}.", types.arguments(resource))
        fields += [RecordField(resource, single), ListField(resource, plural)]
    return {field.member.name: field for field in fields}


def _bound_list(unit_of_work: UnitOfWork, operation: Operation, plan: Plan, values: Values) -> BoundField:
    query = ListQuery(plan.statement.sql, plan.statement.bind(values))
    return BoundField([query], lambda rows: plan.encode(rows[0][0][0], values, operation.signer), counts=plan.counts)


def _bound_record(unit_of_work: UnitOfWork, operation: Operation, plan: Plan, id: str, values: Values) -> BoundField:
    query = unit_of_work.record_query(plan, id, values)
    return BoundField(
        [query],
        lambda rows: plan.encode(rows[0][0][0], values, operation.signer) if rows[0] else NULL,
        counts=plan.counts,
    )


def _uuid(id: str) -> str | None:
    """The id in lower case; None if it is not a UUID."""
    return id.lower() if UUID.fullmatch(id) else None


def _is_readable(resource: Resource, unit_of_work: UnitOfWork) -> bool:
    profile = unit_of_work.actor.profile
    return profile.in_scope(resource.plural, "read") and resource.rules.read.where(resource.table, profile) is not False


def _merged(fields: Sequence[BoundField], finish: Callable[[Sequence[Rows]], bytes]) -> BoundField:
    """One field with the queries of several, which look for the same records."""
    return BoundField(
        [query for bound_field in fields for query in bound_field.queries],
        finish,
        max((bound_field.max_records for bound_field in fields), default=0),
        counts=any(bound_field.counts for bound_field in fields),
    )
