"""HTTP/1.1 as uvicorn reads it, kept within limits, every refusal in our words, and an answer in one piece.

What is well-formed goes on to the service. What is not, or takes too much or too long, is told so in a problem
document, and the connection ends. In `wire/`, `connection.py` reads requests, `body.py` their bodies, `head.py` says
what a head must be, `websocket_handshake.py` what a WebSocket's must be, `exchange.py` writes the answers, `visit.py`
sees a connection through its life, `patience.py` has the limits, `websocket.py` sees to WebSockets.
"""

from __future__ import annotations

import asyncio

from api.server.http.limits import ConnectionLimits, ConnectionSweeper, OnRefusal

try:
    from api.server.http.connection import Connection
except ImportError:  # where there is no httptools, uvicorn reads by h11, which is stricter and slower
    Connection = None  # type: ignore[assignment, misc]
try:
    from api.server.http.websocket import WebSocketProtocol
except ImportError:  # where there is no websockets, there are none
    WebSocketProtocol = None  # type: ignore[assignment, misc]


def http_protocol(
    limits: ConnectionLimits | None = None, on_refusal: OnRefusal | None = None
) -> type[asyncio.Protocol] | str:
    """What uvicorn is to read by: a class whose `watch` looks after its connections, and says whom it refuses."""
    if Connection is None:
        return "auto"
    return type("Protocol", (Connection,), {"watch": ConnectionSweeper(limits or ConnectionLimits(), on_refusal)})


def websocket_protocol() -> type[asyncio.Protocol] | str:
    """What uvicorn is to serve WebSockets by."""
    return "none" if WebSocketProtocol is None else WebSocketProtocol
