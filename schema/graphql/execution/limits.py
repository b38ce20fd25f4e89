"""The limits of a GraphQL document: size, depth, aliases, root fields, directives, repeated fields, and more.

They are checked on the text and the syntax tree, before validation. The number of filter conditions is limited in
`connection_arguments.py`, and the number of records, which depends on variables, in `executor.py`.

The cost of checking is bounded itself: each fragment is measured once, and sums stop at a ceiling, so that fragments
nested in fragments cannot make a short document expensive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)

from schema.engine.errors import QueryTooComplex
from schema.graphql.execution.errors import GraphQLRequestError, ParseFailed

_CEILING = 1_000_000
# Tokens, with numbers in a group. It may count fewer than the parser, never more; comments do not count.
_TOKEN = re.compile(
    r'(?:#[^\n\r]*+|[\s,\ufeff])*+(?:"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|"(?:[^"\\\n\r]|\\.)*+"?'
    r"|(-?[0-9][0-9.eE+-]*+)|[A-Za-z_]\w*+|\.\.\.|(\Z)|[^\s,\ufeff#])",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may contain. `records` is how many records a query could return, by its page sizes."""

    tokens: int = 2000
    depth: int = 15
    aliases: int = 30
    root_fields: int = 20
    directives: int = 50
    repeated_fields: int = 30
    comparisons: int = 5000
    digits: int = 400
    lines: int = 4000
    records: int = 10_000


def parse_document(text: str, limits: Limits) -> DocumentNode:
    """Parse a document; raises `GraphQLRequestError` for a syntax error, or if the document exceeds a limit."""
    _check_text(text, limits)
    try:
        document = parse(text, max_tokens=limits.tokens)
        _check_operations(document, limits)
    except GraphQLSyntaxError as error:
        if f"more than {limits.tokens} tokens" in error.message or "too deeply" in error.message:
            raise GraphQLRequestError([error], QueryTooComplex.code) from None
        raise ParseFailed([error], ParseFailed.code) from None
    if merge_comparisons(document, limits.comparisons, limits.depth) > limits.comparisons:
        counted = f"{limits.comparisons} selections and pairs of selections with one response name"
        raise _exceeded(f"the query must have at most {counted}, with its fragments expanded")
    return document


def _check_text(text: str, limits: Limits) -> None:
    """Check what is expensive for the parser: many tokens, long numbers, and many lines.

    graphql-core counts lines from the start for each location in an error.
    """
    lines = 1 + text.count("\n") + text.count("\r")
    if lines > limits.lines:
        raise _exceeded(f"the document must have at most {limits.lines} lines, got {lines}")
    for index, match in enumerate(_TOKEN.finditer(text)):
        number, end = match.groups()
        if end is not None:
            return
        if index == limits.tokens:
            raise _exceeded(f"the document must have at most {limits.tokens} tokens")
        if number and len(number) > limits.digits:
            raise _exceeded(f"a number must have at most {limits.digits} digits, got {len(number)}")


def _check_operations(document: DocumentNode, limits: Limits) -> None:
    measurement = _Measurement(document)
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            size = measurement.size(node.selection_set, node.directives)
            for name, count, allowed in (
                ("levels", size.depth, limits.depth),
                ("aliases", size.aliases, limits.aliases),
                ("root fields", size.fields, limits.root_fields),
                ("directives", size.directives, limits.directives),
                ("repeated fields", size.repeated_fields, limits.repeated_fields),
            ):
                if count > allowed:
                    counted = f"more than {_CEILING - 1}" if count >= _CEILING else str(count)
                    raise _exceeded(f"the query must have at most {allowed} {name}, got {counted}", node)


def _exceeded(message: str, node: Node | None = None) -> GraphQLRequestError:
    return GraphQLRequestError([GraphQLError(message, node)], QueryTooComplex.code)


@dataclass(frozen=True, slots=True)
class _Size:
    """The size of a selection set, fragments expanded. `fields` counts its own level."""

    fields: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    repeated_fields: int = 0

    def __add__(self, other: _Size) -> _Size:
        return _Size(
            min(self.fields + other.fields, _CEILING),
            max(self.depth, other.depth),
            min(self.aliases + other.aliases, _CEILING),
            min(self.directives + other.directives, _CEILING),
            min(self.repeated_fields + other.repeated_fields, _CEILING),
        )


class _Measurement:
    """Measures selection sets; each fragment once."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = _fragments(document)
        self._sizes: dict[str, _Size] = {}

    def size(self, selection_set: SelectionSetNode, directives: Iterable[Node] | None = ()) -> _Size:
        nodes = selection_set.selections
        keys = [(node.alias or node.name).value for node in nodes if isinstance(node, FieldNode)]
        total = _Size(directives=len(list(directives or ())), repeated_fields=len(keys) - len(set(keys)))
        for node in nodes:
            total += _Size(directives=len(node.directives or ()))
            if isinstance(node, FieldNode):
                below = self.size(node.selection_set) if node.selection_set else _Size()
                aliases = below.aliases + (node.alias is not None)
                total += _Size(1, below.depth + 1, aliases, below.directives, below.repeated_fields)
            elif isinstance(node, FragmentSpreadNode):
                total += self._fragment_size(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                total += self.size(node.selection_set)
        return total

    def _fragment_size(self, name: str) -> _Size:
        # A fragment that contains itself has no size of its own: validation rejects it.
        if name not in self._sizes and name in self._fragments:
            self._sizes[name] = _Size()
            fragment = self._fragments[name]
            self._sizes[name] = self.size(fragment.selection_set, fragment.directives)
        return self._sizes.get(name, _Size())


def merge_comparisons(document: DocumentNode, limit: int, max_depth: int) -> int:
    """Count the selections, and the pairs that validation compares; stops counting above `limit`.

    Field Selection Merging (GraphQL specification, 5.3.2) compares each two fields with one response name in one
    selection set, from any fragments, and each two fragments: quadratic in the size of the document.

    `max_depth` is the greatest depth of a document without cycles of fragments; deeper levels are not counted.
    """
    fragments = _fragments(document)
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    spread: set[str] = set()
    count = 0
    for definition in (*operations, *fragments.values()):
        if isinstance(definition, FragmentDefinitionNode) and definition.name.value in spread:
            continue
        levels: list[tuple[int, list[SelectionSetNode]]] = [(1, [definition.selection_set])]
        while levels:
            depth, selection_sets = levels.pop()
            fields, names, selections = _merged_fields(selection_sets, fragments)
            spread |= names
            count += selections + _pairs(len(names)) + sum(_pairs(len(nodes)) for nodes in fields.values())
            if count > limit:
                return count
            if depth < max_depth:
                below = ([node.selection_set for node in nodes if node.selection_set] for nodes in fields.values())
                levels += [(depth + 1, merged) for merged in below if merged]
    return count


def _merged_fields(
    selection_sets: Iterable[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[dict[str, list[FieldNode]], set[str], int]:
    """The fields of one level by response name, the fragments they come from, and the number of selections."""
    fields: dict[str, list[FieldNode]] = {}
    names: set[str] = set()
    selections = 0
    pending = list(selection_sets)
    while pending:
        for node in pending.pop().selections:
            selections += 1
            if isinstance(node, FieldNode):
                fields.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                pending.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and (name := node.name.value) not in names:
                names.add(name)
                if name in fragments:
                    pending.append(fragments[name].selection_set)
    return fields, names, selections


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


def _pairs(count: int) -> int:
    return count * (count - 1) // 2
