"""uvicorn with our limits and our leave-taking."""

from __future__ import annotations

import gc
import sys

import uvicorn
from starlette.types import ASGIApp

from api.protocol import protocol
from api.settings import Settings

LEAVE_SECONDS = 20
KEEP_ALIVE_SECONDS = 95
# The database's threads wait this long for the interpreter's lock beside a busy event loop: 5 ms, the usual, is an age.
TURN_SECONDS = 0.0005


def serve(app: ASGIApp, settings: Settings) -> None:
    """Serve until a signal says to leave; then finish what is under way."""
    sys.setswitchinterval(TURN_SECONDS)
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        # All addresses are those of both families: by itself `::` leaves IPv4 out.
        host="" if settings.host == "::" else settings.host,
        port=settings.port,
        http=protocol(),
        log_level=settings.log_level,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LEAVE_SECONDS,
    )
