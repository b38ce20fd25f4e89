"""What one document may hold, counted on its syntax alone, before anything looks at what it means.

Fragments are counted once and remembered, and sums stop growing past their limits, so that a few hundred bytes of
fragments inside fragments cost no more than they look.
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
from schema.graphql.execution.errors import RequestRefused

UNTOLD = 1_000_000
# Tokens, numbers among them in a group. It may find fewer than the parser does, but no more; comments are none.
_TOKEN = re.compile(
    r'(?:#[^\n\r]*+|[\s,\ufeff])*+(?:"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|"(?:[^"\\\n\r]|\\.)*+"?'
    r"|(-?[0-9][0-9.eE+-]*+)|[A-Za-z_]\w*+|\.\.\.|(\Z)|[^\s,\ufeff#])",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a document may hold; `records` is how many one request could bring back at most."""

    tokens: int = 2000
    depth: int = 15
    aliases: int = 30
    roots: int = 20
    directives: int = 50
    repeats: int = 30
    comparisons: int = 5000
    digits: int = 400
    lines: int = 4000
    records: int = 10_000


@dataclass(frozen=True, slots=True)
class _Size:
    """How much a selection holds, its fragments' contents included."""

    fields: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    repeats: int = 0

    def and_(self, other: _Size) -> _Size:
        """Both of them, side by side."""
        return _Size(
            min(self.fields + other.fields, UNTOLD),
            max(self.depth, other.depth),
            min(self.aliases + other.aliases, UNTOLD),
            min(self.directives + other.directives, UNTOLD),
            min(self.repeats + other.repeats, UNTOLD),
        )


def parsed(text: str, limits: Limits) -> DocumentNode:
    """The document, if it can be read and holds no more than it may; else `RequestRefused`."""
    _check_text(text, limits)
    try:
        document = parse(text, max_tokens=limits.tokens)
        too_much = _excess(document, limits)
    except GraphQLSyntaxError as error:
        many = f"more than {limits.tokens} tokens" in error.message or "too deeply" in error.message
        raise RequestRefused([error], QueryTooComplex.code if many else "GRAPHQL_PARSE_FAILED") from None
    if too_much:
        raise RequestRefused([too_much], QueryTooComplex.code)
    return document


def _check_text(text: str, limits: Limits) -> None:
    """`RequestRefused` for what costs most, told by a look at the text: many tokens, long numbers, and many lines.

    Lines are counted from the beginning for each place that an error names.
    """
    lines = 1 + text.count("\n") + text.count("\r")
    if lines > limits.lines:
        long = GraphQLError(f"the document has {lines} lines; {limits.lines} are allowed")
        raise RequestRefused([long], QueryTooComplex.code)
    for number, found in enumerate(_TOKEN.finditer(text)):
        if found[2] is not None:
            return
        if number == limits.tokens:
            many = GraphQLError(f"the document has more than {limits.tokens} tokens")
            raise RequestRefused([many], QueryTooComplex.code)
        if found[1] and len(found[1]) > limits.digits:
            long = GraphQLError(f"a number has {len(found[1])} digits; {limits.digits} are allowed")
            raise RequestRefused([long], QueryTooComplex.code)


def _excess(document: DocumentNode, limits: Limits) -> GraphQLError | None:
    """What of a document is too much, if anything."""
    counter = _Counter(document)
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            size = counter.size(node.selection_set, node.directives)
            for name, found, most in (
                ("levels deep", size.depth, limits.depth),
                ("aliases", size.aliases, limits.aliases),
                ("root fields", size.fields, limits.roots),
                ("directives", size.directives, limits.directives),
                ("fields that are repeated", size.repeats, limits.repeats),
            ):
                if found > most:
                    said = f"more than {UNTOLD - 1}" if found >= UNTOLD else str(found)
                    return GraphQLError(f"the query has {said} {name}; {most} are allowed", node)
    if comparisons(document, limits.comparisons, limits.depth) > limits.comparisons:
        said = f"more than {limits.comparisons} selections and pairs of selections with one response name"
        return GraphQLError(f"the query has {said}, its fragments unfolded")
    return None


class _Counter:
    """Sizes of selections, each fragment's worked out once."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
        self._known: dict[str, _Size] = {}

    def size(self, selections: SelectionSetNode, directives: Iterable[Node] | None = ()) -> _Size:
        """That of what is selected, side by side; `fields` counts the uppermost ones."""
        keys = [(it.alias or it.name).value for it in selections.selections if isinstance(it, FieldNode)]
        total = _Size(directives=len(list(directives or ())), repeats=len(keys) - len(set(keys)))
        for node in selections.selections:
            own = _Size(directives=len(node.directives or ()))
            if isinstance(node, FieldNode):
                below = self.size(node.selection_set) if node.selection_set else _Size()
                field = _Size(
                    1, below.depth + 1, below.aliases + (node.alias is not None), below.directives, below.repeats
                )
                total = total.and_(own).and_(field)
            elif isinstance(node, FragmentSpreadNode):
                total = total.and_(own).and_(self._fragment(node.name.value))
            elif isinstance(node, InlineFragmentNode):
                total = total.and_(own).and_(self.size(node.selection_set))
        return total

    def _fragment(self, name: str) -> _Size:
        """That of a fragment. One that contains itself is nothing here: validation will refuse it."""
        if name not in self._known and name in self._fragments:
            self._known[name] = _Size()
            fragment = self._fragments[name]
            self._known[name] = self.size(fragment.selection_set, fragment.directives)
        return self._known.get(name, _Size())


_Level = tuple[int, list[SelectionSetNode]]


def comparisons(document: DocumentNode, most: int, depth: int) -> int:
    """The number of selections and of pairs among them, fragments unfolded; counting stops past `most`.

    `depth` is how deep a document without circles of fragments can be: what lies deeper is not looked at.
    """
    fragments = {it.name.value: it for it in document.definitions if isinstance(it, FragmentDefinitionNode)}
    operations = [it for it in document.definitions if isinstance(it, OperationDefinitionNode)]
    reached: set[str] = set()
    count = 0
    for definition in (*operations, *fragments.values()):
        if isinstance(definition, FragmentDefinitionNode) and definition.name.value in reached:
            continue
        levels: list[_Level] = [(1, [definition.selection_set])]
        while levels:
            level, selections = levels.pop()
            fields, spread, seen = _merged(selections, fragments)
            reached |= spread
            count += seen + _pairs(len(spread)) + sum(_pairs(len(found)) for found in fields.values())
            if count > most:
                return count
            if level < depth:
                levels += [(level + 1, below) for found in fields.values() if (below := _below(found))]
    return count


def _merged(
    selections: Iterable[SelectionSetNode], fragments: Mapping[str, FragmentDefinitionNode]
) -> tuple[dict[str, list[FieldNode]], set[str], int]:
    """The fields of one level by their response names, the fragments they come from, and how much was looked at."""
    fields: dict[str, list[FieldNode]] = {}
    spread: set[str] = set()
    seen = 0
    waiting = list(selections)
    while waiting:
        for node in waiting.pop().selections:
            seen += 1
            if isinstance(node, FieldNode):
                fields.setdefault((node.alias or node.name).value, []).append(node)
            elif not isinstance(node, FragmentSpreadNode):
                waiting.append(node.selection_set)  # type: ignore[attr-defined]
            elif (name := node.name.value) not in spread:
                spread.add(name)
                if name in fragments:
                    waiting.append(fragments[name].selection_set)
    return fields, spread, seen


def _below(fields: Iterable[FieldNode]) -> list[SelectionSetNode]:
    """What is selected of the fields with one response name, which is one selection."""
    return [it.selection_set for it in fields if it.selection_set]


def _pairs(count: int) -> int:
    return count * (count - 1) // 2
