"""What is round every answer: a request id, a few headers, and a problem document where nothing else answered."""

from __future__ import annotations

import logging
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
log = logging.getLogger("tandem")


class Envelope:
    """Gives each request an id, which the answer carries and the log knows it by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and mark the answer; what nobody foresaw goes to the log, and a fixed sentence out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = scope.get("trace_id") or secrets.token_hex(8)
        answer = _Marked(scope, send)
        try:
            if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_URL:
                raise problems.UriTooLong(f"a URL may have {LONGEST_URL} bytes")
            await self._app(scope, receive, answer.send)
        except DirectoryError as error:
            await _response(error, scope)(scope, receive, answer.send)
        except Exception:
            log.exception("request %s failed: %s %r", scope["request_id"], scope["method"], scope["path"])
            if answer.started:
                raise
            await _response(problems.INTERNAL, scope)(scope, receive, answer.send)


class _Marked:
    """An answer on its way out, with the headers that all have; to HEAD without its body."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._scope = scope
        self._id = (b"x-request-id", scope["request_id"].encode())
        self._bare = scope["method"] == "HEAD"
        self.started = False

    async def send(self, message: Message) -> None:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.started = True
            self._scope["status"] = message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            added = [header for header in HEADERS if header[0] not in present]
            message["headers"] = [*message["headers"], *added, self._id]
        elif self._bare:
            message = {**message, "body": b""}
        await self._send(message)


def handlers() -> Mapping[Any, Callable[[Request, Exception], Response]]:
    """What answers where no endpoint did."""
    return {HTTPException: _http}


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        return _response(problems.MethodNotAllowed(f"{request.method} is not allowed here", headers), request.scope)
    path = request.url.path
    hint = f"; did you mean {path.rstrip('/')[:200]}?" if path.endswith("/") and path.strip("/") else ""
    return _response(NotFound(f"there is nothing at {path[:200]}{hint}"), request.scope)


def _response(error: DirectoryError, scope: Scope) -> Response:
    answer = problems.answer(error, scope["path"], scope["request_id"])
    response = Response(answer.body, answer.status)
    response.raw_headers += answer.headers
    response.headers["cache-control"] = "no-store"
    return response
