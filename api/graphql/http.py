"""GraphQL over HTTP: reading requests, negotiating the media type, and choosing the status.

Follows the draft specification: https://graphql.github.io/graphql-over-http/draft/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.http.client_identity import Authenticate
from api.http.problem_details import MethodNotAllowed, NotAcceptable, headers_for, status_of
from api.http.request_cost import POINT_BYTES, charge_size
from api.http.requests import MAX_CACHED_HEADER, check_media_type, headers_of, parse_query, quality_of, read_body
from schema.engine.errors import BadRequest, DirectoryError, FieldError
from schema.engine.model.strict_json import parse_json
from schema.graphql.execution.errors import GraphQLRequestError, QueryRequired, directory_error
from schema.graphql.execution.executor import REFUSED, Executor, GraphQLRequest

PATH = "/graphql"
JSON, RESPONSE, HTML = "application/json", "application/graphql-response+json", "text/html"
ALLOW = ((b"allow", b"GET, HEAD, OPTIONS, POST"),)
_HEADERS = ((b"vary", b"Accept, Authorization"), (b"cache-control", b"private, no-store"))
_CONTENT_TYPES = {media: (b"content-type", f"{media}; charset=utf-8".encode()) for media in (JSON, RESPONSE)}
_MEMBERS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "query": (str, "a string"),
    "variables": ((dict, type(None)), "an object"),
    "operationName": ((str, type(None)), "a string"),
    "extensions": ((dict, type(None)), "an object"),
}
Headers = tuple[tuple[bytes, bytes], ...]


class GraphQLHandler:
    """`/graphql`: the API, and for browsers the page `page`."""

    def __init__(
        self, executor: Executor, authenticate: Authenticate, page: Callable[[Request], Response], body_limit: int
    ) -> None:
        self._executor = executor
        self._authenticate = authenticate
        self._page = page
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request, in the media type that it prefers."""
        headers = headers_of(scope)
        accept = headers.get("accept", "*/*")
        if "html" in accept and _prefers_page(scope, accept):
            await self._page(Request(scope))(scope, receive, send)
            return
        media = _media_type(accept)
        scope["operation"] = REFUSED
        try:
            status, body, more = await self._run(scope, receive, headers, media)
        except DirectoryError as error:
            status, body, more = _error_response(error, media or JSON)
        await _send(scope, send, status, body, more, media or JSON)

    async def _run(
        self, scope: Scope, receive: Receive, headers: Mapping[str, str], media: str | None
    ) -> tuple[int, bytes, Headers]:
        method = scope["method"]
        if method == "OPTIONS":
            return 204, b"", ALLOW
        if method not in ("GET", "HEAD", "POST"):
            raise MethodNotAllowed(f"{method} is not allowed here", ALLOW)
        if media is None:
            raise NotAcceptable(f"Accept: must allow {RESPONSE} or {JSON}")
        actor = await self._authenticate(scope)
        request = await self._read_body(scope, receive, headers) if method == "POST" else _read_query_string(scope)
        body = await self._executor.run(
            request,
            scope["app"].state.directory,
            actor,
            queries_only=method != "POST",
            on_path=partial(scope.__setitem__, "operation"),
            charge_mutations=scope.get("charge_mutations"),
        )
        return 200, body, ()

    async def _read_body(self, scope: Scope, receive: Receive, headers: Mapping[str, str]) -> GraphQLRequest:
        check_media_type(headers.get("content-type"), (JSON,), "POST")
        body = await read_body(receive, headers, self._body_limit)
        if len(body) > POINT_BYTES:
            await charge_size(scope, len(body))
        members = parse_json(body)
        if not isinstance(members, dict):
            raise BadRequest("the body must be a JSON object with the member query")
        return request_of(members)


async def refuse(error: DirectoryError, scope: Scope, send: Send) -> None:
    """Send an error that middleware raised, in the format of this API."""
    media = _media_type(headers_of(scope).get("accept", "*/*")) or JSON
    await _send(scope, send, *_error_response(error, media), media)


def request_of(members: Mapping[str, Any]) -> GraphQLRequest:
    """Check the members of a request; raises `BadRequest`."""
    if "query" not in members:
        raise BadRequest(
            "query is required: the text of a GraphQL document", [FieldError(("query",), "is required", "required")]
        )
    for name, (types, expected) in _MEMBERS.items():
        if name in members and not isinstance(members[name], types):
            raise BadRequest(f"{name} must be {expected}", [FieldError((name,), f"must be {expected}", "invalid")])
    return GraphQLRequest(members["query"], members.get("variables") or {}, members.get("operationName"))


def _prefers_page(scope: Scope, accept: str) -> bool:
    """Whether this is a browser: HTML outranks JSON, and there is no query."""
    if scope["method"] not in ("GET", "HEAD") or "query" in parse_query(scope["query_string"]):
        return False
    return quality_of(accept, HTML) > max(quality_of(accept, JSON), quality_of(accept, RESPONSE))


def _media_type(accept: str) -> str | None:
    """The preferred media type: JSON where both are equal, unless it is listed later; None if neither is accepted."""
    return (_cached_media_type if len(accept) <= MAX_CACHED_HEADER else _cached_media_type.__wrapped__)(accept)


@lru_cache(maxsize=1000)
def _cached_media_type(accept: str) -> str | None:
    json, response = quality_of(accept, JSON), quality_of(accept, RESPONSE)
    if max(json, response) <= 0:
        return None
    if json != response:
        return RESPONSE if response > json else JSON
    before_json = accept.lower().partition(JSON)[0]
    return RESPONSE if RESPONSE in before_json else JSON


def _read_query_string(scope: Scope) -> GraphQLRequest:
    members: dict[str, Any] = {}
    for name, values in parse_query(scope["query_string"]).items():
        if name not in _MEMBERS:
            continue
        if len(values) > 1:
            error = FieldError((name,), "must not be repeated", "repeated", "parameter")
            raise BadRequest(f"{name} must not be repeated", [error])
        members[name] = parse_json(values[0].encode()) if name in ("variables", "extensions") else values[0]
    return request_of(members)


def _error_response(error: DirectoryError, media: str) -> tuple[int, bytes, Headers]:
    """The response to a request that was not run. A GraphQL request error is 200 in `application/json`, else 400."""
    if isinstance(error, GraphQLRequestError):
        return 200 if media == JSON else 400, orjson.dumps({"errors": error.errors}), ()
    if isinstance(error, QueryRequired):
        error = MethodNotAllowed(error.detail, [(b"allow", b"POST")])
    return status_of(type(error)), orjson.dumps({"errors": [directory_error(error)]}), tuple(headers_for(error))


async def _send(scope: Scope, send: Send, status: int, body: bytes, more: Headers, media: str) -> None:
    headers = [*_HEADERS, *more]
    if status != 204:
        headers += (_CONTENT_TYPES[media], (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
