"""Tandem without its guards: `python -m benchmarks.tandem.unguarded own|uvicorn`, to see what they cost.

Both doors, rules, plans and the short way to an endpoint are as ever. Nobody is asked for a credential: everybody is
the administrator that the benchmark's key stands for. There is no envelope (request id, headers, place among those that
run, host and proxy checks), nothing is paid for or counted, and below it is the wire that is named: Tandem's own, or
uvicorn's.
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
from api.settings import read
from benchmarks.tandem import kinds
from schema.engine.model.policy import Actor

ADMIN = Actor(roles=frozenset({"admin"}), name="key:benchmarks")


async def everybody(scope: Scope) -> Actor:
    """The administrator, whatever the request shows."""
    return ADMIN


def unguarded() -> Starlette:
    """The service, with nothing round its doors."""
    if kinds not in endpoints.TOPICS:
        endpoints.TOPICS = (*endpoints.TOPICS, kinds)
    from api.app import create_app  # which reads the table of contents

    app = create_app(read({**os.environ, "TANDEM_RATE": "0"}), everybody)
    app.user_middleware = [it for it in app.user_middleware if cast(object, it.cls) is FastRouter]
    return app


class Server(uvicorn.Server):
    """uvicorn's own server; what exists when it begins is left out of garbage collection, as in Tandem's."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()


def main(arguments: Sequence[str]) -> None:
    """Serve until a signal says to end."""
    wire = {"own": http_protocol(), "uvicorn": "httptools"}[arguments[0]]
    sys.setswitchinterval(SWITCH_SECONDS)
    port = int(os.environ["PORT"])
    config = uvicorn.Config(unguarded(), port=port, http=wire, ws="none", access_log=False, log_level="warning")
    Server(config).run()


if __name__ == "__main__":
    main(sys.argv[1:])
