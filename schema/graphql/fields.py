"""The root fields of `Query` that the planner answers: lists, records by their ids, nodes, and the actor's own user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLField
from strawberry.scalars import ID

from schema.engine.comparison import MOST_VALUES, UUID, bound
from schema.engine.database import Work
from schema.engine.errors import Fault, Invalid
from schema.engine.operations import reading
from schema.engine.selection import Branch, Compare, Far, Page, Rows, Scalar, Selection
from schema.engine.shape import Shape
from schema.engine.sqlite import Rows as Brought
from schema.engine.sqlite import Step
from schema.graphql.declaring import Argument, Member, camel
from schema.graphql.selecting import Details, Operation, Selecting
from schema.graphql.types import Types

NULL = b"null"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The steps that a root field takes, and what makes its JSON of the rows that they bring."""

    steps: Sequence[Step]
    finish: Callable[[Sequence[Brought]], bytes]


NOTHING = Prepared((), lambda rows: NULL)


class RootField(ABC):
    """A root field of `Query`."""

    member: Member

    @abstractmethod
    def prepare(self, work: Work, operation: Operation, definition: GraphQLField, details: Details) -> Prepared:
        """What is to be read for one occurrence of the field; raises what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ListField(RootField):
    """`users`: a page of all records."""

    shape: Shape
    member: Member

    def prepare(self, work: Work, operation: Operation, definition: GraphQLField, details: Details) -> Prepared:
        """One statement, whatever is nested in it."""
        selecting = Selecting(operation)
        branch = selecting.branch(self.shape, definition, details)
        plan = work.list_plan(self.shape, branch)
        values = {**selecting.named.values, "actor": work.actor.id}
        step = plan.statement.sql, plan.statement.bind(values)
        return Prepared([step], lambda rows: plan.finish(rows[0][0][0], values))


@dataclass(frozen=True, slots=True)
class RecordField(RootField):
    """`user(id:)`: one record, or null. `me` is the one whose id the actor has."""

    shape: Shape
    member: Member
    own: bool = False

    def prepare(self, work: Work, operation: Operation, definition: GraphQLField, details: Details) -> Prepared:
        """One statement, whatever is nested in it."""
        selecting = Selecting(operation)
        selection = selecting.record(self.shape, operation.type(self.shape.name), details)
        id = work.actor.id if self.own else _well_formed(operation.arguments(definition, details)["id"])
        return NOTHING if id is None else _one(work, self.shape, id, selection, selecting)


@dataclass(frozen=True, slots=True)
class NodeField(RootField):
    """`node(id:)`: the record of any model that has this id, or null."""

    shapes: Sequence[Shape]
    member: Member

    def prepare(self, work: Work, operation: Operation, definition: GraphQLField, details: Details) -> Prepared:
        """One statement for each model."""
        id = _well_formed(operation.arguments(definition, details)["id"])
        tried: list[Prepared] = []
        for made in self.shapes:
            selecting = Selecting(operation)
            selection = selecting.record(made, operation.type(made.name), details)
            if id is not None:
                tried.append(_one(work, made, id, selection, selecting))

        def finish(rows: Sequence[Brought]) -> bytes:
            found = (one.finish([brought]) for one, brought in zip(tried, rows, strict=True))
            return next((json for json in found if json != NULL), NULL)

        return Prepared([step for one in tried for step in one.steps], finish)


@dataclass(frozen=True, slots=True)
class NodesField(RootField):
    """`nodes(ids:)`: the records that have these ids, in their order, null where there is none."""

    shapes: Sequence[Shape]
    member: Member

    def prepare(self, work: Work, operation: Operation, definition: GraphQLField, details: Details) -> Prepared:
        """One statement for each model."""
        ids = operation.arguments(definition, details)["ids"]
        if len(ids) > MOST_VALUES:
            raise Invalid.of(Fault(("ids",), f"it may have {MOST_VALUES} values, and has {len(ids)}", "invalid"))
        asked = [_well_formed(id) for id in ids]
        lists = [self._list(work, made, operation, details, [id for id in asked if id]) for made in self.shapes]

        def finish(rows: Sequence[Brought]) -> bytes:
            found: dict[str, Any] = {}
            for one, brought in zip(lists, rows, strict=True):
                found |= {item["id"]: item["node"] for item in orjson.loads(one.finish([brought]))["items"]}
            return orjson.dumps([found.get(id) if id else None for id in asked])

        return Prepared([step for one in lists for step in one.steps], finish)

    def _list(self, work: Work, made: Shape, operation: Operation, details: Details, ids: list[str]) -> Prepared:
        selecting = Selecting(operation)
        record = selecting.record(made, operation.type(made.name), details)
        item = Selection((("id", Scalar("id")), ("node", Far(record))))
        branch = Branch((("items", Rows(item)),), Page("most"), where=Compare("id", "in", "ids"))
        values = {**selecting.named.values, **bound(made.fields["id"], "in", "ids", ids), "most": len(ids)}
        values["actor"] = work.actor.id
        plan = work.list_plan(made, branch)
        step = plan.statement.sql, plan.statement.bind(values)
        return Prepared([step], lambda rows: plan.finish(rows[0][0][0], values))


def root_fields(shapes: Sequence[Shape], me: Shape, types: Types) -> dict[str, RootField]:
    """All of them, by their names."""
    id = Argument("id", ID, "The id.", required=True)
    ids = Argument("ids", list[ID], "The ids, at most 250.", required=True)
    node = types.node
    found: list[RootField] = [
        RecordField(me, Member("me", types.record(me) | None, f"The {me.singular} who is asking."), own=True),
        NodeField(shapes, Member("node", node | None, "What has this id, whatever it is.", (id,))),
        NodesField(shapes, Member("nodes", list[node | None], "What has these ids, in their order.", (ids,))),  # type: ignore[valid-type]
    ]
    for made in shapes:
        record, page = types.record(made), types.bare(f"{made.name}Connection")
        one = Member(camel(made.singular), record | None, f"The {made.singular} with this id.", (id,))
        several = Member(camel(made.plural), page, f"All {made.plural}, page by page.", types.arguments(made))
        found += [RecordField(made, one), ListField(made, several)]
    return {field.member.name: field for field in found}


def _one(work: Work, made: Shape, id: str, selection: Selection, selecting: Selecting) -> Prepared:
    plan, values = work.record_plan(made, selection), selecting.named.values
    step = reading(work, made, id, selection, values)
    return Prepared([step], lambda rows: plan.finish(rows[0][0][0], values) if rows[0] else NULL)


def _well_formed(id: str) -> str | None:
    """An id in our spelling; none for what cannot be one."""
    return id.lower() if UUID.fullmatch(id) else None
