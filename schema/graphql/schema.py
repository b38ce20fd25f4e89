"""The schema: types and root fields from the models, resolvers of one's own beside them, all on Strawberry.

What the planner answers comes as JSON under the keys that it was asked under, so every field below a planned root field
has one resolver: look under your key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    get_named_type,
    print_schema,
)
from strawberry.schema.config import StrawberryConfig

from schema.engine.model.resource import Resource
from schema.graphql.execution.context import Context
from schema.graphql.execution.mutation import perform
from schema.graphql.execution.root_fields import RootField, root_fields
from schema.graphql.types.declarations import DATE_TIME, DateTime, bare, fill_object
from schema.graphql.types.mutations import Mutation, mutations_of
from schema.graphql.types.records import Types
from schema.resolvers import MUTATIONS, QUERIES

Info = GraphQLResolveInfo[Context]


@dataclass(frozen=True, slots=True)
class DirectorySchema:
    """The GraphQL face of the directory: graphql-core's schema, and the root fields that the planner answers."""

    schema: GraphQLSchema
    queries: dict[str, RootField]

    def sdl(self) -> str:
        """The schema in its definition language."""
        return print_schema(self.schema)


def make_schema(resources: Sequence[Resource], me: Resource) -> DirectorySchema:
    """The face of these models; `me` is the one that actors are."""
    types = Types(resources)
    queries = root_fields(resources, me, types)
    mutations = {it.name: it for resource in resources for it in mutations_of(resource, types)}
    query, mutation = bare("Query", *QUERIES), bare("Mutation", *MUTATIONS)
    fill_object(query, "What can be asked.", [field.member for field in queries.values()])
    fill_object(mutation, "What can be done.", [field.member for field in mutations.values()])
    made = strawberry.Schema(
        query=query,
        mutation=mutation,
        types=[types.record(resource) for resource in resources],
        config=StrawberryConfig(scalar_map={DateTime: DATE_TIME}),
    )
    schema: GraphQLSchema = made._schema
    _answer_by_key(schema, types)
    _resolve_roots(schema, queries, mutations)
    _sort(schema)
    return DirectorySchema(schema, queries)


def _answer_by_key(schema: GraphQLSchema, types: Types) -> None:
    """Below a root field, the answer is there already, under the key that it was asked under."""
    for name in types.names:
        kind = schema.type_map[name]
        if isinstance(kind, GraphQLObjectType):
            for field in kind.fields.values():
                field.resolve = _enum_by_key if isinstance(get_named_type(field.type), GraphQLEnumType) else _by_key
        elif isinstance(kind, GraphQLInterfaceType):
            kind.resolve_type = lambda value, info, kind: value.kind


def _resolve_roots(schema: GraphQLSchema, queries: dict[str, RootField], mutations: dict[str, Mutation]) -> None:
    assert schema.query_type
    assert schema.mutation_type
    for name in queries:
        schema.query_type.fields[name].resolve = _prepared
    for name, mutation in mutations.items():
        schema.mutation_type.fields[name].resolve = _performing(mutation)


def _by_key(source: Any, info: Info, **_: Any) -> Any:
    return source[info.path.key]


def _enum_by_key(source: Any, info: Info) -> Any:
    name = source[info.path.key]
    kind: Any = get_named_type(info.return_type)
    return None if name is None else kind.wrapped_cls[name]


def _prepared(source: None, info: Info, **_: Any) -> Any:
    """What was read for this root field before anything ran, or what was wrong with it."""
    key = str(info.path.key)
    answer = info.context.answers[key]
    if isinstance(answer, Exception):
        raise answer
    found, kinds = orjson.loads(answer), info.context.kinds[key]
    if not kinds:
        return found
    nodes = [node and Node(node, kind) for node, kind in zip(_listed(found), kinds, strict=True)]
    return nodes if isinstance(found, list) else nodes[0]


class Node(dict[str, Any]):
    """An object whose type is not to be seen from where it stands."""

    def __init__(self, members: Mapping[str, Any], kind: str | None) -> None:
        super().__init__(members)
        self.kind = kind


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _performing(mutation: Mutation) -> Any:
    async def resolve(source: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
        return await perform(mutation, info.context, str(info.path.key), input)

    return resolve


def _sort(schema: GraphQLSchema) -> None:
    """Members in alphabetical order, inherited ones too."""
    for kind in schema.type_map.values():
        if (
            isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType)
            and kind.name[:2] != "__"
        ):
            kind.fields = dict(sorted(kind.fields.items()))
