"""The root fields of `Query` that the planner answers: lists, records by their ids, nodes, and the actor's own user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import GraphQLField
from strawberry.scalars import ID

from schema.engine.driver import ListQuery, Query
from schema.engine.errors import FieldError, ValidationFailed
from schema.engine.model.resource import Resource
from schema.engine.operations.directory import UnitOfWork
from schema.engine.query.filters import MAX_VALUES, UUID, filter_values
from schema.engine.query.planner import Plan
from schema.engine.query.selection import Compare, Items, LinkedRecord, ListSelection, Page, Scalar, Selection
from schema.engine.sql.record_lookup import Rows as ResultRows
from schema.engine.sql.statement import Values
from schema.graphql.execution.selection_builder import Details, Operation, SelectionBuilder
from schema.graphql.types.declarations import Argument, Member, camel_case
from schema.graphql.types.records import Types

NULL = b"null"


@dataclass(slots=True)
class Prepared:
    """The steps that a root field takes, what makes its JSON of their rows, and how many records that could be.

    `kinds`: of nodes, which JSON need not say, the names of their types, once the field is finished.
    `counts`: a total is counted in it.
    """

    steps: Sequence[Query]
    finish: Callable[[Sequence[ResultRows]], bytes]
    records: int = 0
    kinds: list[str | None] = field(default_factory=list)
    counts: bool = False


class RootField(ABC):
    """A root field of `Query`."""

    member: Member

    @abstractmethod
    def prepare(
        self, unit_of_work: UnitOfWork, operation: Operation, definition: GraphQLField, details: Details
    ) -> Prepared:
        """What is to be read for one occurrence of the field; raises what is wrong with it."""


class PlannedField(RootField):
    """One with a plan, which can be kept: it depends on the document and on the stretches of its connections alone."""

    def prepare(
        self, unit_of_work: UnitOfWork, operation: Operation, definition: GraphQLField, details: Details
    ) -> Prepared:
        """One statement, whatever is nested in it."""
        selecting = SelectionBuilder(operation)
        plan = self.plan(unit_of_work, selecting, definition, details)
        found = self.bound(unit_of_work, operation, definition, details, plan, selecting.named.values)
        found.records = selecting.records()
        return found

    @abstractmethod
    def plan(
        self, unit_of_work: UnitOfWork, selecting: SelectionBuilder, definition: GraphQLField, details: Details
    ) -> Plan:
        """The plan for one occurrence of the field."""

    @abstractmethod
    def bound(
        self,
        unit_of_work: UnitOfWork,
        operation: Operation,
        definition: GraphQLField,
        details: Details,
        plan: Plan,
        values: Values,
    ) -> Prepared:
        """The plan with the values of one request."""


@dataclass(frozen=True, slots=True)
class ListField(PlannedField):
    """`users`: a page of all records."""

    resource: Resource
    member: Member

    def plan(
        self, unit_of_work: UnitOfWork, selecting: SelectionBuilder, definition: GraphQLField, details: Details
    ) -> Plan:
        """That of the list."""
        return unit_of_work.list_plan(self.resource, selecting.branch(self.resource, definition, details))

    def bound(
        self,
        unit_of_work: UnitOfWork,
        operation: Operation,
        definition: GraphQLField,
        details: Details,
        plan: Plan,
        values: Values,
    ) -> Prepared:
        """Its one row is the page."""
        given = {**values, "actor": unit_of_work.actor.id}
        step = ListQuery(plan.statement.sql, plan.statement.bind(given))
        finish = lambda rows: plan.encode(rows[0][0][0], given, operation.signer)  # noqa: E731
        return Prepared([step], finish, counts=plan.counts)


@dataclass(frozen=True, slots=True)
class RecordField(PlannedField):
    """`user(id:)`: one record, or null. `me` is the one whose id the actor has."""

    resource: Resource
    member: Member
    own: bool = False

    def plan(
        self, unit_of_work: UnitOfWork, selecting: SelectionBuilder, definition: GraphQLField, details: Details
    ) -> Plan:
        """That of the record."""
        kind = selecting.operation.type(self.resource.name)
        return unit_of_work.record_plan(self.resource, selecting.record(self.resource, kind, details))

    def bound(
        self,
        unit_of_work: UnitOfWork,
        operation: Operation,
        definition: GraphQLField,
        details: Details,
        plan: Plan,
        values: Values,
    ) -> Prepared:
        """Its row, if there is one, is the record."""
        id = unit_of_work.actor.id if self.own else _well_formed(operation.arguments(definition, details)["id"])
        return Prepared((), lambda rows: NULL) if id is None else _one(unit_of_work, operation, plan, id, values)


@dataclass(frozen=True, slots=True)
class NodeField(RootField):
    """`node(id:)`: the record of any model that has this id, or null."""

    resources: Sequence[Resource]
    member: Member

    def prepare(
        self, unit_of_work: UnitOfWork, operation: Operation, definition: GraphQLField, details: Details
    ) -> Prepared:
        """One statement for each model."""
        id = _well_formed(operation.arguments(definition, details)["id"])
        tried: list[tuple[str, Prepared]] = []
        for resource in self.resources:
            selecting = SelectionBuilder(operation)
            selection = selecting.record(resource, operation.type(resource.name), details)
            if id is not None and _reads(resource, unit_of_work):
                found = _one(
                    unit_of_work, operation, unit_of_work.record_plan(resource, selection), id, selecting.named.values
                )
                found.records = selecting.records()
                tried.append((resource.name, found))

        def finish(rows: Sequence[ResultRows]) -> bytes:
            for (kind, one), brought in zip(tried, rows, strict=True):
                if (json := one.finish([brought])) != NULL:
                    whole.kinds.append(kind)
                    return json
            return NULL

        most = max((one.records for _, one in tried), default=0)
        counts = any(one.counts for _, one in tried)
        whole = Prepared([step for _, one in tried for step in one.steps], finish, most, counts=counts)
        return whole


@dataclass(frozen=True, slots=True)
class NodesField(RootField):
    """`nodes(ids:)`: the records that have these ids, in their order, null where there is none."""

    resources: Sequence[Resource]
    member: Member

    def prepare(
        self, unit_of_work: UnitOfWork, operation: Operation, definition: GraphQLField, details: Details
    ) -> Prepared:
        """One statement for each model."""
        ids = operation.arguments(definition, details)["ids"]
        if len(ids) > MAX_VALUES:
            raise ValidationFailed.of(
                FieldError(("ids",), f"it may have {MAX_VALUES} values, and has {len(ids)}", "invalid")
            )
        asked = [_well_formed(id) for id in ids]
        lists = [
            self._list(unit_of_work, resource, operation, details, [id for id in asked if id])
            for resource in self.resources
        ]

        def finish(rows: Sequence[ResultRows]) -> bytes:
            found: dict[str | None, tuple[str, Any]] = {}
            brought = iter(rows)
            for resource, one in zip(self.resources, lists, strict=True):
                page = orjson.loads(one.finish([next(brought) for _ in one.steps]))
                found |= {item["id"]: (resource.name, item["node"]) for item in page["items"]}
            nodes = [found.get(id, (None, None)) for id in asked]
            whole.kinds.extend(kind for kind, _ in nodes)
            return orjson.dumps([node for _, node in nodes])

        most = max((one.records for one in lists), default=0)
        counts = any(one.counts for one in lists)
        whole = Prepared([step for one in lists for step in one.steps], finish, most, counts=counts)
        return whole

    def _list(
        self, unit_of_work: UnitOfWork, resource: Resource, operation: Operation, details: Details, ids: list[str]
    ) -> Prepared:
        if not _reads(resource, unit_of_work):
            return Prepared((), lambda rows: b'{"items":[]}')
        selecting = SelectionBuilder(operation)
        record = selecting.record(resource, operation.type(resource.name), details)
        item = Selection((("id", Scalar("id")), ("node", LinkedRecord(record))))
        branch = ListSelection((("items", Items(item)),), Page("most"), where=Compare("id", "in", "ids"))
        values = {**selecting.named.values, **filter_values(resource.fields["id"], "in", "ids", ids), "most": len(ids)}
        values["actor"] = unit_of_work.actor.id
        plan = unit_of_work.list_plan(resource, branch)
        step = ListQuery(plan.statement.sql, plan.statement.bind(values))
        most = len(ids) + selecting.records(len(ids))
        finish = lambda rows: plan.encode(rows[0][0][0], values, operation.signer)  # noqa: E731
        return Prepared([step], finish, most, counts=plan.counts)


def root_fields(resources: Sequence[Resource], me: Resource, types: Types) -> dict[str, RootField]:
    """All of them, by their names."""
    id = Argument("id", ID, "The id.", required=True)
    ids = Argument("ids", list[ID], "The ids, at most 250.", required=True)
    node = types.node
    found: list[RootField] = [
        RecordField(me, Member("me", types.record(me) | None, f"The {me.singular} who is asking."), own=True),
        NodeField(resources, Member("node", node | None, "What has this id, whatever it is.", (id,))),
        NodesField(resources, Member("nodes", list[node | None], "What has these ids, in their order.", (ids,))),  # type: ignore[valid-type]
    ]
    for resource in resources:
        record, page = types.record(resource), types.bare(f"{resource.name}Connection")
        one = Member(camel_case(resource.singular), record | None, f"The {resource.singular} with this id.", (id,))
        several = Member(
            camel_case(resource.plural), page, f"All {resource.plural}, page by page.", types.arguments(resource)
        )
        found += [RecordField(resource, one), ListField(resource, several)]
    return {field.member.name: field for field in found}


def _reads(resource: Resource, unit_of_work: UnitOfWork) -> bool:
    """Whether there may be a record that the actor sees."""
    kind = unit_of_work.actor.profile
    return kind.in_scope(resource.plural, "read") and resource.rules.read.where(resource.table, kind) is not False


def _one(unit_of_work: UnitOfWork, operation: Operation, plan: Plan, id: str, values: Values) -> Prepared:
    step = unit_of_work.record_query(plan, id, values)
    finish = lambda rows: plan.encode(rows[0][0][0], values, operation.signer) if rows[0] else NULL  # noqa: E731
    return Prepared([step], finish, counts=plan.counts)


def _well_formed(id: str) -> str | None:
    """An id in our spelling; none for what cannot be one."""
    return id.lower() if UUID.fullmatch(id) else None
