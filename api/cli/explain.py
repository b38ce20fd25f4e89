"""`explain`: the selection, the SQL and the database's plan behind a REST or GraphQL request.

The request runs through the whole application over a trial database, which has a record under each id in the request.
The real database only explains query plans.
"""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from api.cli.explain_request import SAMPLE_ID, Role, TrialRequest, TrialResponse, send_trial
from api.cli.terminal import errors_shown, fail
from api.settings import Settings, read_settings
from schema.engine.database_url import display_name, is_postgres
from schema.engine.driver import Query
from schema.engine.errors import DirectoryError
from schema.engine.model.resource import Resource, resource_of
from schema.explain import sqlite
from schema.explain.plan_warnings import filtered_tables
from schema.explain.recorder import RecordingDirectory
from schema.models import MODELS

WIDTH = 116
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I)
_REST = re.compile(
    r"(?:(?P<method>[A-Za-z]+)\s+)?(?:https?://[^/\s]+)?(?P<path>/[^\s?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_GRAPHQL = re.compile(r"\s*(?:#[^\n]*\n\s*)*(?:\{|(?:query|mutation|subscription|fragment)\b)")
_CLAUSE = re.compile(r"\s+(?=(?:SELECT|FROM|WHERE|ORDER BY|LIMIT|VALUES|SET|RETURNING)\b)")


@dataclass(frozen=True, slots=True)
class Database:
    """The database whose plans are shown; `explain` is given a query and the tables that it searches."""

    name: str
    explain: Callable[[str, tuple[Any, ...], Collection[str]], tuple[list[str], list[str]]]


def explain(
    request: Annotated[str, typer.Argument(help="'/users?sort=-age', 'POST /users', a URL, or a GraphQL document.")],
    role: Annotated[Role, typer.Option("--as", help="The actor's role; a person is a user without one.")] = Role.admin,
    method: Annotated[str | None, typer.Option(help="The method, unless the request begins with it.")] = None,
    body: Annotated[str | None, typer.Option(help="The body; by default the OpenAPI document's example.")] = None,
    variables: Annotated[str, typer.Option(metavar="JSON", help="The variables of a GraphQL document.")] = "{}",
) -> None:
    """Show the selection, the SQL and the database's plan behind a request. Changes nothing."""
    trial = _trial_request(request, method, body, variables)
    with errors_shown():
        lines, failed = _explain(read_settings(), trial, role)
    print("\n".join(lines))
    if failed:
        raise typer.Exit(1)


def _trial_request(request: str, method: str | None, body: str | None, variables: str) -> TrialRequest:
    if _GRAPHQL.match(request):
        try:
            values = orjson.loads(variables)
        except ValueError:
            fail("--variables: must be a JSON object", 2)
        content = orjson.dumps({"query": request, "variables": values})
        return TrialRequest("POST", "/graphql", body=content, graphql=request)
    match = _REST.fullmatch(request.strip())
    if match is None:
        fail(f"{request[:100]!r} is neither a path such as /users?sort=-age nor a GraphQL document", 2)
    path = re.sub(r"\{\w+\}|:\w+(?=/|$)", SAMPLE_ID, match["path"])
    method = (method or match["method"] or ("POST" if body is not None else "GET")).upper()
    return TrialRequest(method, path, match["query"] or "", None if body is None else body.encode())


def _explain(settings: Settings, request: TrialRequest, role: Role) -> tuple[list[str], bool]:
    """Return the output, and whether the request failed."""
    resources = [resource_of(model) for model in MODELS]
    texts = f"{request.path} {request.query} {(request.body or b'').decode()}"
    ids = sorted({SAMPLE_ID, *(id.lower() for id in _ID.findall(texts))})
    url = settings.database
    if is_postgres(url):
        # Only here: with SQLite the PostgreSQL driver is not needed.
        from schema.explain import postgres

        create_tables = partial(postgres.create_trial_tables, resources=resources, ids=ids)
        trial = asyncio.run(send_trial(settings, postgres.read_only_url(url), request, role, create_tables))
        return _report(request, role, *trial, Database(display_name(url), partial(postgres.explain, url)))
    with sqlite.trial_database(resources, ids) as path:
        database = Database(url, partial(sqlite.explain, url))
        if not Path(url).is_file():
            database = Database("an empty database, as there is none yet", partial(sqlite.explain, path))
        return _report(request, role, *asyncio.run(send_trial(settings, path, request, role)), database)


def _report(
    request: TrialRequest, role: Role, response: TrialResponse, directory: RecordingDirectory, database: Database
) -> tuple[list[str], bool]:
    has_errors = response.status >= 400 or (request.graphql is not None and b'"errors"' in response.body)
    queries = sum(len(round_trip.queries) for round_trip in directory.round_trips)
    lines = [
        f"request      {request.method} {request.path}{'?' * bool(request.query)}{request.query}, as {role.value}",
        f"operation    {response.operation or 'none'}",
        f"execution    {_EXECUTIONS.get(response.operation, 'a cached plan' if response.operation else 'none')}",
        f"round trips  {len(directory.round_trips)}, with {queries} statement{'s' * (queries != 1)}",
    ]
    if has_errors:
        lines += [f"response     status {response.status}:"]
        lines += orjson.dumps(orjson.loads(response.body), option=orjson.OPT_INDENT_2).decode().splitlines()
    for number, round_trip in enumerate(directory.round_trips, 1):
        transaction = ", in one transaction" if len(round_trip.queries) > 1 or round_trip.kind == "write" else ""
        lines += ["", f"round trip {number}: {round_trip.kind}{transaction}"]
        for query in round_trip.queries:
            lines += _query_lines(query, directory, database)
    return lines, has_errors and (response.status >= 400 or not directory.round_trips)


_EXECUTIONS = {
    "compiledQuery": "compiled: all root fields are planned, and the database writes the JSON",
    "interpretedQuery": "interpreted: introspection, a root field with its own resolver, or one that failed",
    "mutation": "interpreted: the fields run one after the other, each in its own transaction",
    "subscription": "interpreted: runs again at each change",
    "refusedOperation": "none: the document was refused",
}


def _query_lines(query: Query, directory: RecordingDirectory, database: Database) -> Iterator[str]:
    sql, parameters = query[:2]
    key, statement = directory.plan_of(sql)
    resource, selection = _selection(key)
    if resource is not None:
        yield from _section("selection", list(_outline(resource.plural, selection)))
    yield from _section("SQL", _sql_lines(sql))
    names = statement.names if statement and statement.names else tuple(f"?{at + 1}" for at in range(len(parameters)))
    yield from _section(
        "parameters", [f"{name} = {_value(name, value)}" for name, value in zip(names, parameters, strict=True)]
    )
    try:
        lines, warnings = database.explain(sql, parameters, filtered_tables(resource, selection) if resource else ())
    except DirectoryError as error:
        yield from _section(f"no plan of {database.name}", [error.detail])
        return
    yield from _section(f"plan of {database.name}", lines or ["reads no table"])
    yield from (f"  ! {warning}" for warning in warnings)


def _selection(key: Any) -> tuple[Resource | None, Any]:
    """Return what a plan's cache key says that it was compiled for."""
    match key:
        case (planner, Resource() as resource, selection, _) if callable(planner):
            return resource, selection
    return None, None


def _outline(name: str, source: Any, indent: str = "") -> Iterator[str]:
    """Write a part of a selection with the attributes that differ from their defaults, and its own parts below."""
    if not is_dataclass(source):
        yield f"{indent}{name}: {source}"
        return
    attributes = {field.name: getattr(source, field.name) for field in fields(source) if field.repr}
    parts = attributes.pop("members", ())
    content = attributes.pop("item", attributes.pop("selection", None))
    defaults = {field.name: field.default for field in fields(source)}
    texts = [f"{key}={value!r}" for key, value in attributes.items() if value != defaults[key]]
    yield f"{indent}{name}: {type(source).__name__}({', '.join(texts)})"
    for name, part in content.members if content else parts:
        yield from _outline(name, part, f"{indent}  ")


def _sql_lines(sql: str) -> list[str]:
    clauses = _CLAUSE.sub("\n", sql.strip()).splitlines()
    return [
        line
        for clause in clauses
        for line in textwrap.wrap(clause, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"  {title}"
        yield from (f"    {line}" for line in lines)


def _value(name: str, value: Any) -> str:
    if name == "actor":
        return "the actor's own id" if value else "null: the actor has no id"
    text = "null" if value is None else str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
