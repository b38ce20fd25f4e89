"""Tandem without middleware: `python -m benchmarks.tandem.unguarded own|uvicorn`, to measure what that costs.

APIs, rules and plans are unchanged. There is no authentication: every request is from the administrator of the
benchmarks' API key. There are no request ids, common headers, concurrency and rate limits, or host and proxy checks.
The HTTP protocol is Tandem's own or uvicorn's.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Sequence
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.types import Scope

from api import endpoints
from api.http.router import FastRouter
from api.server.process import SWITCH_SECONDS
from api.server.protocol import http_protocol
from api.settings import read_settings
from benchmarks.tandem import techempower
from schema.engine.model.policy import Actor

ADMIN = Actor(roles=frozenset({"admin"}), name="key:benchmarks")


async def authenticate(scope: Scope) -> Actor:
    return ADMIN


def unguarded() -> Starlette:
    """The service with its fast router as the only middleware."""
    if techempower not in endpoints.TOPICS:
        endpoints.TOPICS = (*endpoints.TOPICS, techempower)
    from api.app import create_app  # it reads the endpoints

    app = create_app(read_settings({**os.environ, "TANDEM_RATE": "0"}), authenticate)
    app.user_middleware = [layer for layer in app.user_middleware if cast(object, layer.cls) is FastRouter]
    return app


class Server(uvicorn.Server):
    """uvicorn's server. Like Tandem's, it excludes what exists at the start from garbage collection."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()


def main(arguments: Sequence[str]) -> None:
    """Serve until a signal ends it."""
    http = {"own": http_protocol(), "uvicorn": "httptools"}[arguments[0]]
    sys.setswitchinterval(SWITCH_SECONDS)
    port = int(os.environ["PORT"])
    config = uvicorn.Config(unguarded(), port=port, http=http, ws="none", access_log=False, log_level="warning")
    Server(config).run()


if __name__ == "__main__":
    main(sys.argv[1:])
