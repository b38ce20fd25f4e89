"""Which requests ask for a WebSocket, and checks of the opening handshake (RFC 6455, 4.2.1)."""

from __future__ import annotations

import re

from api.http import problem_details
from api.server.http.head import HeaderFields, Headers, connection_options
from schema.engine.errors import BadRequest

_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")


def is_requested(headers: Headers) -> bool:
    """Whether `Upgrade` names WebSocket as the only protocol, and `Connection` lists `Upgrade`."""
    protocols = [value.lower() for name, value in headers if name == b"upgrade"]
    return protocols == [b"websocket"] and b"upgrade" in connection_options(headers)


def check(method: bytes, fields: HeaderFields) -> None:
    """Check an opening handshake.

    Raises:
        BadRequest: it is not a GET request without a body, or has no valid key.
        WebSocketRefused: its version is not 13.
    """
    by_name = dict(fields.headers)
    if method != b"GET" or fields.length != 0:
        raise BadRequest("a WebSocket handshake must be a GET request without a body")
    if by_name.get(b"sec-websocket-version") != b"13":
        raise problem_details.WebSocketRefused(
            "Sec-WebSocket-Version must be 13 (RFC 6455)", [(b"sec-websocket-version", b"13")]
        )
    if not _KEY.fullmatch(by_name.get(b"sec-websocket-key", b"")):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455)")
