"""A connection from its coming to its going: how long it may wait, how it is refused, how it takes its leave.

What is read on it is `connection.py`'s business.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http import problem_details
from api.server.http import head
from api.server.http.limits import ConnectionSweeper
from api.server.http.request_response_cycle import Exchange
from schema.engine.errors import DirectoryError, Overloaded, Timeout

# Bytes a second: who takes an answer more slowly than this has left.
SLOWEST = 8 * 1024
# Seconds for the other side to hang up too, when the server leaves.
PARTING = 1
_AT_ONCE = struct.pack("ii", 1, 0)
# Where a connection is: between requests, in a request's head or body, done with reading, or done.
BETWEEN, HEAD, BODY, DEAF, LEAVING = range(5)


class Visit(HttpToolsProtocol):
    """One connection, as time goes by."""

    watch: ConnectionSweeper
    since = begun = 0.0
    _stage = BETWEEN
    url = b""
    _answering: Exchange | None = None
    _last_words = b""
    _eof = False
    served = False
    # Until when how much may wait to be sent at most; and how much waited when that was said.
    _due: tuple[float, int, float] | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody has come."""
        super().connection_made(transport)
        admitted = self.watch.admit(self, self.loop)
        self.since = self.watch.now
        if not admitted:
            self._refuse(Overloaded("there are more connections than this server takes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self.watch.forget(self)
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def eof_received(self) -> Any:
        """They send no more. What they have asked for until now is answered yet, unless it is cut off."""
        self._eof = True
        if self._stage not in (BETWEEN, DEAF) or self._answering is None:
            return None
        self.cycle.keep_alive = False
        return True

    @property
    def busy(self) -> bool:
        """Whether something has been asked for and not been answered."""
        return self._answering is not None

    def shutdown(self) -> None:
        """Answer what has been asked for, and go."""
        if self._answering is not None:
            (self.pipeline[0][0] if self.pipeline else self._answering).keep_alive = False
        elif self._stage in (BETWEEN, BODY):
            self.leave()

    def depart(self, now: float) -> None:
        """Go, unless something is to be done yet: said, or read, for it may have come in this very moment."""
        if self._answering is not None or self._stage == HEAD:
            return
        if self._stage != LEAVING:
            if not _readable(self.transport):
                self.leave()
                self.since = now
        elif now - self.since > PARTING and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def leave(self) -> None:
        """Say no more, and hang up when they do, or after a moment: at once might take back what was said last."""
        self._stage, self.since = LEAVING, self.watch.now
        if self.transport.is_closing():
            return
        if self._eof:
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()

    def evictable(self) -> bool:
        """Whether nothing has been asked for, or all has been answered, or a body is long in coming."""
        if self._answering is None:
            return self._stage in (BETWEEN, HEAD)
        return self._awaits_body() and self.watch.now - self.since >= self.watch.limits.upload

    def make_room(self) -> None:
        """Go, so that somebody else can come."""
        if self._answering is not None:
            self._refuse(Overloaded("there are more connections than this server takes, and the body has not come"))
        else:
            self.leave()

    def cut(self) -> None:
        """Be gone at once."""
        self.watch.forget(self)
        self.transport.abort()

    def _awaits_body(self) -> bool:
        """Whether it is only for the rest of a body that an answer is not there yet."""
        own = self._stage == BODY and self.cycle is self._answering
        return own and not self.cycle.response_started and not self.flow.read_paused

    def check(self, now: float) -> None:
        """What the watch sees to, once a second."""
        limits, waited = self.watch.limits, now - self.since
        if self._stalls(now):
            # What the kernel holds of the answer is thrown away, too.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()
        elif self._stage == LEAVING:
            if waited > limits.farewell and not self._due:
                self.transport.abort()
        elif self._stage in (HEAD, BODY) and self.flow.read_paused:
            self.since = now
        elif self._stage in (HEAD, BODY) and waited > limits.reading:
            self._refuse(problem_details.RequestTimeout(f"a request is to arrive within {limits.reading:g} seconds"))
        elif self._answering is not None:
            if now - self._answering.begun > limits.request and not self._answering.response_started:
                self._give_up(Timeout("the answer was not there in time"))
        elif self._stage == BETWEEN and waited > (limits.idle if self.served else limits.reading):
            self.leave()

    def on_response_complete(self) -> None:
        """It is answered; the next, if it is there already, or we wait for one."""
        self.server_state.total_requests += 1
        self._answering = None
        if self._stage == LEAVING or self.transport.is_closing():
            self.pipeline.clear()
            return
        self.since = self.watch.now
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words:
            self._say_last_words()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering, self.served = cycle, True
        super()._start_asgi_task(cycle, app)

    def _refuse(self, error: DirectoryError) -> None:
        """Say what is wrong with what is being read, after the answers to all that came before it, and go."""
        own = self.cycle if self._stage == BODY else None
        if own is not None and own.response_complete:
            self.leave()
        elif own is not None and own is self._answering:
            self._give_up(error)
        else:
            if own is not None:
                self.pipeline.popleft()
            self._stage = DEAF
            self._last_words = self._refusal(error)
            if self._answering is None:
                self._say_last_words()

    def _give_up(self, error: DirectoryError) -> None:
        """Wait no longer for the answer, nor for those behind it."""
        exchange, self._answering = self._answering, None
        assert exchange is not None
        self.pipeline.clear()
        exchange.disconnected = True
        exchange.message_event.set()
        self._last_words = b"" if exchange.response_started else self._refusal(error, cast("Scope", exchange.scope))
        self._say_last_words()

    def _say_last_words(self) -> None:
        self.transport.write(self._last_words)
        self.leave()

    def _refusal(self, error: DirectoryError, scope: Scope | None = None) -> bytes:
        """What they are told, and pay for. Where many are turned away the log hears of it once a second.

        `scope` is that of the request, if an endpoint has begun with it.
        """
        watch = self.watch
        told, watch.refused = watch.refused == watch.now, watch.now
        status, answer = head.refusal(error, self.url, watch.stamp(self.server_state.default_headers), told=told)
        paid = scope is not None and "charged" in scope
        watch.on_refusal(status, None if paid or self.client is None else self.client[0])
        if scope is not None:
            scope["charged"] = True
        return answer

    def _stalls(self, now: float) -> bool:
        """Whether they have not taken what they should of what waits to be sent."""
        pending = self.transport.get_write_buffer_size()
        taking = self.watch.limits.taking
        if not pending:
            self._due = None
        elif self._due is None or pending > self._due[1]:
            self._due = (now + taking, pending, max(0, pending - taking * SLOWEST))
        elif now > self._due[0]:
            if pending > self._due[2]:
                return True
            self._due = None
        return False


def _readable(transport: Any) -> bool:
    """Whether something has come that we have not read yet."""
    if transport.is_closing():
        return False
    asked = select.poll()
    asked.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(asked.poll(0))
