"""Documents, parsed and validated, and kept if they come again.

Parsing and validating cost more than all the rest of a request. A document is kept from its second sight on, so that
queries with values written into them do not push out those that clients really repeat; what is not valid is never kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    specified_rules,
    validate,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from schema.graphql.compiled import Root
from schema.graphql.failures import RequestRefused
from schema.graphql.limits import Limits, parsed
from schema.graphql.selecting import fragments_of

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
MOST_ERRORS = 20
# A document takes some hundred times its text in memory.
KEPT_TEXT = 256 * 1024
SEEN_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is valid: its operations and fragments, and the variables that decide what is left out of it."""

    node: DocumentNode
    operations: tuple[OperationDefinitionNode, ...]
    fragments: dict[str, FragmentDetails]
    switches: tuple[str, ...]
    kept: bool
    recipes: dict[Hashable, tuple[Root, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, node: DocumentNode, *, kept: bool) -> Document:
        """A document that has been parsed and validated."""
        operations = tuple(it for it in node.definitions if isinstance(it, OperationDefinitionNode))
        fragments = fragments_of([it for it in node.definitions if isinstance(it, FragmentDefinitionNode)])
        return cls(node, operations, fragments, _switches(node), kept)


class Documents:
    """The valid documents of one schema; of those that are kept, the least used go first."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._size = 0

    def get(self, text: str) -> Document:
        """The document; `RequestRefused` where it cannot be read, holds too much, or is not valid."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
            return found
        node = parsed(text, self._limits)
        if errors := validate(self._schema, node, RULES, MOST_ERRORS):
            raise RequestRefused(errors, "GRAPHQL_VALIDATION_FAILED")
        made = Document.of(node, kept=hash(text) in self._seen)
        if made.kept:
            self._keep(text, made)
        else:
            self._see(text)
        return made

    def _see(self, text: str) -> None:
        self._seen[hash(text)] = None
        if len(self._seen) > SEEN_ONCE:
            self._seen.popitem(last=False)

    def _keep(self, text: str, document: Document) -> None:
        self._kept[text] = document
        self._size += len(text)
        while self._size > KEPT_TEXT and len(self._kept) > 1:
            dropped, _ = self._kept.popitem(last=False)
            self._size -= len(dropped)


def _switches(node: DocumentNode) -> tuple[str, ...]:
    """The variables in `@skip` and `@include`."""
    found: set[str] = set()

    class Visit(Visitor):
        def enter_directive(self, directive: DirectiveNode, *_: Any) -> None:
            if directive.name.value in ("skip", "include"):
                found.update(
                    it.value.name.value for it in directive.arguments or () if isinstance(it.value, VariableNode)
                )

    visit(node, Visit())
    return tuple(sorted(found))
