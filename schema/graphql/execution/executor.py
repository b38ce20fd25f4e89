"""`Executor`: runs an operation, from its text to the JSON of its response.

All root fields that the planner knows are read first, in one batch and from one snapshot. If these are all, the
response is put together from their JSON; else graphql-core executes the operation, and its resolvers take what was
read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, OperationType, execute
from graphql.execution.values import VariableValues

from schema.engine.errors import COUNT_TIMEOUT, DirectoryError, Forbidden, QueryTimeout, QueryTooComplex
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.graphql.execution.coercion import VariableCoercion
from schema.graphql.execution.compiled_query import CompiledField, compile_fields
from schema.graphql.execution.context import Context, Operation
from schema.graphql.execution.documents import MAX_ERRORS, Document, Documents
from schema.graphql.execution.errors import GraphQLRequestError, QueryRequired, formatted_error
from schema.graphql.execution.limits import Limits
from schema.graphql.execution.root_fields import BoundField
from schema.graphql.schema import DirectorySchema

# How an operation was executed, as metrics name it.
COMPILED, INTERPRETED = "compiledQuery", "interpretedQuery"
EXECUTION_PATHS = (COMPILED, INTERPRETED, "mutation", "subscription")
REFUSED = "refusedOperation"
INTROSPECTION_FORBIDDEN = "introspection requires the admin role and, for a credential with scopes, schema:read"


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    query: str
    variables: dict[str, Any]
    operation_name: str | None = None


class Executor:
    """Runs operations against one schema, and counts them by execution path."""

    def __init__(
        self, schema: DirectorySchema, limits: Limits | None = None, *, introspection_restricted: bool = False
    ) -> None:
        """`introspection_restricted`: only administrators may query the schema or get suggestions in errors."""
        self._schema, self._root_fields = schema.schema, schema.root_fields
        self._introspection_restricted = introspection_restricted
        self._limits = limits or Limits()
        self.documents = Documents(schema.schema, self._limits)
        self.executed = dict.fromkeys(EXECUTION_PATHS, 0)

    async def run(
        self,
        request: GraphQLRequest,
        directory: Directory,
        actor: Actor,
        *,
        queries_only: bool = False,
        interpreted: bool = False,
        on_path: Callable[[str], object] = lambda path: None,
        charge_mutations: Callable[[int], Awaitable[None]] | None = None,
    ) -> bytes:
        """Run an operation; returns the response as JSON.

        Args:
            interpreted: let graphql-core execute the operation even if its response could be put together without.
            on_path: gets the execution path, one of `EXECUTION_PATHS`.
            charge_mutations: charges for so many mutations before they run; may raise.

        Raises:
            GraphQLRequestError: the operation cannot be run.
            QueryRequired: it is not a query, and `queries_only` is set.
        """
        restricted = self._introspection_restricted and not _may_introspect(actor)
        try:
            document = await self._document(request.query, directory, actor)
            if restricted and document.introspects:
                raise GraphQLRequestError([GraphQLError(INTROSPECTION_FORBIDDEN)], Forbidden.code)
            node = _operation_node(document, request.operation_name)
            is_query = node.operation is OperationType.QUERY
            if queries_only and not is_query:
                raise QueryRequired("the operation of a GET request must be a query: send others with POST")
            operation = self._operation(document, node, request)
            fields = self._compiled_fields(request.query, document, operation, actor)
            context = Context(
                directory, actor, operation, {field.key: field.selected for field in fields}, self._limits.records
            )
            if is_query:
                await _read_fields(context, fields)
                if not interpreted and (response := _compiled_response(context, fields)) is not None:
                    self._record_execution(COMPILED, on_path)
                    return response
            elif charge_mutations is not None:
                await charge_mutations(len(fields))
            self._record_execution(INTERPRETED if is_query else node.operation.value, on_path)
            return await self._execute(document, request, context)
        except GraphQLRequestError as error:
            if restricted:
                raise error.without_suggestions() from None
            raise

    async def _document(self, text: str, directory: Directory, actor: Actor) -> Document:
        """The document; a new one is parsed when it is this actor's turn."""
        document = self.documents.cache.probe(text)
        if document is None:
            async with directory.compile_turn(actor):
                document = await self.documents.get(text)
        return document

    def _operation(self, document: Document, node: OperationDefinitionNode, request: GraphQLRequest) -> Operation:
        values, coercions = self._variables(document, node, request), document.arguments if document.cached else None
        return Operation(self._schema, node, document.fragments, values, coercions)

    def _variables(self, document: Document, node: OperationDefinitionNode, request: GraphQLRequest) -> VariableValues:
        name = node.name.value if node.name else ""
        coercion = document.variables.get(name)
        if coercion is None:
            definitions = node.variable_definitions or ()
            coercion = VariableCoercion(self._schema, definitions, MAX_ERRORS, cached=document.cached)
            if document.cached:
                document.variables[name] = coercion
        values = coercion.coerce(request.variables)
        if isinstance(values, list):
            raise GraphQLRequestError(values, "GRAPHQL_VALIDATION_FAILED")
        return values

    def _compiled_fields(
        self, text: str, document: Document, operation: Operation, actor: Actor
    ) -> tuple[CompiledField, ...]:
        """The operation's root fields, compiled by an earlier request or now."""
        values = operation.variables.coerced
        key = (id(operation.node), actor.profile, tuple([values.get(name) for name in document.directive_variables]))
        fields = document.compiled.get(key)
        if fields is None:
            root_type = self._schema.get_root_type(operation.node.operation)
            assert root_type is not None
            fields = compile_fields(operation, root_type, self._root_fields, cached=document.cached)
            self.documents.add_compiled(text, document, key, fields)
        return fields

    def _record_execution(self, path: str, on_path: Callable[[str], object]) -> None:
        self.executed[path] += 1
        on_path(path)

    async def _execute(self, document: Document, request: GraphQLRequest, context: Context) -> bytes:
        """Execute with graphql-core: mutations, introspection, own resolvers, and queries with errors."""
        result = execute(
            self._schema,
            document.node,
            context_value=context,
            variable_values=request.variables,
            operation_name=request.operation_name,
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        response: dict[str, Any] = {"data": result.data}
        if result.errors:
            response["errors"] = [formatted_error(error) for error in result.errors]
        return orjson.dumps(response)


def _may_introspect(actor: Actor) -> bool:
    return "admin" in actor.roles and actor.profile.in_scope("schema", "read")


def _operation_node(document: Document, name: str | None) -> OperationDefinitionNode:
    operations = document.operations
    if name is None and len(operations) == 1:
        return next(iter(operations.values()))
    if name and name in operations:
        return operations[name]
    names = ", ".join(filter(None, operations)) or "none"
    problem = f"there is no operation named {name}" if name else "operationName is required to select an operation"
    raise GraphQLRequestError([GraphQLError(f"{problem}; named operations: {names}")], "GRAPHQL_VALIDATION_FAILED")


async def _read_fields(context: Context, fields: Sequence[CompiledField]) -> None:
    """Read all root fields that the planner knows, from one snapshot, into the context's results."""
    planned = [field for field in fields if field.root_field]
    if not planned:
        return
    unit_of_work = context.unit_of_work
    try:
        context.operation.signer = await context.directory.cursor_key.signer()
    except DirectoryError as error:
        context.results |= dict.fromkeys([field.key for field in planned], error)
        return
    bound_fields: dict[str, BoundField] = {}
    for field in planned:
        try:
            bound_field = field.bind_cached(unit_of_work, context.operation)
            if bound_field is None:
                bound_field = await unit_of_work.compile(partial(field.compile, unit_of_work, context.operation))
            bound_fields[field.key] = bound_field
        except QueryTooComplex as error:
            raise _too_complex(error.detail) from None
        except (DirectoryError, GraphQLError) as error:
            context.results[field.key] = error
    if (records := sum([bound_field.max_records for bound_field in bound_fields.values()])) > context.max_records:
        allowed = f"the query must return at most {context.max_records} records"
        raise _too_complex(f"{allowed}, could return {records}: request smaller pages")
    try:
        queries = list(chain.from_iterable([bound_field.queries for bound_field in bound_fields.values()]))
        rows = iter(await unit_of_work.read(queries) if queries else [])
    except DirectoryError as error:
        uncounted = isinstance(error, QueryTimeout) and any(field.counts for field in bound_fields.values())
        context.results |= dict.fromkeys(bound_fields, QueryTooComplex(COUNT_TIMEOUT) if uncounted else error)
        return
    for key, bound_field in bound_fields.items():
        context.results[key] = bound_field.finish(list(islice(rows, len(bound_field.queries))))
        context.type_names[key] = bound_field.type_names


def _too_complex(message: str) -> GraphQLRequestError:
    return GraphQLRequestError([GraphQLError(message)], QueryTooComplex.code)


def _compiled_response(context: Context, fields: Sequence[CompiledField]) -> bytes | None:
    """The response, put together from the JSON of its root fields; None unless all of them were read."""
    members = []
    for field in fields:
        json = b'"Query"' if field.name == "__typename" else context.results.get(field.key)
        if not isinstance(json, bytes):
            return None
        members.append(b'"%b":%b' % (field.key.encode(), json))
    return b'{"data":{%b}}' % b",".join(members)
