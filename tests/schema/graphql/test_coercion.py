"""Variables and arguments are coerced as by graphql-core, with its error messages."""

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
    """The result, or the messages of the errors."""
    try:
        result = read()
    except GraphQLError as error:
        return error.message
    if isinstance(result, VariableValues):
        return result.coerced, {
            name: (str(source.signature.type), source.value) for name, source in result.sources.items()
        }
    return [error.message for error in result] if isinstance(result, list) else result


def operation_of(text: str) -> Any:
    (node,) = parse(text).definitions
    assert isinstance(node, OperationDefinitionNode)
    return node


@pytest.mark.parametrize("type, argument", TYPES)
def test_variables_are_coerced_as_by_graphql_core(type, argument):
    node = operation_of(f'query Q($v: {type}) {{ one(id: "a", {argument}: $v) }}')
    own = VariableCoercion(SCHEMA, node.variable_definitions or (), 20, cached=True)

    for sent in ({}, *({"v": value} for value in SENT), {"w": 1}):
        expected = outcome(lambda sent=sent: get_variable_values(SCHEMA, node.variable_definitions or (), sent, 20))
        assert outcome(lambda sent=sent: own.coerce(sent)) == expected, sent


@pytest.mark.parametrize(
    "type, argument, beside",
    [
        (type, argument, beside)
        for type, argument in TYPES
        for beside in BESIDE
        if not beside.startswith(f"{argument}:")
    ],
)
def test_arguments_are_coerced_as_by_graphql_core(type, argument, beside):
    others = "" if argument == "id" else 'id: "a", '
    node = operation_of(f"query Q($v: {type}) {{ one({others}{argument}: $v, {beside}) }}")
    field, definition = node.selection_set.selections[0], SCHEMA.query_type.fields["one"]
    own = ArgumentCoercion(definition, field)

    for sent in ({}, *({"v": value} for value in SENT)):
        variables = get_variable_values(SCHEMA, node.variable_definitions or (), sent, 20)
        if isinstance(variables, list):
            continue
        expected = outcome(lambda variables=variables: get_argument_values(definition, field, variables))
        assert outcome(lambda variables=variables: own.coerce(variables)) == expected, sent


def test_simple_values_are_coerced_without_graphql_core(monkeypatch):
    node = operation_of("query Q($id: ID!, $first: Int = 3) { one(id: $id, first: $first) }")
    own = VariableCoercion(SCHEMA, node.variable_definitions or (), 20, cached=True)
    arguments = ArgumentCoercion(SCHEMA.query_type.fields["one"], node.selection_set.selections[0])
    monkeypatch.setattr(coercion, "get_variable_values", None)
    monkeypatch.setattr(coercion, "get_argument_values", None)

    variables: Any = own.coerce({"id": "a"})

    assert arguments.coerce(variables) == {"id": "a", "first": 3, "last": 7, "name": "x", "colour": "RED"}
