"""The protocol classes that uvicorn is configured with: our HTTP/1.1 and WebSocket, or uvicorn's own as a fallback."""

from __future__ import annotations

import asyncio

from api.server.http.limits import MAX_CLOSING, ClosingConnections, ConnectionLimits, ConnectionSweeper, OnRefusal
from api.server.http.websocket import WebSocketProtocol

try:
    from api.server.http.connection import Connection
except ImportError:  # without httptools uvicorn reads with h11, which is stricter and slower
    Connection = None  # type: ignore[assignment, misc]
# For a client to close a WebSocket after the last message.
CLOSE_SECONDS = 5.0


def http_protocol(
    limits: ConnectionLimits | None = None, on_refusal: OnRefusal | None = None
) -> type[asyncio.Protocol] | str:
    """Return a protocol class for `uvicorn.Config(http=…)`. Its connections share the class's `sweeper`."""
    if Connection is None:
        return "auto"
    return type("HTTPProtocol", (Connection,), {"sweeper": ConnectionSweeper(limits or ConnectionLimits(), on_refusal)})


def websocket_protocol(close_seconds: float = CLOSE_SECONDS, max_closing: int = MAX_CLOSING) -> type[asyncio.Protocol]:
    """Return a protocol class for `uvicorn.Config(ws=…)`.

    After the last message a client has `close_seconds` to close, and so may `max_closing` clients at a time.
    """
    limits = {"close_seconds": close_seconds, "closing": ClosingConnections(max_closing)}
    return type("LimitedWebSocketProtocol", (WebSocketProtocol,), limits)
