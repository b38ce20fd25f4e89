"""A service that can be made to wait, to die and to refuse to start, in one process or several.

Run as `python -m tests.leaving WORKERS`; it says on which port it listens.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from starlette.types import Receive, Scope, Send

from api import server, workers
from api.listening import listen
from api.settings import read
from api.workers import Workers


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/slow` takes a while, `/block` and worse hold everybody up, `/die` ends it, all else says which one it is."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    else:
        await answer(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed" if "broken" in sys.argv else "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    elif scope["path"] == "/endless":
        await asyncio.sleep(30)
    elif scope["path"] == "/block":
        time.sleep(1)  # noqa: ASYNC251 nobody else is to have a turn
    elif scope["path"] == "/hang":
        time.sleep(60)  # noqa: ASYNC251
    elif scope["path"] == "/stick":
        await asyncio.sleep(1)
        sum(range(10**11))  # in C, where no handler of a signal is run
    elif scope["path"] == "/die":
        os._exit(9)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def main(count: int) -> int:
    if "hasty" in sys.argv:
        server.ALARM_SECONDS, server.WATCHDOG_SECONDS, workers.KILL_SECONDS = 1, 2, 2
    settings = read({"TANDEM_ENV": "development"})
    listeners = listen("127.0.0.1", 0)
    print(listeners[0].getsockname()[1], flush=True)
    if count > 1:
        return Workers(count, lambda lifeline: server.serve(app, settings, listeners, lifeline), listeners).run()
    server.serve(app, settings, listeners)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
