"""A path and its endpoints as an ASGI application: one method after another, from request to answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http import problem_details
from api.http.requests import Parameters, check_accept, check_media_type, headers_of, query_of, read_body
from api.middleware.request_cost import POINT_BYTES, charge_size
from api.rest.endpoint import Body, Endpoint, EndpointRequest, EndpointResponse
from schema.engine.errors import DirectoryError
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory

Authenticate = Callable[[Scope], Awaitable[Actor]]
VARY = (b"vary", b"Accept, Authorization")
JSON = (b"content-type", b"application/json")
KEPT, NOT_KEPT = (b"cache-control", b"private, no-cache"), (b"cache-control", b"no-store")


class EndpointApp:
    """All endpoints of one path."""

    def __init__(self, endpoints: Iterable[Endpoint], authenticate: Authenticate, body_limit: int) -> None:
        self._by_method: dict[str, tuple[Endpoint, Parameters]] = {}
        for endpoint in endpoints:
            found = self._by_method[endpoint.method] = (endpoint, Parameters(endpoint.parameters))
            if endpoint.method == "GET":
                self._by_method["HEAD"] = found
        self._confidential = {method for method, (endpoint, _) in self._by_method.items() if endpoint.confidential}
        self._authenticate = authenticate
        self._body_limit = body_limit
        self._allow = ", ".join(sorted((*self._by_method, "OPTIONS"))).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what goes wrong is answered with a problem document."""
        try:
            answer = await self._answer(scope, receive)
            caching = NOT_KEPT if scope["method"] in self._confidential else KEPT
        except DirectoryError as error:
            answer, caching = problem_details.answer(error, scope["path"], scope.get("request_id", "")), NOT_KEPT
        await respond(scope, send, answer, caching)

    async def _answer(self, scope: Scope, receive: Receive) -> EndpointResponse:
        method = scope["method"]
        if method == "OPTIONS":
            return EndpointResponse(204, headers=((b"allow", self._allow),))
        found = self._by_method.get(method)
        if found is None:
            raise problem_details.MethodNotAllowed(f"{method} is not allowed here", [(b"allow", self._allow)])
        endpoint, parameters = found
        scope["operation"] = endpoint.name
        headers = headers_of(scope)
        check_accept(headers.get("accept"))
        actor = await self._authenticate(scope)
        body = await self._body(endpoint.body, method, receive, headers) if endpoint.body else b""
        if len(body) > POINT_BYTES:
            await charge_size(scope, len(body))
        sent = query_of(scope["query_string"])
        in_path, in_query = parameters.read(scope["path_params"], sent, headers)
        value = endpoint.body.read(body) if endpoint.body and (body or endpoint.body.required) else None
        base = scope.get("root_path", "")
        path = scope["path"].removeprefix(base)
        directory: Directory = scope["app"].state.directory
        return await endpoint.call(
            EndpointRequest(actor, directory, base, in_path, in_query, headers, sent, path, value)
        )

    async def _body(self, wanted: Body, method: str, receive: Receive, headers: dict[str, str]) -> bytes:
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        check_media_type(wanted, headers.get("content-type"), has_body, method)
        return await read_body(receive, headers, self._body_limit)


def endpoint_routes(endpoints: Iterable[Endpoint], authenticate: Authenticate, body_limit: int) -> list[Route]:
    """A route for each path."""
    paths: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, []).append(endpoint)
    return [Route(path, EndpointApp(found, authenticate, body_limit)) for path, found in paths.items()]


async def respond(scope: Scope, send: Send, answer: EndpointResponse, caching: tuple[bytes, bytes]) -> None:
    """Send an answer; to HEAD, all of it but the body."""
    headers = [VARY, caching, *answer.headers]
    if answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(answer.body)))
        if b"content-type" not in dict(answer.headers):
            headers.append(JSON)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
