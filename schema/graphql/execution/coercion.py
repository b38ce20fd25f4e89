"""Variables and arguments as graphql-core coerces them, with all that a document fixes worked out once.

graphql-core looks at types and nodes anew with each request. Most variables are of a plain type, and most arguments
are a variable or a literal: those are coerced here, and whatever is not plain, or not in order, is left to
graphql-core, whose words the errors are in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_argument_values, get_variable_values

_TAKES: dict[str, Callable[[Any], bool]] = {
    "ID": lambda value: type(value) is str,
    "String": lambda value: type(value) is str,
    "Boolean": lambda value: type(value) is bool,
    "Int": lambda value: type(value) is int and -(2**31) <= value < 2**31,
}


@dataclass(frozen=True, slots=True)
class _Plain:
    """A variable of a plain type: which values it takes, and what comes of it if none is sent, where that may be."""

    name: str
    signature: GraphQLVariableSignature
    takes: Callable[[Any], bool]
    absent: VariableValues | None
    nullable: bool


class Variables:
    """The variables of an operation; they are looked over if it is to be asked again (`lasting`)."""

    def __init__(
        self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode], most_errors: int, *, lasting: bool
    ) -> None:
        self._schema = schema
        self._definitions = definitions
        self._most_errors = most_errors
        known = [_plain(schema, node) if lasting else None for node in definitions]
        self._known = [it for it in known if it is not None]
        self._all_plain = len(self._known) == len(known)

    def read(self, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        """What the caller has sent for them, or all that is wrong with that."""
        found = self._quickly(given) if self._all_plain else None
        return found or get_variable_values(self._schema, self._definitions, dict(given), self._most_errors)

    def _quickly(self, given: Mapping[str, Any]) -> VariableValues | None:
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for it in self._known:
            value = given.get(it.name, Undefined)
            if it.takes(value) or (value is None and it.nullable):
                sources[it.name] = VariableValueSource(it.signature, value)
                coerced[it.name] = value
            elif value is Undefined and it.absent is not None:
                sources |= it.absent.sources
                coerced |= it.absent.coerced
            else:
                return None
        return VariableValues(sources, coerced)


class Arguments:
    """The arguments of a field in a document."""

    def __init__(self, definition: GraphQLField, node: FieldNode) -> None:
        self._definition, self._node = definition, node
        sent = {it.name.value: it.value for it in node.arguments or ()}
        # Each variable: what it is for, its name, whether it has to be sent, and whether it may not be null.
        self._variables = [
            (known.out_name or name, value.name.value, is_required_argument(known), is_non_null_type(known.type))
            for name, known in definition.args.items()
            if isinstance(value := sent.get(name), VariableNode)
        ]
        self._fixed = None if any(map(_varies, sent.values())) else _fixed(definition, node)

    def read(self, variables: VariableValues) -> dict[str, Any]:
        """Their values; `GraphQLError` where they make no sense."""
        found = None if self._fixed is None else self._quickly({**self._fixed}, variables.coerced)
        return get_argument_values(self._definition, self._node, variables) if found is None else found

    def _quickly(self, made: dict[str, Any], coerced: Mapping[str, Any]) -> dict[str, Any] | None:
        for name, variable, required, needed in self._variables:
            if variable in coerced:
                value = made[name] = coerced[variable]
                if value is None and needed:
                    return None
            elif required:
                return None
        return made


def _plain(schema: GraphQLSchema, node: VariableDefinitionNode) -> _Plain | None:
    """A variable, if it is of a plain type."""
    signature = get_variable_signature(schema, node)
    if isinstance(signature, GraphQLError):
        return None
    kind, nullable = signature.type, not is_non_null_type(signature.type)
    takes = None if is_list_type(get_nullable_type(kind)) else _TAKES.get(get_named_type(kind).name)
    absent = get_variable_values(schema, [node], {})
    lacking = None if isinstance(absent, list) else absent
    return takes and _Plain(signature.name, signature, takes, lacking, nullable)


def _varies(value: ValueNode) -> bool:
    """Whether there are variables within a list or an object."""
    if isinstance(value, ListValueNode):
        return any(isinstance(it, VariableNode) or _varies(it) for it in value.values)
    if isinstance(value, ObjectValueNode):
        return any(isinstance(it.value, VariableNode) or _varies(it.value) for it in value.fields)
    return False


def _fixed(definition: GraphQLField, node: FieldNode) -> dict[str, Any] | None:
    """What the arguments are that no variable has a say in, defaults among them; none where that is not in order."""
    varying = {it.name.value for it in node.arguments or () if isinstance(it.value, VariableNode)}
    known = {name: it for name, it in definition.args.items() if name not in varying or not is_required_argument(it)}
    literal = [it for it in node.arguments or () if it.name.value not in varying]
    try:
        return get_argument_values(
            GraphQLField(definition.type, known), FieldNode(name=node.name, arguments=tuple(literal))
        )
    except GraphQLError:
        return None
