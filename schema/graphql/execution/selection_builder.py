"""From a GraphQL document to a `Selection`.

graphql-core does what the specification fixes: it merges fields, follows fragments, minds `@skip` and `@include`, and
coerces arguments. What is left is to say the same thing in the engine's words, root field by root field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues, get_argument_values

from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query.cursors import NO_SIGNER, Signer
from schema.engine.query.selection import (  # fmt: skip
    Constant,
    Cursor,
    Items,
    LinkedRecord,
    ListSelection,
    PageInfo,
    PageInfoField,
    Scalar,
    Selection,
    Source,
    ToOne,
    Total,
)
from schema.graphql.execution.coercion import Arguments
from schema.graphql.execution.connection_arguments import ListArguments, Named, Tally, list_arguments
from schema.graphql.types.declarations import camel_case

Details = list[FieldDetails]
# By the definition and the node, which live as long as the schema and the document do.
KnownArguments = dict[tuple[int, int], Arguments]
_INFO: dict[str, PageInfoField] = {
    "hasNextPage": "has_next", "hasPreviousPage": "has_previous", "startCursor": "start", "endCursor": "end",
}  # fmt: skip


@dataclass(slots=True)
class Operation:
    """An operation that is about to run: its document's fragments, and its variables.

    `known` holds the arguments that have been looked over for it before, where that is worth while; `signer` signs the
    cursors of its lists, and verifies those that are sent.
    """

    schema: GraphQLSchema
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    variables: VariableValues
    known: KnownArguments | None = None
    tally: Tally = field(default_factory=Tally)
    signer: Signer = NO_SIGNER

    def roots(self) -> dict[str, Details]:
        """The root fields by the keys that they are answered under."""
        root = self.schema.get_root_type(self.node.operation)
        assert root is not None
        return collect_fields(self.schema, self.fragments, self.variables, root, self.node).grouped_field_set

    def below(self, kind: GraphQLObjectType, details: Details) -> dict[str, Details]:
        """The fields that are selected of an object."""
        found = collect_subfields(self.schema, self.fragments, self.variables, self.node, kind, details)
        return found.grouped_field_set

    def arguments(self, definition: GraphQLField, details: Details) -> dict[str, Any]:
        """A field's arguments."""
        node = details[0].node
        if self.known is None:
            return get_argument_values(definition, node, self.variables)
        found = self.known.get(key := (id(definition), id(node)))
        if found is None:
            found = self.known[key] = Arguments(definition, node)
        return found.read(self.variables)

    def type(self, name: str) -> GraphQLObjectType:
        """An object type by its name."""
        found = self.schema.type_map[name]
        assert isinstance(found, GraphQLObjectType)
        return found


def fragments_of(definitions: list[FragmentDefinitionNode]) -> dict[str, FragmentDetails]:
    """A document's fragments as graphql-core collects them."""
    return {node.name.value: FragmentDetails(node) for node in definitions}


@dataclass(frozen=True, slots=True)
class Site:
    """A connection in a document: where its arguments stand, whose records it lists, and which connection it is below.

    `above` is that one's number among the sites of the root field; they are numbered from above.
    """

    definition: GraphQLField
    details: Details
    resource: Resource
    relation: str | None
    above: int | None

    def read(self, operation: Operation, named: Named) -> ListArguments:
        """What its arguments ask for this time."""
        arguments = operation.arguments(self.definition, self.details)
        return list_arguments(arguments, self.resource, self.relation, named, operation.signer)


def records_of(
    sites: Sequence[Site], stretches: Sequence[ListArguments], values: Mapping[str, Any], alone: int = 1
) -> int:
    """How many records a root field's lists could bring back: page sizes multiplied down the nesting.

    `alone` is how many records stand above them.
    """
    counts: list[int] = []
    for site, stretch in zip(sites, stretches, strict=True):
        counts.append(values[stretch.page.size] * (alone if site.above is None else counts[site.above]))
    return sum(counts)


@dataclass(slots=True)
class SelectionBuilder:
    """What one root field asks for, the values that it asks with, and the connections that it passed on the way."""

    operation: Operation
    named: Named = field(init=False)
    sites: list[Site] = field(default_factory=list)
    stretches: list[ListArguments] = field(default_factory=list)
    _above: int | None = None

    def __post_init__(self) -> None:
        self.named = Named(self.operation.tally)

    def records(self, alone: int = 1) -> int:
        """How many records its lists could bring back, below `alone` records."""
        return records_of(self.sites, self.stretches, self.named.values, alone)

    def record(self, resource: Resource, kind: GraphQLObjectType, details: Details) -> Selection:
        """A record's fields and relations."""
        picks: list[tuple[str, Source]] = []
        for key, found in self.operation.below(kind, details).items():
            name = found[0].node.name.value
            picks.append((key, _typename(kind) if name == "__typename" else self._source(resource, kind, name, found)))
        return Selection(tuple(picks))

    def branch(
        self, resource: Resource, definition: GraphQLField, details: Details, relation: Relation | None = None
    ) -> ListSelection:
        """A connection of records of `made`."""
        kind = get_named_type(definition.type)
        assert isinstance(kind, GraphQLObjectType)
        site = Site(definition, details, resource, relation.name if relation else None, self._above)
        stretch = site.read(self.operation, self.named)
        self.sites.append(site)
        self.stretches.append(stretch)
        outer, self._above = self._above, len(self.sites) - 1
        below = self.operation.below(kind, details).items()
        picks = tuple((key, self._part(resource, kind, found, relation)) for key, found in below)
        self._above = outer
        return ListSelection(picks, stretch.page, site.relation, stretch.where, stretch.order)

    def _source(self, resource: Resource, kind: GraphQLObjectType, name: str, details: Details) -> Source:
        for relation in resource.relations.values():
            if camel_case(relation.name) == name:
                definition, target = kind.fields[name], resource_of(relation.target)
                if relation.many:
                    return self.branch(target, definition, details, relation)
                return ToOne(relation.name, self.record(target, self.operation.type(target.name), details))
        return Scalar(
            next(field.name for field in resource.readable_fields if camel_case(field.name) == name), spelling="name"
        )

    def _part(
        self, resource: Resource, kind: GraphQLObjectType, details: Details, relation: Relation | None
    ) -> Items | Total | PageInfo | Constant:
        """A member of a connection."""
        name = details[0].node.name.value
        if name == "__typename":
            return _typename(kind)
        if name == "totalCount":
            return Total()
        if name == "pageInfo":
            return self._info(details)
        record = self.operation.type(resource.name)
        if name == "nodes":
            return Items(self.record(resource, record, details))
        edge = get_named_type(kind.fields["edges"].type)
        assert isinstance(edge, GraphQLObjectType)
        return Items(self._edge(resource, edge, details, relation))

    def _edge(
        self, resource: Resource, kind: GraphQLObjectType, details: Details, relation: Relation | None
    ) -> Selection:
        picks: list[tuple[str, Source]] = []
        for key, found in self.operation.below(kind, details).items():
            name = found[0].node.name.value
            if name == "__typename":
                picks.append((key, _typename(kind)))
            elif name == "cursor":
                picks.append((key, Cursor()))
            elif name == "node":
                picks.append((key, LinkedRecord(self.record(resource, self.operation.type(resource.name), found))))
            else:
                own = relation.link_fields if relation else ()
                picks.append((key, Scalar(next(it.name for it in own if camel_case(it.name) == name), True, "name")))
        return Selection(tuple(picks))

    def _info(self, details: Details) -> PageInfo:
        kind = self.operation.type("PageInfo")
        members = self.operation.below(kind, details).items()
        names = [(key, found[0].node.name.value) for key, found in members]
        return PageInfo(tuple((key, _typename(kind) if name == "__typename" else _INFO[name]) for key, name in names))


def _typename(kind: GraphQLObjectType) -> Constant:
    return Constant(f'"{kind.name}"')
