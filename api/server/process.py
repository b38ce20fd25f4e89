"""uvicorn with our limits and our leave-taking.

On SIGTERM or SIGINT whoever has reached this machine is served: the listeners' queues are emptied before they close,
what has been asked for is answered, idle connections are closed without a reset, WebSockets with 1012. That takes a
moment where nothing is left to do, and 25 seconds at most, whatever its clients do. A second signal ends it at once.
The exit code is 0, also where somebody was cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from starlette.types import ASGIApp

from api.server.http.limits import ConnectionLimits, OnRefusal
from api.server.listeners import accept_pending, block_new_connections
from api.server.protocol import http_protocol, websocket_protocol
from api.settings import Settings

# Seconds for answers, for what is cut off after them, and for closing the database: together less than the alarm's.
LEAVE_SECONDS, CUT_OFF_SECONDS, CLOSE_SECONDS = 18.0, 0.5, 3.0
# From the signal on: when it ends in any case; and when it is ended from outside of Python. Hosts grant 25 or more.
ALARM_SECONDS, WATCHDOG_SECONDS = 23, 24
# Whoever uses a connection at all uses it within this, is answered, and told that it was the last time.
GRACE_SECONDS = 1.5
# Handshakes that have begun end within this.
KNOCKING_SECONDS = 0.1
# Terminals and process managers may send the same signal twice.
ECHO_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 95
WEBSOCKET_MESSAGE = 2**20
# The database's threads wait this long for the interpreter's lock beside a busy event loop: 5 ms, the usual, is an age.
TURN_SECONDS = 0.0005
log = logging.getLogger("uvicorn.error")


def serve(
    app: ASGIApp,
    settings: Settings,
    listeners: Sequence[socket.socket],
    lifeline: int | None = None,
    on_refusal: OnRefusal | None = None,
) -> None:
    """Serve until a signal says to leave, or the lifeline breaks; then finish what is under way.

    `on_refusal` hears of what never came to the application, or not to its end.
    """
    sys.setswitchinterval(TURN_SECONDS)
    config = uvicorn.Config(
        app,
        http=http_protocol(connection_limits(settings), on_refusal),
        ws=websocket_protocol(),
        ws_max_size=WEBSOCKET_MESSAGE,
        ws_per_message_deflate=False,  # sixty bytes would become a megabyte, for callers without a credential too
        log_config=None,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        workers=1,
    )
    _raise_file_limit(2 * settings.connections + 1000)
    Server(config, lifeline).run(list(listeners))


def connection_limits(settings: Settings) -> ConnectionLimits:
    """What the settings say of connections."""
    body = 8 * max(settings.body_limit, settings.graphql_body_limit)
    return ConnectionLimits(
        body=body,
        request_timeout=settings.request_timeout + 1,
        idle_timeout=KEEP_ALIVE_SECONDS,
        connections=settings.connections,
    )


class Server(uvicorn.Server):
    """uvicorn's server, with a leave-taking of its own."""

    def __init__(self, config: uvicorn.Config, lifeline: int | None = None) -> None:
        super().__init__(config)
        self._lifeline = lifeline
        self._asked = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        if self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._lifeline_broke)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            log.info(
                "Uvicorn running on http://%s:%d (Press CTRL+C to quit)", f"[{host}]" if ":" in host else host, port
            )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave; at the second signal, at once."""
        if self.should_exit and time.monotonic() - self._asked > ECHO_SECONDS:
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
        if not self.should_exit:
            self._leave()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve whoever has come until now, and close."""
        log.info("Shutting down")
        sweeper = getattr(self.config.http_protocol_class, "sweeper", None)
        if sweeper is not None:
            sweeper.draining = True
        await self._close_listeners(sockets or [])
        await self._see_everybody_off()
        await self._cut_off()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), CLOSE_SECONDS)

    async def _close_listeners(self, listeners: Sequence[socket.socket]) -> None:
        """Close them, and take in whoever stands in their queues."""
        own = [listener.dup() for listener in listeners]
        for listener in own:
            block_new_connections(listener)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        until = time.monotonic() + KNOCKING_SECONDS
        while time.monotonic() < until:
            await self._take_in([arrived for listener in own for arrived in accept_pending(listener)])
            await asyncio.sleep(KNOCKING_SECONDS / 5)
        last: list[socket.socket] = []
        for listener in own:
            last += accept_pending(listener)
            listener.close()
        await self._take_in(last)

    async def _take_in(self, arrived: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for connection in arrived:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._connection, connection)

    def _connection(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        made: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    async def _see_everybody_off(self) -> None:
        """Wait until everybody has been answered and has gone, but not for ever."""
        loop, state = asyncio.get_running_loop(), self.server_state
        begun = loop.time()
        # A connection that is idle may have a request on its way to us: it is left open for a moment.
        for connection in list(state.connections):
            if getattr(connection, "busy", True):
                _shut(connection)
        while (state.connections or state.tasks) and (spent := loop.time() - begun) < LEAVE_SECONDS:
            if spent > GRACE_SECONDS:
                for connection in list(state.connections):
                    _see_off(connection, loop.time(), spent)
            await asyncio.sleep(0.02)

    async def _cut_off(self) -> None:
        """End whatever is left: connections first, for most requests end with theirs."""
        state = self.server_state
        for connection in list(state.connections):
            connection.transport.abort()
        for last in (False, True):
            if last:
                for task in state.tasks:
                    task.cancel(msg="the server leaves")
            if state.tasks:
                await asyncio.wait(state.tasks, timeout=CUT_OFF_SECONDS)

    def _lifeline_broke(self) -> None:
        assert self._lifeline is not None
        asyncio.get_running_loop().remove_reader(self._lifeline)
        if not self.should_exit:
            self._leave()

    def _leave(self) -> None:
        """Begin to leave. The clock runs from here on, though the event loop may be busy yet."""
        self._asked = time.monotonic()
        # Not by uvicorn's own handler: it would raise the signal again when all is done, as if that were a failure.
        self.should_exit = True
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "alarm"):
            signal.signal(signal.SIGALRM, _out_of_time)
            signal.alarm(ALARM_SECONDS)
            faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)


def _see_off(connection: Any, now: float, spent: float) -> None:
    """Tell a connection to go; a WebSocket has been told, and is shown the door if it does not."""
    if hasattr(connection, "drain"):
        connection.drain(now)
    elif spent > 2 * GRACE_SECONDS:
        connection.transport.abort()


def _shut(connection: Any) -> None:
    """Tell a connection to end, whose failure is nobody else's."""
    try:
        connection.shutdown()
    except Exception:
        log.exception("a connection could not be told to end")
        connection.transport.abort()


def _out_of_time(sig: int, frame: FrameType | None) -> NoReturn:
    """End the process as it is: what has been committed is durable, and nothing else is to be kept."""
    with contextlib.suppress(Exception):
        log.warning("Not all has ended within %d seconds; the rest is cut off", ALARM_SECONDS)
    os._exit(0)


def _raise_file_limit(wanted: int) -> None:
    """As many open files as so many connections need, as far as the system allows it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
