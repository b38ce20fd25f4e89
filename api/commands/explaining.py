"""`explain`: what a request takes: which way, which selection, which SQL, and what the database makes of it.

The request goes through the real service, over a trial database that has a record under each id that the request names,
and is written down on its way. The directory's own database is only asked how it would go about the statements.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from api.commands.terminal import fail, plainly
from api.settings import Settings, read
from schema.engine.shape import Shape, shape
from schema.explain.layout import laid_out
from schema.explain.recording import Recorder, Trip
from schema.explain.trying import database_plan, trial, warnings
from schema.explain.wording import in_words, narrowed
from schema.models import RESOURCES

SAMPLE = "00000000-0000-7000-8000-000000000000"
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.I)
_REST = re.compile(
    r"(?:(?P<method>[A-Za-z]+)\s+)?(?:https?://[^/\s]+)?(?P<path>/[^\s?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?"
)
_GRAPHQL = re.compile(r"\s*(?:#[^\n]*\n\s*)*(?:\{|(?:query|mutation|subscription|fragment)\b)")


class Who(StrEnum):
    """A kind of actor."""

    admin = "admin"
    editor = "editor"
    reader = "reader"
    person = "person"
    nobody = "nobody"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the service gets it."""

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    graphql: str | None = None


@dataclass(frozen=True, slots=True)
class Came:
    """What came of it."""

    operation: str
    status: int
    body: bytes


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
        shapes = [shape(model) for model in RESOURCES]
        ids = {it.lower() for it in _ID.findall(f"{asked.path} {asked.query} {(asked.body or b'').decode()}")} | {
            SAMPLE
        }
        with trial(shapes, sorted(ids)) as path:
            came, recorder = asyncio.run(_tried(settings, path, asked, who))
            said = list(_told(asked, who, came, recorder))
            there = Path(settings.database).is_file()
            for number, trip in enumerate(recorder.trips, 1):
                said += _trip(number, trip, recorder, settings.database if there else path, there=there)
    print("\n".join(said))
    if came.status >= 400 or (asked.graphql and not recorder.trips and b'"errors"' in came.body):
        raise typer.Exit(1)


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
    verb = (method or found["method"] or ("POST" if body is not None else "GET")).upper()
    return Asked(verb, path, found["query"] or "", None if body is None else body.encode())


async def _tried(settings: Settings, path: str, asked: Asked, who: Who) -> tuple[Came, Recorder]:
    """Put the request to the whole service, over the trial database."""
    # Only here, because the other commands need neither door and start in a fraction of the time.
    from api.app import create_app
    from schema.engine.errors import Unauthenticated
    from schema.engine.policy import Actor

    async def authenticate(scope: Any) -> Actor:
        if who is Who.nobody:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        return Actor(id=SAMPLE) if who is Who.person else Actor(roles=frozenset({who.value}))

    app = create_app(replace(settings, database=path, allowed_hosts=("*",), rate=0, tracing="off"), authenticate)
    recorder = Recorder(path)
    async with app.router.lifespan_context(app), recorder:
        app.state.directory = recorder
        if asked.body is None and asked.method in ("POST", "PUT", "PATCH"):
            asked = replace(asked, body=await _example(app, asked))
        return await _put(app, asked), recorder


async def _example(app: Any, asked: Asked) -> bytes:
    """The body that the OpenAPI document shows for such a request."""
    document = orjson.loads((await _put(app, Asked("GET", "/openapi.json"))).body)
    for path, operations in document["paths"].items():
        if (
            re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), asked.path)
            and asked.method.lower() in operations
        ):
            for content in operations[asked.method.lower()].get("requestBody", {}).get("content", {}).values():
                examples = [it["value"] for it in content.get("examples", {}).values()]
                return orjson.dumps(content.get("example", examples[0] if examples else {}))
    return b"{}"


async def _put(app: Any, asked: Asked) -> Came:
    """The application's answer to a request."""
    media = b"application/merge-patch+json" if asked.method == "PATCH" else b"application/json"
    body = asked.body or b""
    headers = [(b"host", b"localhost"), (b"accept", b"application/json")]
    headers += [(b"content-type", media), (b"content-length", str(len(body)).encode())] if body else []
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": asked.method, "path": asked.path, "raw_path": asked.path.encode(), "headers": headers,
        "query_string": asked.query.encode(), "client": ("127.0.0.1", 0), "server": ("localhost", 80),
    }  # fmt: skip
    status, parts = 0, []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return Came(scope.get("operation", ""), status, b"".join(parts))


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


def _trip(number: int, trip: Trip, recorder: Recorder, path: str, *, there: bool) -> Iterator[str]:
    several = len(trip.steps) > 1
    yield f"\ntrip {number}: a {trip.kind}{', all of it in one transaction' if several or trip.kind == 'write' else ''}"
    for step in trip.steps:
        key, statement = recorder.planned(step[0])
        words, tables = _selection(key)
        names = statement.names if statement and statement.names else tuple(f"?{at + 1}" for at in range(len(step[1])))
        yield from _headed("selection", words)
        yield from _headed("SQL", laid_out(step[0]))
        yield from _headed("binds", [f"{name} = {_value(name, it)}" for name, it in zip(names, step[1], strict=True)])
        try:
            lines = database_plan(path, step)
        except sqlite3.Error as error:
            yield from _headed(f"{path} cannot say how it would go about it", [str(error)])
            continue
        yield from _headed(
            f"plan of {path if there else 'an empty database, as there is none yet'}", lines or ["nothing is looked up"]
        )
        yield from (f"  ! {line}" for line in warnings(step[0], lines, tables))


def _selection(key: Any) -> tuple[list[str], set[str]]:
    """What a plan was made for, in words, and the tables in which it looks for something."""
    if isinstance(key, tuple) and len(key) == 4 and key[0] == "one":
        return in_words(key[1], key[2], of_one=True), narrowed(key[1], key[2])
    if isinstance(key, tuple) and len(key) == 3 and isinstance(key[0], Shape):
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
