"""Variables and arguments come to what graphql-core makes of them, whatever is sent; what is wrong, it words."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLError, OperationDefinitionNode, build_schema, parse
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values

from schema.graphql.execution import coercion
from schema.graphql.execution.coercion import ArgumentCoercion, VariableCoercion

SCHEMA: Any = build_schema(
    """
    enum Colour { RED GREEN }
    input Part { name: String! = "ada", ages: [Int!] }
    type Query {
      one(id: ID!, first: Int, last: Int! = 7, name: String = "x", on: Boolean, colour: Colour = RED, part: Part,
          ids: [ID!], share: Float): Int
    }
    """
)
SENT: list[Any] = [
    None, "", "ada", "7", 0, 7, -1, 2**31 - 1, 2**31, -(2**31) - 1, 7.0, 7.5, True, False, [], ["a"], [None], [7], {},
    {"name": "b"}, {"name": None}, {"ages": 3}, {"other": 1}, "RED", "BLUE",
]  # fmt: skip
TYPES = [
    ("ID!", "id"), ("ID", "id"), ("Int", "first"), ("Int!", "last"), ("Int = 3", "last"), ("Int! = 3", "first"),
    ("Int = null", "first"), ("String", "name"), ('String! = "y"', "name"), ("Boolean", "on"), ("Boolean = true", "on"),
    ("Colour", "colour"), ("Part", "part"), ("[ID!]", "ids"), ("ID!", "ids"), ("Float", "share"), ("Int", "share"),
]  # fmt: skip

BESIDE = ["", "name: null", 'ids: ["a", "b"]', "ids: [$v]", "part: {name: $v}", "share: 1"]


def outcome(read: Any) -> Any:
    """A result, or how graphql-core says what is wrong."""
    try:
        found = read()
    except GraphQLError as error:
        return error.message
    if isinstance(found, VariableValues):
        return found.coerced, {name: (str(it.signature.type), it.value) for name, it in found.sources.items()}
    return [it.message for it in found] if isinstance(found, list) else found


def operation_of(text: str) -> Any:
    (node,) = parse(text).definitions
    assert isinstance(node, OperationDefinitionNode)
    return node


@pytest.mark.parametrize("kind, argument", TYPES)
def test_variables_are_coerced_as_by_graphql_core(kind, argument):
    node = operation_of(f'query Q($v: {kind}) {{ one(id: "a", {argument}: $v) }}')
    known = VariableCoercion(SCHEMA, node.variable_definitions or (), 20, cached=True)

    for given in ({}, *({"v": value} for value in SENT), {"w": 1}):
        theirs = outcome(lambda given=given: get_variable_values(SCHEMA, node.variable_definitions or (), given, 20))
        assert outcome(lambda given=given: known.coerce(given)) == theirs, given


@pytest.mark.parametrize(
    "kind, argument, beside",
    [(*it, beside) for it in TYPES for beside in BESIDE if not beside.startswith(f"{it[1]}:")],
)
def test_arguments_are_coerced_as_by_graphql_core(kind, argument, beside):
    others = "" if argument == "id" else 'id: "a", '
    node = operation_of(f"query Q($v: {kind}) {{ one({others}{argument}: $v, {beside}) }}")
    field, definition = node.selection_set.selections[0], SCHEMA.query_type.fields["one"]
    known = ArgumentCoercion(definition, field)

    for given in ({}, *({"v": value} for value in SENT)):
        variables = get_variable_values(SCHEMA, node.variable_definitions or (), given, 20)
        if isinstance(variables, list):
            continue
        theirs = outcome(lambda variables=variables: get_argument_values(definition, field, variables))
        assert outcome(lambda variables=variables: known.coerce(variables)) == theirs, given


def test_simple_values_are_coerced_without_graphql_core(monkeypatch):
    node = operation_of("query Q($id: ID!, $first: Int = 3) { one(id: $id, first: $first) }")
    known = VariableCoercion(SCHEMA, node.variable_definitions or (), 20, cached=True)
    arguments = ArgumentCoercion(SCHEMA.query_type.fields["one"], node.selection_set.selections[0])
    monkeypatch.setattr(coercion, "get_variable_values", None)
    monkeypatch.setattr(coercion, "get_argument_values", None)

    variables: Any = known.coerce({"id": "a"})

    assert arguments.coerce(variables) == {"id": "a", "first": 3, "last": 7, "name": "x", "colour": "RED"}
