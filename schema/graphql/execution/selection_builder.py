"""From the fields of a GraphQL document to a `Selection`.

graphql-core does what the specification defines: it merges fields, expands fragments, evaluates `@skip` and `@include`,
and coerces arguments. `SelectionBuilder` translates the result, one root field at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from graphql import GraphQLObjectType, get_named_type
from graphql.execution.collect_fields import FieldDetailsList

from schema.engine.model.field import ResourceField
from schema.engine.model.names import camel_case
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query.selection import (  # fmt: skip
    Constant,
    Cursor,
    Items,
    LinkedRecord,
    ListSelection,
    MemberSource,
    PageInfo,
    PageInfoField,
    Scalar,
    Selection,
    ToOne,
    Total,
)
from schema.graphql.execution.connection_arguments import ConnectionArguments, PlanParameters, connection_arguments
from schema.graphql.execution.context import Operation, SelectedField

T = TypeVar("T")
_PAGE_INFO: dict[str, PageInfoField] = {
    "hasNextPage": "has_next", "hasPreviousPage": "has_previous", "startCursor": "start", "endCursor": "end",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection field of a document. `parent` is the index, in its root field, of the connection around it."""

    selected: SelectedField
    resource: Resource
    relation: str | None
    parent: int | None

    def arguments(self, operation: Operation, parameters: PlanParameters) -> ConnectionArguments:
        """Read the arguments of one request, and add their values to `parameters`."""
        arguments = operation.arguments(self.selected)
        return connection_arguments(arguments, self.resource, self.relation, parameters, operation.signer)


def max_records(
    connections: Sequence[Connection],
    arguments: Sequence[ConnectionArguments],
    values: Mapping[str, Any],
    parents: int = 1,
) -> int:
    """How many records a root field's connections can return below `parents` records: page sizes, multiplied down."""
    counts: list[int] = []
    for connection, read in zip(connections, arguments, strict=True):
        above = parents if connection.parent is None else counts[connection.parent]
        counts.append(values[read.page.size] * above)
    return sum(counts)


@dataclass(slots=True)
class SelectionBuilder:
    """Builds the selection of one root field; collects its connections, their arguments, and the parameters."""

    operation: Operation
    parameters: PlanParameters = field(init=False)
    connections: list[Connection] = field(default_factory=list)
    arguments: list[ConnectionArguments] = field(default_factory=list)
    _parent: int | None = None

    def __post_init__(self) -> None:
        self.parameters = PlanParameters(self.operation.conditions)

    def max_records(self, parents: int = 1) -> int:
        return max_records(self.connections, self.arguments, self.parameters.values, parents)

    def record(self, resource: Resource, details: FieldDetailsList) -> Selection:
        record_type = self.operation.object_type(resource.name)
        return Selection(self._members(record_type, details, partial(self._source, resource)))

    def connection(
        self, resource: Resource, selected: SelectedField, relation: Relation | None = None
    ) -> ListSelection:
        connection_type = get_named_type(selected.definition.type)
        assert isinstance(connection_type, GraphQLObjectType)
        connection = Connection(selected, resource, relation.name if relation else None, self._parent)
        arguments = connection.arguments(self.operation, self.parameters)
        self.connections.append(connection)
        self.arguments.append(arguments)
        outer, self._parent = self._parent, len(self.connections) - 1
        member = partial(self._member, resource, connection_type, relation)
        members = self._members(connection_type, selected.details, member)
        self._parent = outer
        return ListSelection(members, arguments.page, connection.relation, arguments.where, arguments.order)

    def _members(
        self, object_type: GraphQLObjectType, details: FieldDetailsList, source: Callable[[str, FieldDetailsList], T]
    ) -> tuple[tuple[str, T | Constant], ...]:
        """The fields selected on an object, by response key; `source` gets each one's name and occurrences."""
        typename = Constant(f'"{object_type.name}"')
        fields = [
            (key, below[0].node.name.value, below)
            for key, below in self.operation.subfields(object_type, details).items()
        ]
        return tuple((key, typename if name == "__typename" else source(name, below)) for key, name, below in fields)

    def _source(self, resource: Resource, name: str, details: FieldDetailsList) -> MemberSource:
        for relation in resource.relations.values():
            if camel_case(relation.name) == name:
                target = resource_of(relation.target)
                if not relation.many:
                    return ToOne(relation.name, self.record(target, details))
                definition = self.operation.object_type(resource.name).fields[name]
                return self.connection(target, SelectedField(definition, details), relation)
        return Scalar(
            next(field.name for field in resource.readable_fields if camel_case(field.name) == name), spelling="name"
        )

    def _member(
        self,
        resource: Resource,
        connection_type: GraphQLObjectType,
        relation: Relation | None,
        name: str,
        details: FieldDetailsList,
    ) -> Items | Total | PageInfo:
        if name == "totalCount":
            return Total()
        if name == "pageInfo":
            info_type = self.operation.object_type("PageInfo")
            return PageInfo(self._members(info_type, details, lambda name, _: _PAGE_INFO[name]))
        if name == "nodes":
            return Items(self.record(resource, details))
        edge_type = get_named_type(connection_type.fields["edges"].type)
        assert isinstance(edge_type, GraphQLObjectType)
        link_fields = relation.link_fields if relation else ()
        return Items(Selection(self._members(edge_type, details, partial(self._edge_source, resource, link_fields))))

    def _edge_source(
        self, resource: Resource, link_fields: Sequence[ResourceField], name: str, details: FieldDetailsList
    ) -> MemberSource:
        if name == "cursor":
            return Cursor()
        if name == "node":
            return LinkedRecord(self.record(resource, details))
        return Scalar(next(field.name for field in link_fields if camel_case(field.name) == name), True, "name")
