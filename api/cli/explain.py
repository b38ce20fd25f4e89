"""`explain`: what a request takes: which way, which selection, which SQL, and what the database makes of it.

The request goes through the real service, over a trial database that has a record under each id that the request names,
and is written down on its way. The directory's own database is only asked how it would go about the statements.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from api.cli.explain_request import SAMPLE, Asked, Came, Who, rehearse
from api.cli.terminal import fail, plainly
from api.settings import Settings, read
from schema.engine.database_url import display_name, is_postgres
from schema.engine.driver import Query
from schema.engine.errors import DirectoryError
from schema.engine.model.resource import Resource, resource_of
from schema.explain import sqlite
from schema.explain.layout import laid_out
from schema.explain.recorder import Recorder
from schema.explain.sqlite import trial
from schema.explain.wording import in_words, narrowed
from schema.models import MODELS

_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I)
_REST = re.compile(
    r"(?:(?P<method>[A-Za-z]+)\s+)?(?:https?://[^/\s]+)?(?P<path>/[^\s?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_GRAPHQL = re.compile(r"\s*(?:#[^\n]*\n\s*)*(?:\{|(?:query|mutation|subscription|fragment)\b)")


@dataclass(frozen=True, slots=True)
class Planner:
    """Whose plans are shown, and what asks for one: given a step, and the tables in which it looks for something."""

    name: str
    plan: Callable[[Query, Collection[str]], tuple[list[str], list[str]]]


def explain(
    request: Annotated[str, typer.Argument(help="'/users?sort=-age', 'POST /users', a URL, or a GraphQL query.")],
    who: Annotated[Who, typer.Option("--as", help="Who asks; a person is who has the id 00000000-….")] = Who.admin,
    method: Annotated[str | None, typer.Option(help="The method, where the request does not begin with it.")] = None,
    body: Annotated[str | None, typer.Option(help="A body; unset, the document's example.")] = None,
    variables: Annotated[str, typer.Option(metavar="JSON", help="The variables of a GraphQL query.")] = "{}",
) -> None:
    """Show what a request takes: the way it goes, its selection, its SQL, and what the database makes of that."""
    asked = _understood(request, method, body, variables)
    with plainly():
        settings = read()
        resources = [resource_of(model) for model in MODELS]
        ids = {it.lower() for it in _ID.findall(f"{asked.path} {asked.query} {(asked.body or b'').decode()}")} | {
            SAMPLE
        }
        said, came, recorder = _explained(settings, resources, sorted(ids), asked, who)
    print("\n".join(said))
    if came.status >= 400 or (asked.graphql and not recorder.trips and b'"errors"' in came.body):
        raise typer.Exit(1)


def _explained(
    settings: Settings, resources: list[Resource], ids: list[str], asked: Asked, who: Who
) -> tuple[list[str], Came, Recorder]:
    """What is said, what came of the request, and who has noted it down."""
    place = settings.database
    if is_postgres(place):
        # Only here: who has a file needs no driver for a server.
        from schema.explain import postgres

        furnished = partial(postgres.furnish, resources=resources, ids=ids)
        came, recorder = asyncio.run(rehearse(settings, postgres.guarded(place), asked, who, furnished))
        planned = Planner(display_name(place), partial(postgres.planned, place))
        return [*_told(asked, who, came, recorder), *_trips(recorder, planned)], came, recorder
    with trial(resources, ids) as path:
        came, recorder = asyncio.run(rehearse(settings, path, asked, who))
        if Path(place).is_file():
            planned = Planner(place, partial(sqlite.planned, place))
        else:
            planned = Planner("an empty database, as there is none yet", partial(sqlite.planned, path))
        return [*_told(asked, who, came, recorder), *_trips(recorder, planned)], came, recorder


def _understood(request: str, method: str | None, body: str | None, variables: str) -> Asked:
    if _GRAPHQL.match(request):
        try:
            given = orjson.loads(variables)
        except ValueError:
            fail("--variables has to be a JSON object.", 2)
        sent = orjson.dumps({"query": request, "variables": given})
        return Asked("POST", "/graphql", body=sent, graphql=request)
    found = _REST.fullmatch(request.strip())
    if found is None:
        fail(f"{request[:100]!r} is neither a path such as /users?sort=-age nor a GraphQL query.", 2)
    path = re.sub(r"\{\w+\}|:\w+(?=/|$)", SAMPLE, found["path"])
    action = (method or found["method"] or ("POST" if body is not None else "GET")).upper()
    return Asked(action, path, found["query"] or "", None if body is None else body.encode())


def _told(asked: Asked, who: Who, came: Came, recorder: Recorder) -> Iterator[str]:
    """The request as a whole."""
    statements = sum(len(trip.steps) for trip in recorder.trips)
    yield f"request     {asked.method} {asked.path}{'?' * bool(asked.query)}{asked.query}, as {who.value}"
    yield f"operation   {came.operation or 'none'}"
    yield f"way         {_way(asked, came)}"
    yield f"trips       {len(recorder.trips)}, with {statements} statement{'s' * (statements != 1)}"
    if came.status >= 400 or (asked.graphql and b'"errors"' in came.body):
        yield f"refused     with status {came.status}:"
        yield orjson.dumps(orjson.loads(came.body), option=orjson.OPT_INDENT_2).decode()


def _way(asked: Asked, came: Came) -> str:
    ways = {
        "compiledQuery": "compiled: all its root fields are the planner's, so the answer is written from the rows",
        "interpretedQuery": f"interpreted: {_hindrance(asked)}",
        "mutation": "interpreted: its fields run one after the other, each in a transaction of its own",
        "subscription": "interpreted: it is asked anew with each change",
        "refusedOperation": "none: the document was refused before it could run",
    }
    return ways.get(
        came.operation, "REST: compiled, one plan for all requests of this form" if came.operation else "none"
    )


def _hindrance(asked: Asked) -> str:
    """Why the planner could not answer all of a query."""
    looked = sorted(set(re.findall(r"\b__(?:schema|type)\b", asked.graphql or "")))
    if looked:
        return f"{' and '.join(looked)} is answered from the schema, not from the database"
    return "one of its root fields was refused, or has a resolver of its own"


def _trips(recorder: Recorder, planner: Planner) -> Iterator[str]:
    for number, trip in enumerate(recorder.trips, 1):
        together = ", all of it in one transaction" if len(trip.steps) > 1 or trip.kind == "write" else ""
        yield f"\ntrip {number}: a {trip.kind}{together}"
        for step in trip.steps:
            yield from _step(step, recorder, planner)


def _step(step: Query, recorder: Recorder, planner: Planner) -> Iterator[str]:
    key, statement = recorder.planned(step[0])
    words, tables = _selection(key)
    names = statement.names if statement and statement.names else tuple(f"?{at + 1}" for at in range(len(step[1])))
    yield from _headed("selection", words)
    yield from _headed("SQL", laid_out(step[0]))
    yield from _headed("binds", [f"{name} = {_value(name, it)}" for name, it in zip(names, step[1], strict=True)])
    try:
        lines, remarks = planner.plan(step, tables)
    except DirectoryError as error:
        yield from _headed(f"{planner.name} cannot say how it would go about it", [error.detail])
        return
    yield from _headed(f"plan of {planner.name}", lines or ["nothing is looked up"])
    yield from (f"  ! {line}" for line in remarks)


def _selection(key: Any) -> tuple[list[str], set[str]]:
    """What a plan was made for, in words, and the tables in which it looks for something."""
    if isinstance(key, tuple) and len(key) == 4 and key[0] == "one":
        return in_words(key[1], key[2], of_one=True), narrowed(key[1], key[2])
    if isinstance(key, tuple) and len(key) == 3 and isinstance(key[0], Resource):
        return in_words(key[0], key[1], of_one=False), narrowed(key[0], key[1])
    return [], set()


def _headed(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"  {title}"
        yield from (f"    {line}" for line in lines)


def _value(name: str, value: Any) -> str:
    if name == "actor":
        return "the actor's own id" if value else "null: this actor has no id"
    text = "null" if value is None else str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
