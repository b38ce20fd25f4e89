"""The WebSocket handshake: origin check, refusal, and the credential of the socket."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from starlette.types import Scope, Send

from api.graphql.websocket.messages import CloseCode
from api.http import problem_details
from api.http.requests import headers_of
from schema.engine.errors import DirectoryError, Forbidden, InvalidCredential, ServiceUnavailable

# A scope's extension that sets the server's limit on the next messages: a function of the number of bytes.
MESSAGE_SIZE = "tandem.message_size"
_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


def check_origin(scope: Scope, origins: Container[str]) -> None:
    """Raise `Forbidden` for pages of other sites: browsers let any page open a WebSocket, and send its origin."""
    headers = headers_of(scope)
    origin, host = headers.get("origin"), headers.get("host", "").lower()
    if origin is None or origin.lower() in origins:
        return
    # A proxy may have terminated TLS: `ws` here can be `https` for the page.
    schemes = ("https",) if scope["scheme"] == "wss" else ("https", "http")
    if not host or origin.lower() not in [f"{scheme}://{host}" for scheme in schemes]:
        raise Forbidden("a page that opens a WebSocket must be of this server or of an origin in TANDEM_CORS_ORIGINS")


async def refuse(error: DirectoryError, scope: Scope, send: Send) -> None:
    """Refuse the handshake with a problem document, or with a close code if the server does not support responses."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        is_temporary = isinstance(error, ServiceUnavailable)
        code = CloseCode.TRY_AGAIN_LATER if is_temporary else CloseCode.POLICY_VIOLATION
        await send({"type": "websocket.close", "code": code, "reason": error.title})
        return
    request_id = scope.get("request_id", "")
    response = problem_details.problem_response(error, scope["path"], request_id)
    headers = [*response.headers, *_HEADERS, (b"x-request-id", request_id.encode()), *scope.get("response_headers", ())]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})


def request_scope(scope: Scope, payload: Mapping[str, Any]) -> Scope:
    """The scope for requests on the socket, with the credential of the handshake or of `connection_init`.

    Raises:
        InvalidCredential: there are two different credentials, or one that cannot be a header.
    """
    credentials = [value for name, value in scope["headers"] if name == b"authorization"]
    credentials += [_credential(value) for name, value in payload.items() if name.lower() == "authorization"]
    if len(set(credentials)) > 1:
        raise InvalidCredential("the request must have one credential, got two")
    headers = [header for header in scope["headers"] if header[0] != b"authorization"]
    headers += [(b"authorization", value) for value in credentials[:1]]
    # `headers_by_name` lacks the credential of the payload.
    scope_without_names = {name: value for name, value in scope.items() if name != "headers_by_name"}
    return {**scope_without_names, "scheme": "https" if scope["scheme"] == "wss" else "http", "headers": headers}


def _credential(value: Any) -> bytes:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise InvalidCredential("the credential is not valid")
    return value.strip().encode()
