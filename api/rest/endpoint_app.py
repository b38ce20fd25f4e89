"""The endpoints of one path as an ASGI application: handles a REST request from its headers to its response."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.http.client_identity import Authenticate
from api.http.problem_details import MethodNotAllowed, problem_response
from api.http.request_cost import POINT_BYTES, charge_size
from api.http.requests import check_accept, check_media_type, headers_of, parse_query, read_body
from api.http.responses import HTTPResponse
from api.rest.endpoint import Body, Endpoint, EndpointRequest
from api.rest.parameters import ParameterReader
from schema.engine.errors import DirectoryError
from schema.engine.operations.directory import Directory

VARY = (b"vary", b"Accept, Authorization")
JSON = (b"content-type", b"application/json")
REVALIDATE, NO_STORE = (b"cache-control", b"private, no-cache"), (b"cache-control", b"no-store")


def endpoint_routes(endpoints: Iterable[Endpoint], authenticate: Authenticate, body_limit: int) -> list[Route]:
    """Return a route for each path. `body_limit` is in bytes."""
    paths: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, []).append(endpoint)
    return [Route(path, EndpointApp(group, authenticate, body_limit)) for path, group in paths.items()]


class EndpointApp:
    """All endpoints of one path."""

    def __init__(self, endpoints: Iterable[Endpoint], authenticate: Authenticate, body_limit: int) -> None:
        self._by_method: dict[str, tuple[Endpoint, ParameterReader]] = {}
        for endpoint in endpoints:
            self._by_method[endpoint.method] = (endpoint, ParameterReader(endpoint.parameters))
        if "GET" in self._by_method:
            self._by_method["HEAD"] = self._by_method["GET"]
        self._confidential = {method for method, (endpoint, _) in self._by_method.items() if endpoint.confidential}
        self._authenticate = authenticate
        self._body_limit = body_limit
        self._allow = ", ".join(sorted((*self._by_method, "OPTIONS"))).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error becomes a problem document."""
        try:
            response = await self._handle(scope, receive)
            caching = NO_STORE if scope["method"] in self._confidential else REVALIDATE
        except DirectoryError as error:
            response, caching = problem_response(error, scope["path"], scope.get("request_id", "")), NO_STORE
        await _send(scope, send, response, caching)

    async def _handle(self, scope: Scope, receive: Receive) -> HTTPResponse:
        """Check in the order that decides which error a client sees: method, Accept, credential, body, parameters."""
        method = scope["method"]
        if method == "OPTIONS":
            return HTTPResponse(204, headers=((b"allow", self._allow),))
        if method not in self._by_method:
            raise MethodNotAllowed(f"{method} is not allowed here", [(b"allow", self._allow)])
        endpoint, parameters = self._by_method[method]
        scope["operation"] = endpoint.name
        headers = headers_of(scope)
        check_accept(headers.get("accept"))
        actor = await self._authenticate(scope)
        body = await self._read_body(endpoint.body, method, receive, headers) if endpoint.body else b""
        if len(body) > POINT_BYTES:
            await charge_size(scope, len(body))
        query_texts = parse_query(scope["query_string"])
        path_values, query_values = parameters.read(scope["path_params"], query_texts, headers)
        value = endpoint.body.read(body) if endpoint.body and (body or endpoint.body.required) else None
        root_path = scope.get("root_path", "")
        url_path = scope["path"].removeprefix(root_path)
        directory: Directory = scope["app"].state.directory
        return await endpoint.handler(
            EndpointRequest(
                actor, directory, root_path, path_values, query_values, headers, query_texts, url_path, value
            )
        )

    async def _read_body(self, spec: Body, method: str, receive: Receive, headers: dict[str, str]) -> bytes:
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if has_body or spec.required:
            check_media_type(headers.get("content-type"), spec.media_types, method)
        return await read_body(receive, headers, self._body_limit)


async def _send(scope: Scope, send: Send, response: HTTPResponse, caching: tuple[bytes, bytes]) -> None:
    headers = [VARY, caching, *response.headers]
    if response.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(response.body)))
        if b"content-type" not in dict(response.headers):
            headers.append(JSON)
    body = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
