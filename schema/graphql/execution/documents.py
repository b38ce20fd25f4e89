"""Documents, parsed and validated, and kept if they come again.

Parsing and validating cost more than all the rest of a request. A document is kept from its second sight on, so that
queries with values written into them do not push out those that clients really repeat; what is not valid is never kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
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

from schema.engine.cache import Cache
from schema.graphql.execution.coercion import Variables
from schema.graphql.execution.compiled_query import Root
from schema.graphql.execution.errors import RequestRefused
from schema.graphql.execution.limits import Limits, parsed
from schema.graphql.execution.selection_builder import KnownArguments, fragments_of

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
MOST_ERRORS = 20
DOCUMENTS_KEPT = 5000
DOCUMENTS_BYTES = 24 * 1024 * 1024
# Measured: a document takes some hundred times its text in memory, and a recipe of it some forty times.
BYTES_A_CHARACTER, RECIPE_BYTES_A_CHARACTER = 110, 40
SEEN_ONCE = 5000
# Characters that are parsed and validated in a millisecond or a few; of the longest it takes twenty.
SHORT = 500


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document: its operations by name, fragments, and the variables that decide what is left out of it.

    `introspects`: it asks about the schema itself. What follows from it is filled in as it is used, if it is kept.
    """

    node: DocumentNode
    operations: dict[str, OperationDefinitionNode]
    fragments: dict[str, FragmentDetails]
    switches: tuple[str, ...]
    introspects: bool
    kept: bool
    recipes: dict[Hashable, tuple[Root, ...]] = field(default_factory=dict)
    variables: dict[str, Variables] = field(default_factory=dict)
    arguments: KnownArguments = field(default_factory=dict)

    @classmethod
    def of(cls, node: DocumentNode, *, kept: bool) -> Document:
        """A document that has been parsed and validated."""
        found = (it for it in node.definitions if isinstance(it, OperationDefinitionNode))
        # One without a name is the only one.
        operations = {it.name.value if it.name else "": it for it in found}
        fragments = fragments_of([it for it in node.definitions if isinstance(it, FragmentDefinitionNode)])
        return cls(node, operations, fragments, *_looked_over(node), kept)


class Documents:
    """The valid documents of one schema. Those that are kept are bounded by number and bytes."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self.kept: Cache[str, Document] = Cache(DOCUMENTS_KEPT, DOCUMENTS_BYTES)
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._reader = ThreadPoolExecutor(1, "documents")

    async def find(self, text: str) -> Document:
        """The document; `RequestRefused` where it cannot be read, holds too much, or is not valid.

        A long one that is new is read beside the event loop, one at a time, so that nobody else waits for it.
        """
        found = self.kept.get(text)
        if found is not None:
            return found
        if len(text) <= SHORT:
            return self._made(text, self._read(text))
        return self._made(text, await asyncio.get_running_loop().run_in_executor(self._reader, self._read, text))

    def _read(self, text: str) -> DocumentNode:
        """Parsed and valid. It touches nothing that is kept."""
        node = parsed(text, self._limits)
        if errors := validate(self._schema, node, RULES, MOST_ERRORS):
            raise RequestRefused(errors, "GRAPHQL_VALIDATION_FAILED")
        return node

    def _made(self, text: str, node: DocumentNode) -> Document:
        made = Document.of(node, kept=hash(text) in self._seen)
        if made.kept:
            self.kept.put(text, made, BYTES_A_CHARACTER * len(text))
        else:
            self._see(text)
        return made

    def _see(self, text: str) -> None:
        self._seen[hash(text)] = None
        if len(self._seen) > SEEN_ONCE:
            self._seen.popitem(last=False)

    def grown(self, text: str, recipes: int) -> None:
        """Note how many recipes of a document there are by now."""
        self.kept.resize(text, (BYTES_A_CHARACTER + RECIPE_BYTES_A_CHARACTER * recipes) * len(text))


def _looked_over(node: DocumentNode) -> tuple[tuple[str, ...], bool]:
    """The variables in `@skip` and `@include`, and whether the schema is asked about."""
    found: set[str] = set()
    fields: set[str] = set()

    class Visit(Visitor):
        def enter_field(self, field: FieldNode, *_: Any) -> None:
            fields.add(field.name.value)

        def enter_directive(self, directive: DirectiveNode, *_: Any) -> None:
            if directive.name.value in ("skip", "include"):
                found.update(
                    it.value.name.value for it in directive.arguments or () if isinstance(it.value, VariableNode)
                )

    visit(node, Visit())
    return tuple(sorted(found)), not fields.isdisjoint(("__schema", "__type"))
