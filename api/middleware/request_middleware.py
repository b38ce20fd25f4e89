"""The middleware that every request passes first: request id, common headers, concurrency limit, problem documents.

Failed and slow requests are logged, by their path alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.http import PATH as GRAPHQL_PATH
from api.graphql.http import refuse as refuse_graphql
from api.graphql.websocket import handshake
from api.http import problem_details
from api.http.client_identity import Identify
from api.http.paths import HEALTH_PATHS, PRIORITY_PATHS
from api.http.problem_details import TooManyRequests
from api.http.repeated_headers import check_repeated
from api.http.requests import headers_of
from api.middleware.cors import Cors
from api.middleware.rate_limit import RateLimiter
from api.middleware.request_exchange import HEADERS, SECURE_HEADERS, ExchangeOptions, RequestExchange
from api.observability.logs import REQUEST_ID
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.errors import DirectoryError, NotFound

MAX_URL_LENGTH = 8192
SLOW_SECONDS = 1.0
_BODILESS = {"GET", "HEAD", "OPTIONS"}
# Changes the scope, or refuses the request by raising a `DirectoryError`.
Check = Callable[[Scope], None]
log = logging.getLogger("tandem")


class RequestMiddleware:
    """Gives each request an id and its response the common headers; answers errors with problem documents.

    `checks` run first. With `log_all` every request is logged, not only the failed and the slow.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        concurrency_limit: ConcurrencyLimit,
        rate_limiter: RateLimiter,
        identify: Identify,
        checks: Iterable[Check] = (),
        cors: Cors | None = None,
        production: bool = True,
        log_all: bool = False,
    ) -> None:
        self._app = app
        self._rate_limiter = rate_limiter
        https_headers = SECURE_HEADERS if production else HEADERS
        self._options = ExchangeOptions(concurrency_limit, identify, rate_limiter.charge_request, https_headers)
        self._checks = tuple(checks)
        self._cors = cors
        self._log_all = log_all
        self._ids = _request_ids()
        # How many 503 have not been logged, and when one was.
        self._unavailable = (0, float("-inf"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._handle_non_http(scope, receive, send)
            return
        started = perf_counter()
        scope["request_id"] = request_id = scope.get("trace_id") or next(self._ids)
        REQUEST_ID.set(request_id)
        exchange = RequestExchange(scope, receive, send, self._options)
        try:
            await self._handle(scope, exchange)
        except DirectoryError as error:
            await self._refuse(error, scope, exchange)
        except Exception:
            log.exception("request %s failed", request_id, extra={"method": scope["method"], "path": scope["path"]})
            if exchange.status:
                raise
            await self._refuse(problem_details.INTERNAL_ERROR, scope, exchange)
        finally:
            exchange.release()
            seconds = perf_counter() - started
            if exchange.status >= 500 or seconds >= SLOW_SECONDS or self._log_all:
                self._log(scope, exchange.status, seconds)

    def _handle(self, scope: Scope, exchange: RequestExchange) -> Awaitable[None]:
        """Check the request and pass it on; with a body, it takes a slot only once that is complete."""
        if self._cors is not None:
            self._cors.add_headers(scope)
        path, method = scope["path"], scope["method"]
        headers = self._check(scope)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_LENGTH:
            raise problem_details.UriTooLong(f"the URL must have at most {MAX_URL_LENGTH} bytes")
        priority = path in PRIORITY_PATHS
        if not priority:
            self._rate_limiter.check(scope)
        elif path in HEALTH_PATHS and method in ("GET", "HEAD"):
            scope["charged"] = True
        if self._cors is not None and (preflight := self._cors.preflight(scope)) is not None:
            return _respond(exchange.send, 204, preflight)
        if priority:
            return self._app(scope, exchange.raw_receive, exchange.send)
        if method not in _BODILESS and _has_body(headers):
            return self._app(scope, exchange.receive, exchange.send)
        if exchange.try_acquire():
            return self._app(scope, exchange.raw_receive, exchange.send)
        return self._wait(scope, exchange)

    def _check(self, scope: Scope) -> Mapping[str, str]:
        """Run the checks and return the headers by name; store them in the scope."""
        headers = headers_of(scope)
        # Fewer names than headers: one was sent more than once, which is rare.
        if len(headers) < len(scope["headers"]):
            check_repeated(scope["headers"])
        for check in self._checks:
            check(scope)
        return headers

    async def _wait(self, scope: Scope, exchange: RequestExchange) -> None:
        await exchange.acquire()
        await self._app(scope, exchange.raw_receive, exchange.send)

    async def _handle_non_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the lifespan on, and a WebSocket after the same checks."""
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
        """Check a handshake and charge it, also if it is refused."""
        refusal = None
        try:
            self._check(scope)
        except DirectoryError as error:
            refusal = error
        await self._rate_limiter.charge_request(scope)
        if refusal is not None:
            raise refusal

    async def _refuse(self, error: DirectoryError, scope: Scope, exchange: RequestExchange) -> None:
        try:
            await refuse(error, scope, exchange.send)
        except TooManyRequests as rate_limited:
            await refuse(rate_limited, scope, exchange.send)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        """Log a request. Of 503 one line a second, with their number: logging each would add to the overload."""
        fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1)}
        level = logging.ERROR if status == 500 else logging.WARNING
        if status == 503 and not self._log_all:
            count, logged_at = self._unavailable
            self._unavailable = (count + 1, logged_at)
            if (now := perf_counter()) - logged_at < 1:
                return
            self._unavailable = (0, now)
            fields["unavailable"] = count + 1
        elif status < 500 and seconds < SLOW_SECONDS:
            level = logging.DEBUG
        log.log(level, "request", extra=fields)


async def refuse(error: DirectoryError, scope: Scope, send: Send) -> None:
    """Answer with an error in the format of the API that was called."""
    if scope["path"] == GRAPHQL_PATH:
        await refuse_graphql(error, scope, send)
        return
    problem = problem_details.problem_response(error, scope["path"], scope["request_id"])
    length = (b"content-length", b"%d" % len(problem.body))
    headers = [length, *problem.headers, (b"cache-control", b"no-store")]
    await _respond(send, problem.status, headers, problem.body)


async def handle_http_exception(request: Request, error: Exception) -> NoReturn:
    """Raise the error for Starlette's 404 or 405, which `RequestMiddleware` answers."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        raise problem_details.MethodNotAllowed(f"{request.method} is not allowed here", headers)
    path = request.url.path
    hint = f"; did you mean {path.rstrip('/')[:200]}?" if path.endswith("/") and path.strip("/") else ""
    raise NotFound(f"no endpoint at {path[:200]}{hint}")


def _has_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _respond(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _request_ids() -> Iterator[str]:
    """Unpredictable request ids, drawn from the system 256 at a time."""
    while True:
        block = os.urandom(8 * 256).hex()
        for start in range(0, len(block), 16):
            yield block[start : start + 16]
