"""Documents, parsed, validated, and cached from the second request for them on.

Parsing and validation cost more than everything else in a request. Caching only repeated documents keeps queries with
values written into them from displacing those that clients send again; invalid documents are never cached.
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
from schema.graphql.execution.coercion import VariableCoercion
from schema.graphql.execution.compiled_query import CompiledField
from schema.graphql.execution.context import ArgumentCoercions
from schema.graphql.execution.errors import GraphQLRequestError
from schema.graphql.execution.limits import Limits, parse_document

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
MAX_ERRORS = 20
MAX_DOCUMENTS = 5000
MAX_BYTES = 24 * 1024 * 1024
# Measured, per character of the text: a document takes some 100 bytes of memory, a compiled operation some 40.
DOCUMENT_BYTES, COMPILED_BYTES = 110, 40
MAX_COMPILED_OPERATIONS = 50
MAX_SEEN = 5000
# Characters that are parsed and validated in a few milliseconds; the longest document takes 20 ms.
SHORT = 500


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document: its operations by name, and its fragments.

    `directive_variables` are those in `@skip` and `@include`; `introspects`: it queries the schema. A `cached` document
    also keeps what is prepared for its operations.
    """

    node: DocumentNode
    operations: dict[str, OperationDefinitionNode]
    fragments: dict[str, FragmentDetails]
    directive_variables: tuple[str, ...]
    introspects: bool
    cached: bool
    compiled: dict[Hashable, tuple[CompiledField, ...]] = field(default_factory=dict)
    variables: dict[str, VariableCoercion] = field(default_factory=dict)
    arguments: ArgumentCoercions = field(default_factory=dict)

    @classmethod
    def of(cls, node: DocumentNode, *, cached: bool) -> Document:
        """Index a document that has been parsed and validated."""
        operations = [item for item in node.definitions if isinstance(item, OperationDefinitionNode)]
        fragments = [item for item in node.definitions if isinstance(item, FragmentDefinitionNode)]
        return cls(
            node,
            {item.name.value if item.name else "": item for item in operations},
            {item.name.value: FragmentDetails(item) for item in fragments},
            *_inspect(node),
            cached,
        )


class Documents:
    """The valid documents of one schema. The cache is bounded by number and bytes."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self.cache: Cache[str, Document] = Cache(MAX_DOCUMENTS, MAX_BYTES)
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "documents")

    async def get(self, text: str) -> Document:
        """Get the document from the cache, or parse and validate it; raises `GraphQLRequestError`.

        A long new document is read in a thread, one at a time, so that it does not hold up the event loop.
        """
        document = self.cache.get(text)
        if document is not None:
            return document
        if len(text) <= SHORT:
            return self._add(text, self._read(text))
        return self._add(text, await asyncio.get_running_loop().run_in_executor(self._thread, self._read, text))

    def add_compiled(self, text: str, document: Document, key: Hashable, fields: tuple[CompiledField, ...]) -> None:
        """Keep a compiled operation with its document, and count its memory."""
        if len(document.compiled) >= MAX_COMPILED_OPERATIONS:
            document.compiled.clear()
        document.compiled[key] = fields
        self.cache.resize(text, (DOCUMENT_BYTES + COMPILED_BYTES * len(document.compiled)) * len(text))

    def _read(self, text: str) -> DocumentNode:
        """Parse and validate. Runs in another thread, so it uses no state."""
        node = parse_document(text, self._limits)
        if errors := validate(self._schema, node, RULES, MAX_ERRORS):
            raise GraphQLRequestError(errors, "GRAPHQL_VALIDATION_FAILED")
        return node

    def _add(self, text: str, node: DocumentNode) -> Document:
        document = Document.of(node, cached=hash(text) in self._seen)
        if document.cached:
            self.cache.put(text, document, DOCUMENT_BYTES * len(text))
        else:
            self._seen[hash(text)] = None
            if len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)
        return document


def _inspect(node: DocumentNode) -> tuple[tuple[str, ...], bool]:
    """The variables in `@skip` and `@include`, and whether the document queries the schema."""
    variables: set[str] = set()
    fields: set[str] = set()

    class Names(Visitor):
        def enter_field(self, field: FieldNode, *_: Any) -> None:
            fields.add(field.name.value)

        def enter_directive(self, directive: DirectiveNode, *_: Any) -> None:
            if directive.name.value in ("skip", "include"):
                values = [argument.value for argument in directive.arguments or ()]
                variables.update(value.name.value for value in values if isinstance(value, VariableNode))

    visit(node, Names())
    return tuple(sorted(variables)), not fields.isdisjoint(("__schema", "__type"))
