"""The GraphQL schema: types and root fields from the models, and the resolvers of `schema/resolvers`, on Strawberry.

The planner returns JSON under the keys of the response, so the resolver of every field below a root field only looks up
its own key.
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
from schema.graphql.execution.mutation import execute_mutation
from schema.graphql.execution.root_fields import RootField, root_fields
from schema.graphql.types.declarations import DATE_TIME, DateTime, declare, fill_object
from schema.graphql.types.mutations import Mutation, mutations_of
from schema.graphql.types.records import Types
from schema.resolvers import MUTATIONS, QUERIES

Info = GraphQLResolveInfo[Context]


@dataclass(frozen=True, slots=True)
class DirectorySchema:
    """graphql-core's schema, and the root fields of `Query` that the planner answers."""

    schema: GraphQLSchema
    root_fields: dict[str, RootField]

    def sdl(self) -> str:
        """The schema in the schema definition language."""
        return print_schema(self.schema)


def make_schema(resources: Sequence[Resource], me: Resource) -> DirectorySchema:
    """Build the schema of these models; `me` is the model of actors."""
    types = Types(resources)
    queries = root_fields(resources, me, types)
    mutations = {mutation.name: mutation for resource in resources for mutation in mutations_of(resource, types)}
    query, mutation = declare("Query", *QUERIES), declare("Mutation", *MUTATIONS)
    fill_object(query, "All queries.", [field.member for field in queries.values()])
    fill_object(mutation, "All mutations.", [field.member for field in mutations.values()])
    strawberry_schema = strawberry.Schema(
        query=query,
        mutation=mutation,
        types=[types.record(resource) for resource in resources],
        config=StrawberryConfig(scalar_map={DateTime: DATE_TIME}),
    )
    schema: GraphQLSchema = strawberry_schema._schema
    _set_resolvers(schema, types)
    _set_root_resolvers(schema, queries, mutations)
    _sort_members(schema)
    return DirectorySchema(schema, queries)


class Node(dict[str, Any]):
    """A record behind the `Node` interface, with the name of its type."""

    def __init__(self, members: Mapping[str, Any], type_name: str | None) -> None:
        super().__init__(members)
        self.type_name = type_name


def _set_resolvers(schema: GraphQLSchema, types: Types) -> None:
    for name in types.names:
        named_type = schema.type_map[name]
        if isinstance(named_type, GraphQLObjectType):
            for field in named_type.fields.values():
                is_enum = isinstance(get_named_type(field.type), GraphQLEnumType)
                field.resolve = _resolve_enum if is_enum else _resolve_member
        elif isinstance(named_type, GraphQLInterfaceType):
            named_type.resolve_type = lambda value, info, interface: value.type_name


def _resolve_member(source: Any, info: Info, **_: Any) -> Any:
    return source[info.path.key]


def _resolve_enum(source: Any, info: Info) -> Any:
    name = source[info.path.key]
    enum_type: Any = get_named_type(info.return_type)
    return None if name is None else enum_type.wrapped_cls[name]


def _set_root_resolvers(schema: GraphQLSchema, queries: dict[str, RootField], mutations: dict[str, Mutation]) -> None:
    assert schema.query_type
    assert schema.mutation_type
    for name in queries:
        schema.query_type.fields[name].resolve = _resolve_root
    for name, mutation in mutations.items():
        schema.mutation_type.fields[name].resolve = _mutation_resolver(mutation)


def _resolve_root(source: None, info: Info, **_: Any) -> Any:
    """Return what the executor has read for this field, or raise its error."""
    key = str(info.path.key)
    result = info.context.results[key]
    if isinstance(result, Exception):
        raise result
    value, type_names = orjson.loads(result), info.context.type_names[key]
    if not type_names:
        return value
    records = value if isinstance(value, list) else [value]
    nodes = [record and Node(record, type_name) for record, type_name in zip(records, type_names, strict=True)]
    return nodes if isinstance(value, list) else nodes[0]


def _mutation_resolver(mutation: Mutation) -> Any:
    async def resolve(source: None, info: Info, input: dict[str, Any]) -> dict[str, Any]:
        return await execute_mutation(mutation, info.context, str(info.path.key), input)

    return resolve


def _sort_members(schema: GraphQLSchema) -> None:
    """Sort members by name, inherited ones included."""
    for named_type in schema.type_map.values():
        if named_type.name.startswith("__"):
            continue
        if isinstance(named_type, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            named_type.fields = dict(sorted(named_type.fields.items()))
