"""What is round every answer: a request id, a few headers, and a problem document where nothing else answered."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.rest import problems
from schema.engine.errors import DirectoryError, NotFound

LONGEST_URL = 8192
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))


class Envelope:
    """Gives each request an id, which the answer carries and the log knows it by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and mark the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = secrets.token_hex(8)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = [header for header in HEADERS if header[0] not in present]
                message["headers"] = [*message["headers"], *added, (b"x-request-id", request_id.encode())]
            await send(message)

        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_URL:
            error = problems.UriTooLong(f"a URL may have {LONGEST_URL} bytes")
            await _response(error, scope)(scope, receive, marked)
        else:
            await self._app(scope, receive, marked)


def handlers() -> Mapping[Any, Callable[[Request, Exception], Response]]:
    """What answers where no endpoint did, and where one failed."""
    return {HTTPException: _http, DirectoryError: _known, Exception: _unknown}


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        return _response(problems.MethodNotAllowed(f"{request.method} is not allowed here", headers), request.scope)
    path = request.url.path
    hint = f"; did you mean {path.rstrip('/')}?" if path.endswith("/") and path.strip("/") else ""
    return _response(NotFound(f"there is nothing at {path[:200]}{hint}"), request.scope)


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, DirectoryError)
    return _response(error, request.scope)


def _unknown(request: Request, error: Exception) -> Response:
    return _response(problems.INTERNAL, request.scope)


def _response(error: DirectoryError, scope: Scope) -> Response:
    answer = problems.answer(error, scope["path"], scope.get("request_id", ""))
    response = Response(answer.body, answer.status)
    response.raw_headers += answer.headers
    response.headers["cache-control"] = "no-store"
    return response
