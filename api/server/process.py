"""uvicorn with our limits and our graceful shutdown.

On SIGTERM or SIGINT the listeners' queues are emptied before the listeners close, active requests are answered, idle
connections are closed without a reset, WebSockets with 1012. This takes a moment if nothing is active, and 25 seconds
at most. A second signal ends the process at once. The exit code is 0, also if requests were cut off.
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
from functools import partial
from types import FrameType
from typing import Any, NoReturn, cast

import uvicorn
from starlette.types import ASGIApp

from api.server.http.limits import ConnectionLimits, OnRefusal
from api.server.listeners import accept_pending, block_new_connections
from api.server.protocol import http_protocol, websocket_protocol
from api.server.workers import REPEATED_SIGNAL_SECONDS
from api.settings import Settings

# For active requests, for tasks that are cancelled, and for closing the database: together less than the alarm.
DRAIN_SECONDS, CANCEL_SECONDS, LIFESPAN_SECONDS = 18.0, 0.5, 3.0
# After the signal: when the process exits in any case, and when a thread outside Python ends it. Hosts grant 25 s.
ALARM_SECONDS, WATCHDOG_SECONDS = 23, 24
# A client that sends a request within this time is answered, with `Connection: close`.
GRACE_SECONDS = 1.5
# For TCP handshakes that have begun.
HANDSHAKE_SECONDS = 0.1
KEEP_ALIVE_SECONDS = 95
WEBSOCKET_MESSAGE = 2**20
# How long the database's threads wait for the interpreter's lock beside a busy event loop. Python's default is 5 ms.
SWITCH_SECONDS = 0.0005
log = logging.getLogger("uvicorn.error")


def serve(
    app: ASGIApp,
    settings: Settings,
    listeners: Sequence[socket.socket],
    parent_pipe: int | None = None,
    on_refusal: OnRefusal | None = None,
) -> None:
    """Serve until a signal arrives or the parent's end of `parent_pipe` closes; then shut down gracefully."""
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        app,
        http=http_protocol(connection_limits(settings), on_refusal),
        ws=websocket_protocol(),
        ws_max_size=WEBSOCKET_MESSAGE,
        ws_per_message_deflate=False,  # 60 bytes could expand to a megabyte, before authentication too
        log_config=None,
        lifespan="on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        workers=1,
    )
    _raise_file_limit(2 * settings.connections + 1000)
    Server(config, parent_pipe).run(list(listeners))


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The limits on connections that the settings imply."""
    return ConnectionLimits(
        body=8 * max(settings.body_limit, settings.graphql_body_limit),
        request_timeout=settings.request_timeout + 1,
        idle_timeout=KEEP_ALIVE_SECONDS,
        connections=settings.connections,
    )


class Server(uvicorn.Server):
    """uvicorn's server with a graceful shutdown of its own."""

    def __init__(self, config: uvicorn.Config, parent_pipe: int | None = None) -> None:
        super().__init__(config)
        self._parent_pipe = parent_pipe
        self._signalled_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        if self._parent_pipe is not None:
            asyncio.get_running_loop().add_reader(self._parent_pipe, self._parent_pipe_closed)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            log.info(
                "Uvicorn running on http://%s:%d (Press CTRL+C to quit)", f"[{host}]" if ":" in host else host, port
            )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown; at the second signal end the process."""
        if self.should_exit and time.monotonic() - self._signalled_at > REPEATED_SIGNAL_SECONDS:
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
        if not self.should_exit:
            self._begin_shutdown()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the clients that have connected until now, and close."""
        log.info("Shutting down")
        sweeper = getattr(self.config.http_protocol_class, "sweeper", None)
        if sweeper is not None:
            sweeper.draining = True
        await self._close_listeners(sockets or [])
        await self._drain()
        await self._abort_rest()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), LIFESPAN_SECONDS)

    def _parent_pipe_closed(self) -> None:
        assert self._parent_pipe is not None
        asyncio.get_running_loop().remove_reader(self._parent_pipe)
        if not self.should_exit:
            self._begin_shutdown()

    def _begin_shutdown(self) -> None:
        """Start the clock, at once though the event loop may be busy, and have uvicorn call `shutdown`.

        uvicorn's own handler would raise the signal again at the end, and so make the exit code a failure.
        """
        self._signalled_at = time.monotonic()
        self.should_exit = True
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "alarm"):
            signal.signal(signal.SIGALRM, _exit_at_alarm)
            signal.alarm(ALARM_SECONDS)
            faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)

    async def _close_listeners(self, listeners: Sequence[socket.socket]) -> None:
        """Close the listeners, and accept the connections in their queues."""
        duplicates = [listener.dup() for listener in listeners]
        for listener in duplicates:
            block_new_connections(listener)
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        until = time.monotonic() + HANDSHAKE_SECONDS
        while time.monotonic() < until:
            await self._accept([connection for listener in duplicates for connection in accept_pending(listener)])
            await asyncio.sleep(HANDSHAKE_SECONDS / 5)
        last: list[socket.socket] = []
        for listener in duplicates:
            last += accept_pending(listener)
            listener.close()
        await self._accept(last)

    async def _accept(self, connections: list[socket.socket]) -> None:
        loop, protocol_class = asyncio.get_running_loop(), cast(Any, self.config.http_protocol_class)
        make = partial(protocol_class, self.config, self.server_state, self.lifespan.state)
        for connection in connections:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(make, connection)

    async def _drain(self) -> None:
        """Wait until all requests are answered and all connections closed, but not longer than `DRAIN_SECONDS`."""
        loop, state = asyncio.get_running_loop(), self.server_state
        started = loop.time()
        # A request may be on its way on an idle connection, so those stay open for `GRACE_SECONDS`.
        for connection in list(state.connections):
            if getattr(connection, "busy", True):
                _shut_down(connection)
        while (state.connections or state.tasks) and (elapsed := loop.time() - started) < DRAIN_SECONDS:
            if elapsed > GRACE_SECONDS:
                for connection in list(state.connections):
                    _drain_connection(connection, loop.time(), elapsed)
            await asyncio.sleep(0.02)

    async def _abort_rest(self) -> None:
        """Abort what is left: connections first, since most requests end with theirs."""
        state = self.server_state
        for connection in list(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=CANCEL_SECONDS)
        for task in state.tasks:
            task.cancel(msg="the server is shutting down")
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=CANCEL_SECONDS)


def _shut_down(connection: Any) -> None:
    """Have a connection close after its active requests; an error of one must not keep the others open."""
    try:
        connection.shutdown()
    except Exception:
        log.exception("closing a connection failed")
        connection.transport.abort()


def _drain_connection(connection: Any, now: float, elapsed: float) -> None:
    """Close an idle connection; abort a WebSocket whose client has not closed after 1012."""
    if hasattr(connection, "drain"):
        connection.drain(now)
    elif elapsed > 2 * GRACE_SECONDS:
        connection.transport.abort()


def _exit_at_alarm(sig: int, frame: FrameType | None) -> NoReturn:
    """End the process as it is: what has been committed is durable, and nothing else needs to be kept."""
    with contextlib.suppress(Exception):
        log.warning("the shutdown took longer than %d seconds; the remaining requests are cut off", ALARM_SECONDS)
    os._exit(0)


def _raise_file_limit(wanted: int) -> None:
    """Raise the limit on open files to `wanted`, as far as the system allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
