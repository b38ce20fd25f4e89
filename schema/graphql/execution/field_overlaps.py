"""How much work it is to find out whether the fields of a document can be merged (GraphQL specification, 5.3.2).

The rule compares each two fields that have one response name in one selection, however many fragments they come from,
and each two fragments: a square of what was sent. Here it is counted, by unfolding the fragments level by level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

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
