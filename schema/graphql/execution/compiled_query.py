"""`CompiledField`: a root field of a document, prepared once, so that repeated queries are not planned again.

The compiled fields of an operation are cached with its document, for each combination of its `@skip` and `@include`
variables and each actor profile. They hold no value of a request: each request reads the arguments of the connections,
looks up the plan by everything in them but values, and binds the values to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphql import GraphQLObjectType

from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.planner import Plan
from schema.graphql.execution.connection_arguments import PlanParameters
from schema.graphql.execution.context import Operation, SelectedField
from schema.graphql.execution.root_fields import BoundField, PlannedField, RootField
from schema.graphql.execution.selection_builder import Connection, SelectionBuilder, max_records


@dataclass(slots=True, eq=False)
class CompiledField:
    """A root field of an operation. `root_field` is None where graphql-core answers it (introspection, own resolvers).

    `connections` are known once it has been planned. Its plans are in the plan cache, which bounds their number; they
    are not kept unless the document is `cached`.
    """

    key: str
    name: str
    selected: SelectedField
    root_field: RootField | None
    cached: bool
    connections: list[Connection] | None = None

    def bind_cached(self, unit_of_work: UnitOfWork, operation: Operation) -> BoundField | None:
        """Bind this request's values to the cached plan; None if there is none: `compile` makes it."""
        if self.connections is None or not isinstance(self.root_field, PlannedField):
            return None
        conditions = operation.conditions.count
        parameters = PlanParameters(operation.conditions)
        arguments = tuple([connection.arguments(operation, parameters) for connection in self.connections])
        plan: Plan | None = unit_of_work.directory.plans.probe((self, unit_of_work.actor.profile, arguments))
        if plan is None:
            operation.conditions.count = conditions  # `compile` counts them again.
            return None
        bound_field = self.root_field.bind(unit_of_work, operation, self.selected, plan, parameters.values)
        bound_field.max_records = max_records(self.connections, arguments, parameters.values)
        return bound_field

    def compile(self, unit_of_work: UnitOfWork, operation: Operation) -> BoundField:
        """Plan the field, and bind this request's values."""
        assert self.root_field is not None
        if not isinstance(self.root_field, PlannedField):
            return self.root_field.bind(unit_of_work, operation, self.selected)
        builder = SelectionBuilder(operation)
        plan = self.root_field.plan(unit_of_work, builder, self.selected)
        self.connections = builder.connections
        if self.cached:
            key = (self, unit_of_work.actor.profile, tuple(builder.arguments))
            unit_of_work.directory.plans.get_or_make(key, lambda: plan)
        values = builder.parameters.values
        bound_field = self.root_field.bind(unit_of_work, operation, self.selected, plan, values)
        bound_field.max_records = builder.max_records()
        return bound_field


def compile_fields(
    operation: Operation, root_type: GraphQLObjectType, root_fields: dict[str, RootField], *, cached: bool
) -> tuple[CompiledField, ...]:
    """Prepare the root fields of an operation, in the order of the response."""
    fields: list[CompiledField] = []
    for key, details in operation.root_fields(root_type).items():
        name = details[0].node.name.value
        definition = operation.schema.get_field(root_type, name)
        assert definition is not None  # The document is valid.
        fields.append(CompiledField(key, name, SelectedField(definition, details), root_fields.get(name), cached))
    return tuple(fields)
