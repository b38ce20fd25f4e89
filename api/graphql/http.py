"""GraphQL over HTTP, as its specification's draft says: what is read, what is answered, and with which status.

https://graphql.github.io/graphql-over-http/draft/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import orjson
from starlette.requests import Request as Browser
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http.problem_details import MethodNotAllowed, NotAcceptable, UnsupportedMediaType, headers_for, status_of
from api.http.requests import MAX_CACHED_HEADER, headers_of, media_type_matches, parse_query, quality_of, read_body
from api.middleware.request_cost import POINT_BYTES, charge_size
from schema.engine.errors import BadRequest, DirectoryError, FieldError
from schema.engine.model.policy import Actor
from schema.engine.model.strict_json import parse_json
from schema.engine.operations.directory import Directory
from schema.graphql.execution.errors import NotAQuery, RequestRefused, graphql_error
from schema.graphql.execution.executor import REFUSED, Executor, Request

PATH = "/graphql"
JSON, RESPONSE, HTML = "application/json", "application/graphql-response+json", "text/html"
ALWAYS = ((b"vary", b"Accept, Authorization"), (b"cache-control", b"private, no-store"))
_CONTENT_TYPES = {media: (b"content-type", f"{media}; charset=utf-8".encode()) for media in (JSON, RESPONSE)}
ALLOW = ((b"allow", b"GET, HEAD, OPTIONS, POST"),)
MEMBERS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "query": (str, "a string"),
    "variables": ((dict, type(None)), "an object"),
    "operationName": ((str, type(None)), "a string"),
    "extensions": ((dict, type(None)), "an object"),
}
Authenticate = Callable[[Scope], Awaitable[Actor]]


class GraphQLHandler:
    """`/graphql`: for programs the API, for browsers a page to try it on."""

    def __init__(
        self, executor: Executor, authenticate: Authenticate, page: Callable[[Browser], Response], body_limit: int
    ) -> None:
        self._executor = executor
        self._authenticate = authenticate
        self._page = page
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, in the media type that it prefers."""
        headers = headers_of(scope)
        accept = headers.get("accept", "*/*")
        if "html" in accept and _wants_page(scope, accept):
            await self._page(Browser(scope))(scope, receive, send)
            return
        media = _media_type(accept)
        scope["operation"] = REFUSED
        try:
            status, body, more = await self._answer(scope, receive, headers, media)
        except DirectoryError as error:
            status, body, more = _refusal(error, media or JSON)
        await _respond(scope, send, status, body, more, media or JSON)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: Mapping[str, str], media: str | None
    ) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
        method = scope["method"]
        if method == "OPTIONS":
            return 204, b"", ALLOW
        if method not in ("GET", "HEAD", "POST"):
            raise MethodNotAllowed(f"{method} is not allowed here", ALLOW)
        if media is None:
            raise NotAcceptable(f"this is to be had as {RESPONSE} and as {JSON}")
        actor = await self._authenticate(scope)
        request = await self._posted(scope, receive, headers) if method == "POST" else _asked(scope)
        directory: Directory = scope["app"].state.directory
        graphql_error = partial(scope.__setitem__, "operation")
        spend = scope.get("charge_mutations")  # where the caller's points are counted
        body = await self._executor.run(
            request, directory, actor, queries_only=method != "POST", told=graphql_error, spend=spend
        )
        return 200, body, ()

    async def _posted(self, scope: Scope, receive: Receive, headers: Mapping[str, str]) -> Request:
        """The request that a body holds."""
        if not media_type_matches(headers.get("content-type", ""), (JSON,)):
            raise UnsupportedMediaType(f"a body is taken as {JSON}, in UTF-8", [(b"accept-post", JSON.encode())])
        sent = await read_body(receive, headers, self._body_limit)
        if len(sent) > POINT_BYTES:
            await charge_size(scope, len(sent))
        body = parse_json(sent)
        if not isinstance(body, dict):
            raise BadRequest("the body has to be a JSON object with the member query")
        return request_of(body)


def graphql_route(
    executor: Executor, authenticate: Authenticate, page: Callable[[Browser], Response], body_limit: int
) -> Route:
    """The one path of this door."""
    return Route(PATH, GraphQLHandler(executor, authenticate, page, body_limit))


async def refuse(error: DirectoryError, scope: Scope, send: Send) -> None:
    """Answer what was refused before it came to this door as the door itself would."""
    media = _media_type(headers_of(scope).get("accept", "*/*")) or JSON
    await _respond(scope, send, *_refusal(error, media), media)


def _asked(scope: Scope) -> Request:
    """The request that a query string holds."""
    members: dict[str, Any] = {}
    for name, values in parse_query(scope["query_string"]).items():
        if name not in MEMBERS:
            continue
        if len(values) > 1:
            raise BadRequest(
                f"{name} stands more than once",
                [FieldError((name,), "it stands more than once", "repeated", "parameter")],
            )
        members[name] = parse_json(values[0].encode()) if name in ("variables", "extensions") else values[0]
    return request_of(members)


def request_of(members: Mapping[str, Any]) -> Request:
    """A request of the right form, or `BadRequest`."""
    if "query" not in members:
        raise BadRequest(
            "query is missing: the text of a GraphQL document", [FieldError(("query",), "it is required", "required")]
        )
    for name, (kinds, form) in MEMBERS.items():
        if name in members and not isinstance(members[name], kinds):
            raise BadRequest(f"{name} has to be {form}", [FieldError((name,), f"it has to be {form}", "invalid")])
    return Request(members["query"], members.get("variables") or {}, members.get("operationName"))


def _wants_page(scope: Scope, accept: str) -> bool:
    """Whether a browser has come to look: HTML outranks JSON, and nothing is asked yet."""
    if scope["method"] not in ("GET", "HEAD") or "query" in parse_query(scope["query_string"]):
        return False
    return quality_of(accept, HTML) > max(quality_of(accept, JSON), quality_of(accept, RESPONSE))


def _media_type(accept: str) -> str | None:
    """The media type that is wanted most; JSON where both are as welcome, none where neither is."""
    return (_preferred if len(accept) <= MAX_CACHED_HEADER else _preferred.__wrapped__)(accept)


@lru_cache(maxsize=1000)
def _preferred(accept: str) -> str | None:
    plain, own = quality_of(accept, JSON), quality_of(accept, RESPONSE)
    if max(plain, own) <= 0:
        return None
    if plain == own and RESPONSE in accept.lower() and accept.lower().index(RESPONSE) < _place(accept):
        return RESPONSE
    return RESPONSE if own > plain else JSON


def _place(accept: str) -> int:
    """Where plain JSON stands in an Accept header; at its end if it stands nowhere."""
    found = accept.lower().find(JSON)
    return found if found >= 0 else len(accept)


def _refusal(error: DirectoryError, media: str) -> tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]:
    """What was refused before it ran. A document that is no good is 200 in plain JSON, which knows no better."""
    if isinstance(error, RequestRefused):
        return 200 if media == JSON else 400, orjson.dumps({"errors": error.errors}), ()
    if isinstance(error, NotAQuery):
        error = MethodNotAllowed(error.detail, [(b"allow", b"POST")])
    headers = tuple(header for header in headers_for(error) if header[0] != b"content-type")
    body = orjson.dumps({"errors": [{"message": error.detail, "extensions": graphql_error(error)}]})
    return status_of(type(error)), body, headers


async def _respond(
    scope: Scope, send: Send, status: int, body: bytes, more: tuple[tuple[bytes, bytes], ...], media: str
) -> None:
    headers = [*ALWAYS, *more]
    if status != 204:
        headers += (_CONTENT_TYPES[media], (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
