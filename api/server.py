"""uvicorn with our limits and our leave-taking."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from api.settings import Settings

LEAVE_SECONDS = 20
KEEP_ALIVE_SECONDS = 95


def serve(app: ASGIApp, settings: Settings) -> None:
    """Serve until a signal says to leave; then finish what is under way."""
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LEAVE_SECONDS,
    )
