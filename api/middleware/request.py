"""What is round every answer: a request id, a few headers, a place among those that run, and a problem document where
nothing else answered. What took long or failed is told to the log, by its path alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.graphql import http
from api.graphql.websocket import handshake
from api.http import problem_details
from api.http.paths import HEALTH_PATHS, PRIORITY_PATHS
from api.http.problem_details import TooManyRequests
from api.http.repeated_headers import check_repeated
from api.http.requests import headers_of
from api.middleware.client_identity import Identify
from api.middleware.cors import Cors
from api.middleware.rate_limit import RateLimiter
from api.middleware.response import HEADERS, SECURE, ResponseOptions, ResponseWriter
from api.observability.logs import REQUEST_ID
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.errors import DirectoryError, NotFound

LONGEST_URL = 8192
SLOW_SECONDS = 1.0
_BODILESS = {"GET", "HEAD", "OPTIONS"}
Check = Callable[[Scope], None]
log = logging.getLogger("tandem")


class RequestMiddleware:
    """Gives each request an id, which the answer carries and the log knows it by.

    `checks` look at a request first: they put it right, or refuse it by raising a `DirectoryError`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: ConcurrencyLimit,
        rates: RateLimiter,
        identify: Identify,
        checks: Iterable[Check] = (),
        cors: Cors | None = None,
        production: bool = True,
        chatty: bool = False,
    ) -> None:
        self._app = app
        self._rates = rates
        self._terms = ResponseOptions(gate, identify, rates.charge_request, SECURE if production else HEADERS)
        self._checks = tuple(checks)
        self._cors = cors
        self._chatty = chatty
        self._ids = _ids()
        self._unavailable = (0, float("-inf"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and mark the answer; what nobody foresaw goes to the log, and a fixed sentence out."""
        if scope["type"] != "http":
            await self._open(scope, receive, send)
            return
        began = perf_counter()
        scope["request_id"] = request_id = scope.get("trace_id") or next(self._ids)
        REQUEST_ID.set(request_id)
        answer = ResponseWriter(scope, receive, send, self._terms)
        try:
            await self._enter(scope, answer)
        except DirectoryError as error:
            await self._refuse(error, scope, answer)
        except Exception:
            log.exception("request %s failed", request_id, extra={"method": scope["method"], "path": scope["path"]})
            if answer.status:
                raise
            await self._refuse(problem_details.INTERNAL_ERROR, scope, answer)
        finally:
            answer.leave()
            seconds = perf_counter() - began
            if answer.status >= 500 or seconds >= SLOW_SECONDS or self._chatty:
                self._tell(scope, answer.status, seconds)

    def _enter(self, scope: Scope, answer: ResponseWriter) -> Awaitable[None]:
        """Look at the request, take a place for it, and pass it on."""
        if self._cors is not None:
            self._cors.mark(scope)
        path, method = scope["path"], scope["method"]
        named = self._check(scope)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_URL:
            raise problem_details.UriTooLong(f"a URL may have {LONGEST_URL} bytes")
        priority = path in PRIORITY_PATHS
        if not priority:
            self._rates.check(scope)
        elif path in HEALTH_PATHS and method in ("GET", "HEAD"):
            scope["charged"] = True
        if self._cors is not None and (headers := self._cors.preflight(scope)) is not None:
            return _preflight(answer, headers)
        if priority:
            return self._app(scope, answer.outside, answer.send)
        if method not in _BODILESS and _has_body(named):
            return self._app(scope, answer.receive, answer.send)
        if answer.enter_at_once():
            return self._app(scope, answer.outside, answer.send)
        return self._wait(scope, answer)

    def _check(self, scope: Scope) -> Mapping[str, str]:
        """Let the checks look at a request; its headers by name, which stay in the scope as `named`."""
        named: Mapping[str, str] | None = scope.get("headers_by_name")
        if named is None:
            scope["headers_by_name"] = named = headers_of(scope)
        # Fewer names than headers: one was sent more than once, as in few requests.
        if len(named) < len(scope["headers"]):
            check_repeated(scope["headers"])
        for check in self._checks:
            check(scope)
        return named

    async def _wait(self, scope: Scope, answer: ResponseWriter) -> None:
        """Pass a request on as soon as there is a place for it."""
        await answer.enter()
        await self._app(scope, answer.outside, answer.send)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for what is no request: a WebSocket is looked at, too, and refused before it is one."""
        if scope["type"] == "websocket":
            scope["request_id"] = scope.get("trace_id") or next(self._ids)
            REQUEST_ID.set(scope["request_id"])
            try:
                await self._charge_handshake(scope)
            except DirectoryError as error:
                if (await receive())["type"] == "websocket.connect":
                    await handshake.refuse(error, scope, send)
                return
        await self._app(scope, receive, send)

    async def _charge_handshake(self, scope: Scope) -> None:
        """Look at a handshake and charge it, before anything else is done; a refused one costs the same."""
        refused = None
        try:
            self._check(scope)
        except DirectoryError as error:
            refused = error
        await self._rates.charge_request(scope)
        if refused is not None:
            raise refused

    async def _refuse(self, error: DirectoryError, scope: Scope, answer: ResponseWriter) -> None:
        try:
            await refuse(error, scope, answer.send)
        except TooManyRequests as unpaid:
            await refuse(unpaid, scope, answer.send)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """A line for the log. While nothing works, one a second: it is then that writing them would hurt."""
        told = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1)}
        level = logging.ERROR if status == 500 else logging.WARNING
        if status == 503 and not self._chatty:
            count, when = self._unavailable
            self._unavailable = (count + 1, when)
            if (now := perf_counter()) - when < 1:
                return
            self._unavailable = (0, now)
            told["unavailable"] = count + 1
        elif status < 500 and seconds < SLOW_SECONDS:
            level = logging.DEBUG
        log.log(level, "answered", extra=told)


async def refuse(error: DirectoryError, scope: Scope, send: Send) -> None:
    """Answer with an error, in the words of the door that was asked."""
    if scope["path"] == http.PATH:
        await http.refuse(error, scope, send)
    else:
        await _response(error, scope)(scope, _nothing, send)


def exception_handlers() -> Mapping[Any, Callable[[Request, Exception], Response]]:
    """What answers where no endpoint did."""
    return {HTTPException: _http}


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        return _response(
            problem_details.MethodNotAllowed(f"{request.method} is not allowed here", headers), request.scope
        )
    path = request.url.path
    hint = f"; did you mean {path.rstrip('/')[:200]}?" if path.endswith("/") and path.strip("/") else ""
    return _response(NotFound(f"there is nothing at {path[:200]}{hint}"), request.scope)


def _response(error: DirectoryError, scope: Scope) -> Response:
    answer = problem_details.problem_response(error, scope["path"], scope["request_id"])
    response = Response(answer.body, answer.status)
    response.raw_headers += answer.headers
    response.headers["cache-control"] = "no-store"
    return response


def _has_body(named: Mapping[str, str]) -> bool:
    return "transfer-encoding" in named or named.get("content-length", "0") != "0"


async def _preflight(answer: ResponseWriter, headers: Sequence[tuple[bytes, bytes]]) -> None:
    await answer.send({"type": "http.response.start", "status": 204, "headers": headers})
    await answer.send({"type": "http.response.body"})


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _ids() -> Iterator[str]:
    """Request ids that nobody can foresee, drawn by the hundred."""
    while True:
        block = os.urandom(8 * 256).hex()
        for start in range(0, len(block), 16):
            yield block[start : start + 16]
