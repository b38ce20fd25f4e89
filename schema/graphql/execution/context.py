"""What belongs to one running operation: `Operation` reads its document, `Context` is what resolvers get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema, OperationDefinitionNode
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues, get_argument_values

from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.cursors import NO_SIGNER, Signer
from schema.graphql.execution.coercion import ArgumentCoercion
from schema.graphql.execution.connection_arguments import ConditionCounter

# Keyed by the ids of definition and node, which live as long as the schema and the document do.
ArgumentCoercions = dict[tuple[int, int], ArgumentCoercion]


@dataclass(frozen=True, slots=True)
class SelectedField:
    """A field as a document selects it: its definition in the schema, and its occurrences, merged by graphql-core."""

    definition: GraphQLField
    details: FieldDetailsList


@dataclass(slots=True)
class Operation:
    """An operation of a document, with the values of its variables.

    `coercions` caches how arguments are coerced, for documents that are cached. `signer` signs the cursors of lists and
    verifies those that are sent.
    """

    schema: GraphQLSchema
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    variables: VariableValues
    coercions: ArgumentCoercions | None = None
    conditions: ConditionCounter = field(default_factory=ConditionCounter)
    signer: Signer = NO_SIGNER

    def root_fields(self, root_type: GraphQLObjectType) -> GroupedFieldSet:
        """Collect the root fields by response key (GraphQL specification, 6.3.2)."""
        return collect_fields(self.schema, self.fragments, self.variables, root_type, self.node).grouped_field_set

    def subfields(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> GroupedFieldSet:
        """Collect the fields selected on an object, by response key."""
        collected = collect_subfields(self.schema, self.fragments, self.variables, self.node, object_type, details)
        return collected.grouped_field_set

    def arguments(self, selected: SelectedField) -> dict[str, Any]:
        """Coerce a field's arguments; raises `GraphQLError` if they are invalid."""
        definition, node = selected.definition, selected.details[0].node
        if self.coercions is None:
            return get_argument_values(definition, node, self.variables)
        coercion = self.coercions.get(key := (id(definition), id(node)))
        if coercion is None:
            coercion = self.coercions[key] = ArgumentCoercion(definition, node)
        return coercion.coerce(self.variables)

    def object_type(self, name: str) -> GraphQLObjectType:
        object_type = self.schema.type_map[name]
        assert isinstance(object_type, GraphQLObjectType)
        return object_type


@dataclass(slots=True)
class Context:
    """What resolvers get as `info.context`. `results` and `type_names` hold what was read before execution, by key."""

    directory: Directory
    actor: Actor
    operation: Operation
    root_fields: dict[str, SelectedField]
    max_records: int
    results: dict[str, bytes | Exception] = field(default_factory=dict)
    type_names: dict[str, list[str | None]] = field(default_factory=dict)

    @property
    def unit_of_work(self) -> UnitOfWork:
        return self.directory.unit_of_work(self.actor)
