"""An operation from its text to its answer.

Whatever the planner can answer is read first, in one trip and of one moment. If that was all, the answer is written at
once; else graphql-core runs the operation, and finds those answers lying ready.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from schema.graphql.execution.coercion import Variables
from schema.graphql.execution.compiled_query import Root, compile_roots
from schema.graphql.execution.context import Context
from schema.graphql.execution.documents import MOST_ERRORS, Document, Documents
from schema.graphql.execution.errors import NotAQuery, RequestRefused, failure, too_many
from schema.graphql.execution.limits import Limits
from schema.graphql.execution.root_fields import Prepared
from schema.graphql.execution.selection_builder import Operation
from schema.graphql.schema import DirectorySchema

RECIPES_KEPT = 50
# The ways that an operation can take, as the figures call them.
COMPILED, INTERPRETED = "compiledQuery", "interpretedQuery"
REFUSED = "refusedOperation"
FOR_ADMINISTRATORS = "the schema is shown to administrators alone; a credential with scopes needs schema:read too"
WAYS = (COMPILED, INTERPRETED, "mutation", "subscription")


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller sends."""

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None


class Executor:
    """Runs operations against one schema, and counts which way they took."""

    def __init__(self, face: DirectorySchema, limits: Limits | None = None, *, discreet: bool = False) -> None:
        """`discreet`: what the schema holds is for administrators to ask; nobody else is told the names there are."""
        self._face = face
        self._discreet = discreet
        self._limits = limits or Limits()
        self.documents = Documents(face.schema, self._limits)
        self.ran = dict.fromkeys(WAYS, 0)

    async def run(
        self,
        request: Request,
        directory: Directory,
        actor: Actor,
        *,
        queries_only: bool = False,
        told: Callable[[str], object] = lambda way: None,
        spend: Callable[[int], Awaitable[None]] | None = None,
    ) -> bytes:
        """The answer as JSON. `RequestRefused` where nothing can be run, `NotAQuery` where nothing may be.

        `told` is told which of the `WAYS` it took; `spend` of so many mutations before they run, and may refuse them.
        """
        if not self._discreet or _may_see_schema(actor):
            document = await self._document(request.query, directory, actor)
            return await self._run(document, request, directory, actor, queries_only, told, spend)
        try:
            document = await self._document(request.query, directory, actor)
            if document.introspects:
                raise RequestRefused([GraphQLError(FOR_ADMINISTRATORS)], Forbidden.code)
            return await self._run(document, request, directory, actor, queries_only, told, spend)
        except RequestRefused as error:
            raise error.without_suggestions() from None

    async def _document(self, text: str, directory: Directory, actor: Actor) -> Document:
        """The document; a new one is read when it is this actor's turn."""
        found = self.documents.kept.probe(text)
        if found is None:
            async with directory.compile_turn(actor):
                found = await self.documents.find(text)
        return found

    async def _run(
        self,
        document: Document,
        request: Request,
        directory: Directory,
        actor: Actor,
        queries_only: bool,
        told: Callable[[str], object],
        spend: Callable[[int], Awaitable[None]] | None,
    ) -> bytes:
        node = _chosen(document, request.operation_name)
        if queries_only and node.operation is not OperationType.QUERY:
            raise NotAQuery("GET is for queries; send this with POST")
        variables, known = self._variables(document, node, request.variables), document.arguments
        operation = Operation(self._face.schema, node, document.fragments, variables, known if document.kept else None)
        roots = self._recipe(request.query, document, operation, actor)
        found = {root.key: root.details for root in roots}
        context = Context(directory, actor, operation, found, self._limits.records)
        if node.operation is OperationType.QUERY:
            await _read(context, roots, self._limits.records)
            if (answer := _written(context, roots)) is not None:
                self._took(COMPILED, told)
                return answer
        elif spend is not None:
            await spend(len(roots))
        way = node.operation.value
        self._took(INTERPRETED if way == "query" else way, told)
        return await self._execute(document, request, context)

    def _took(self, way: str, told: Callable[[str], object]) -> None:
        self.ran[way] += 1
        told(way)

    def _variables(self, document: Document, node: OperationDefinitionNode, given: Mapping[str, Any]) -> VariableValues:
        name, schema, definitions = node.name.value if node.name else "", self._face.schema, node.variable_definitions
        known = document.variables.get(name)
        if known is None:
            known = Variables(schema, definitions or (), MOST_ERRORS, lasting=document.kept)
            if document.kept:
                document.variables[name] = known
        found = known.read(given)
        if isinstance(found, list):
            raise RequestRefused(found, "GRAPHQL_VALIDATION_FAILED")
        return found

    def _recipe(self, text: str, document: Document, operation: Operation, actor: Actor) -> tuple[Root, ...]:
        """The operation's root fields, as they were prepared the last time."""
        values = operation.variables.coerced
        key = (id(operation.node), actor.profile, tuple([values.get(name) for name in document.switches]))
        found = document.recipes.get(key)
        if found is None:
            kind = self._face.schema.get_root_type(operation.node.operation)
            assert kind is not None
            if len(document.recipes) >= RECIPES_KEPT:
                document.recipes.clear()
            found = document.recipes[key] = compile_roots(operation, kind, self._face.queries, lasting=document.kept)
            self.documents.grown(text, len(document.recipes))
        return found

    async def _execute(self, document: Document, request: Request, context: Context) -> bytes:
        """The same through graphql-core, for whatever is not the planner's, and for what went wrong."""
        running = execute(
            self._face.schema,
            document.node,
            context_value=context,
            variable_values=dict(request.variables),
            operation_name=request.operation_name,
        )
        result = running if isinstance(running, ExecutionResult) else await running
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [failure(error) for error in result.errors]
        return orjson.dumps(answer)


def _may_see_schema(actor: Actor) -> bool:
    return "admin" in actor.roles and actor.profile.in_scope("schema", "read")


async def _read(context: Context, roots: Sequence[Root], most: int) -> None:
    """The answers of all root fields that the planner knows, of one moment; `most` is how many records they may be."""
    work, known = context.unit_of_work, [root for root in roots if root.known]
    if known:
        try:
            context.operation.signer = await context.directory.cursor_key.signer()
        except DirectoryError as error:
            context.answers |= dict.fromkeys([root.key for root in known], error)
            return
    prepared: dict[str, Prepared] = {}
    for root in known:
        try:
            one = root.prepare(work, context.operation)
            if one is None:
                one = await work.compile(partial(root.compile, work, context.operation))
            prepared[root.key] = one
        except QueryTooComplex as error:
            raise RequestRefused([GraphQLError(error.detail)], error.code) from None
        except (DirectoryError, GraphQLError) as error:
            context.answers[root.key] = error
    if (records := sum([one.records for one in prepared.values()])) > most:
        raise too_many(records, most)
    try:
        steps = list(chain.from_iterable([one.steps for one in prepared.values()]))
        rows = await work.read(steps) if steps else []
    except DirectoryError as error:
        uncounted = isinstance(error, QueryTimeout) and any(one.counts for one in prepared.values())
        context.answers |= dict.fromkeys(prepared, QueryTooComplex(COUNT_TIMEOUT) if uncounted else error)
        return
    brought = iter(rows)
    for key, one in prepared.items():
        context.answers[key] = one.finish(list(islice(brought, len(one.steps))))
        context.kinds[key] = one.kinds


def _chosen(document: Document, name: str | None) -> OperationDefinitionNode:
    """The operation that is meant."""
    operations = document.operations
    if name is None and len(operations) == 1:
        return next(iter(operations.values()))
    if name and name in operations:
        return operations[name]
    listed = ", ".join(filter(None, operations)) or "none with a name"
    sentence = f"there is no operation named {name}" if name else "operationName has to say which operation is meant"
    raise RequestRefused([GraphQLError(f"{sentence}; there are {listed}")], "GRAPHQL_VALIDATION_FAILED")


def _written(context: Context, roots: Sequence[Root]) -> bytes | None:
    """The whole answer, if all of it is there already."""
    members = []
    for root in roots:
        answer = b'"Query"' if root.name == "__typename" else context.answers.get(root.key)
        if not isinstance(answer, bytes):
            return None
        members.append(b'"%b":%b' % (root.key.encode(), answer))
    return b'{"data":{%b}}' % b",".join(members)
