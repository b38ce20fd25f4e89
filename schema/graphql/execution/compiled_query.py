"""What is kept of a document between requests, so that a known query is neither walked nor planned again.

A `Recipe` belongs to an operation of a document, one setting of its `@skip` and `@include`, and a kind of actor. It has
the root fields and, of each, the connections in it. A request reads the arguments of those connections anew; what they
come to but for their values picks the plan, and the values are bound to it. Nothing of a request is kept in a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphql import GraphQLField, GraphQLObjectType

from schema.engine.operations.directory import UnitOfWork
from schema.engine.query.planner import Plan
from schema.graphql.execution.connection_arguments import Named
from schema.graphql.execution.root_fields import PlannedField, Prepared, RootField
from schema.graphql.execution.selection_builder import Details, Operation, SelectionBuilder, Site, records_of


@dataclass(slots=True, eq=False)
class Root:
    """A root field in a document: what it is answered under, and the connections in it, once they are known.

    Its plans are kept with all others, where their number is bounded.
    """

    key: str
    name: str
    details: Details
    definition: GraphQLField | None
    known: RootField | None
    lasting: bool
    sites: list[Site] | None = None

    def compile(self, unit_of_work: UnitOfWork, operation: Operation) -> Prepared:
        """What is to be read for it this time, its plans made where there are none yet."""
        assert self.known is not None
        assert self.definition is not None
        if isinstance(self.known, PlannedField):
            return self._planned(unit_of_work, operation, self.known)
        return self.known.prepare(unit_of_work, operation, self.definition, self.details)

    def prepare(self, unit_of_work: UnitOfWork, operation: Operation) -> Prepared | None:
        """The same, if its plan is known; else it is to be compiled."""
        assert self.definition is not None
        if not isinstance(self.known, PlannedField) or self.sites is None:
            return None
        before = operation.tally.conditions
        named = Named(operation.tally)
        stretches = tuple([site.read(operation, named) for site in self.sites])
        plan: Plan | None = unit_of_work.directory.plans.probe((self, unit_of_work.actor.profile, stretches))
        if plan is None:
            operation.tally.conditions = before  # They are read once more.
            return None
        found = self.known.bound(unit_of_work, operation, self.definition, self.details, plan, named.values)
        found.records = records_of(self.sites, stretches, named.values)
        return found

    def _planned(self, unit_of_work: UnitOfWork, operation: Operation, known: PlannedField) -> Prepared:
        assert self.definition is not None
        selecting = SelectionBuilder(operation)
        plan = known.plan(unit_of_work, selecting, self.definition, self.details)
        self.sites = selecting.sites
        if self.lasting:
            unit_of_work.directory.plans.get_or_make(
                (self, unit_of_work.actor.profile, tuple(selecting.stretches)), lambda: plan
            )
        found = known.bound(unit_of_work, operation, self.definition, self.details, plan, selecting.named.values)
        found.records = selecting.records()
        return found


def compile_roots(
    operation: Operation, kind: GraphQLObjectType, known: dict[str, RootField], *, lasting: bool
) -> tuple[Root, ...]:
    """The root fields of an operation."""
    found = operation.roots().items()
    named = [(key, details, details[0].node.name.value) for key, details in found]
    return tuple(Root(key, name, it, kind.fields.get(name), known.get(name), lasting) for key, it, name in named)
