"""One request put to the whole service, over a trial database, and written down on its way."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from api.settings import Settings
from schema.engine.operations.directory import Directory
from schema.explain.recorder import Recorder

Furnish = Callable[[Directory], Awaitable[None]]
SAMPLE = "00000000-0000-7000-8000-000000000000"


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


async def rehearse(
    settings: Settings, place: str, asked: Asked, who: Who, furnish: Furnish | None = None
) -> tuple[Came, Recorder]:
    """Put the request to the whole service, over the trial database; `furnish` puts into it what it lacks yet."""
    # Only here, because the other commands need neither door and start in a fraction of the time.
    from api.app import create_app
    from schema.engine.errors import Unauthenticated
    from schema.engine.model.policy import Actor

    async def authenticate(scope: Any) -> Actor:
        if who is Who.nobody:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        return Actor(id=SAMPLE) if who is Who.person else Actor(roles=frozenset({who.value}))

    trying = settings.model_copy(
        update={"database": place, "read_database": None, "allowed_hosts": ("*",), "rate": 0, "tracing": "off"}
    )
    app = create_app(trying, authenticate)
    recorder = Recorder(place)
    async with app.router.lifespan_context(app), recorder:
        if furnish is not None:
            await furnish(recorder)
            recorder.trips.clear()
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
