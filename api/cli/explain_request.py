"""Sends one request to the whole application, over a trial database, and records its queries."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from api.settings import Settings
from schema.engine.operations.directory import Directory
from schema.explain.recorder import RecordingDirectory

CreateTables = Callable[[Directory], Awaitable[None]]
SAMPLE_ID = "00000000-0000-7000-8000-000000000000"


class Role(StrEnum):
    """Who sends a request: a role, a user without one, or `nobody`, who has no credential."""

    admin = "admin"
    editor = "editor"
    reader = "reader"
    person = "person"
    nobody = "nobody"


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """An HTTP request; `graphql` is the document in its body."""

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    graphql: str | None = None


@dataclass(frozen=True, slots=True)
class TrialResponse:
    """The response, and the name of the operation that produced it."""

    operation: str
    status: int
    body: bytes


async def send_trial(
    settings: Settings, database: str, request: TrialRequest, role: Role, create_tables: CreateTables | None = None
) -> tuple[TrialResponse, RecordingDirectory]:
    """Send a request to an application over `database`; `create_tables` prepares that first, unrecorded."""
    # Other commands start in a fraction of the time without the application.
    from api.app import create_app
    from schema.engine.errors import Unauthenticated
    from schema.engine.model.policy import Actor

    async def authenticate(scope: Any) -> Actor:
        if role is Role.nobody:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        return Actor(id=SAMPLE_ID) if role is Role.person else Actor(roles=frozenset({role.value}))

    changes = {"database": database, "read_database": None, "allowed_hosts": ("*",), "rate": 0, "tracing": "off"}
    app = create_app(settings.model_copy(update=changes), authenticate)
    directory = RecordingDirectory(database)
    async with app.router.lifespan_context(app), directory:
        if create_tables is not None:
            await create_tables(directory)
            directory.round_trips.clear()
        app.state.directory = directory
        if request.body is None and request.method in ("POST", "PUT", "PATCH"):
            request = replace(request, body=await _example_body(app, request))
        return await _send(app, request), directory


async def _example_body(app: Any, request: TrialRequest) -> bytes:
    """Return the body that the OpenAPI document shows as an example."""
    document = orjson.loads((await _send(app, TrialRequest("GET", "/openapi.json"))).body)
    method = request.method.lower()
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if method in operations and re.fullmatch(pattern, request.path):
            for content in operations[method].get("requestBody", {}).get("content", {}).values():
                for example in content.get("examples", {}).values():
                    return orjson.dumps(example["value"])
    return b"{}"


async def _send(app: Any, request: TrialRequest) -> TrialResponse:
    media_type = b"application/merge-patch+json" if request.method == "PATCH" else b"application/json"
    body = request.body or b""
    headers = [(b"host", b"localhost"), (b"accept", b"application/json")]
    headers += [(b"content-type", media_type), (b"content-length", str(len(body)).encode())] if body else []
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": request.method, "path": request.path, "raw_path": request.path.encode(), "headers": headers,
        "query_string": request.query.encode(), "client": ("127.0.0.1", 0), "server": ("localhost", 80),
    }  # fmt: skip
    status, parts = 0, []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return TrialResponse(scope.get("operation", ""), status, b"".join(parts))
