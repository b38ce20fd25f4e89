"""Before a WebSocket is one: from which pages it may be opened, how it is refused, and who opens it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from starlette.types import Scope, Send

from api.http import problem_details
from api.http.requests import headers_of
from schema.engine.errors import DirectoryError, Forbidden, InvalidCredential, ServiceUnavailable

TRY_AGAIN, POLICY = 1013, 1008
# The extension of a scope by which a server is told how large the next messages may be: a function of their bytes.
MESSAGE_SIZE = "tandem.message_size"
HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


def check_origin(scope: Scope, origins: Container[str]) -> None:
    """`Forbidden` for pages of other sites: a browser lets any page open a WebSocket, and says which one it is."""
    headers = headers_of(scope)
    origin, host = headers.get("origin"), headers.get("host", "").lower()
    if origin is None or origin.lower() in origins:
        return
    # Somebody in front of us may have ended the encryption: what is `ws` to us can well be `https` to the page.
    schemes = ("https",) if scope["scheme"] == "wss" else ("https", "http")
    if not host or origin.lower() not in [f"{scheme}://{host}" for scheme in schemes]:
        raise Forbidden("pages of other sites may not open a WebSocket here")


async def refuse(error: DirectoryError, scope: Scope, send: Send) -> None:
    """Answer the handshake with a problem document, or, where the server has no way to, by not taking it."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        code = TRY_AGAIN if isinstance(error, ServiceUnavailable) else POLICY
        await send({"type": "websocket.close", "code": code, "reason": error.title})
        return
    request_id = scope.get("request_id", "")
    answer = problem_details.problem_response(error, scope["path"], request_id)
    headers = [*answer.headers, *HEADERS, (b"x-request-id", request_id.encode()), *scope.get("response_headers", ())]
    await send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": answer.body})


def introduced(scope: Scope, payload: Mapping[str, Any]) -> Scope:
    """The scope of a request by whoever opened the socket: its credential may also come with the first message."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    sent += [_credential(value) for name, value in payload.items() if name.lower() == "authorization"]
    if len(set(sent)) > 1:
        raise InvalidCredential("there is more than one credential")
    headers = [header for header in scope["headers"] if header[0] != b"authorization"]
    headers += [(b"authorization", value) for value in sent[:1]]
    # The headers by name, as the handshake had them, are no longer all.
    kept = {name: value for name, value in scope.items() if name != "headers_by_name"}
    return {**kept, "scheme": "https" if scope["scheme"] == "wss" else "http", "headers": headers}


def _credential(value: Any) -> bytes:
    """What would stand in a header."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise InvalidCredential("the credential is not valid")
    return value.strip().encode()
