"""uvicorn's WebSocket protocol with limits: parsing in slices, small frames a second, and time to close.

uvicorn parses all bytes received at once, answers every ping, and waits for a client that does not read. Here one slice
is parsed at a time, the next once the application has taken the messages of the last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any, ClassVar, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CTRL_OPCODES, CloseCode, Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from api.graphql.websocket.handshake import MESSAGE_SIZE
from api.server.http.limits import ClosingConnections

# Parsing 4 KiB of the smallest frames takes about 5 ms.
SLICE: Final = 4096
# Control frames and fragments of less than 1 KiB that a connection may send in a second.
MAX_SMALL_FRAMES: Final = 100
SMALL: Final = 1024
log = logging.getLogger("tandem.websocket")
# uvicorn logs each socket's path and query at INFO, which production has, and invalid UTF-8 of a client as an error.
log.setLevel(logging.WARNING)
log.addFilter(lambda record: "Invalid UTF-8" not in record.getMessage())


class FrameParser(ServerProtocol):
    """websockets' parser. It fails a connection with 1008 that sends too many small frames in a second."""

    _second = 0.0
    _small = 0

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode in CTRL_OPCODES or (not frame.fin and len(frame.data) < SMALL):
            now = time.monotonic()
            if now - self._second >= 1:
                self._second, self._small = now, 0
            self._small += 1
            if self._small > MAX_SMALL_FRAMES:
                self.parser_exc = ProtocolError("too many small frames")
                self.fail(CloseCode.POLICY_VIOLATION, f"more than {MAX_SMALL_FRAMES} small frames a second")
                return
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection. `websocket_protocol` makes subclasses with limits."""

    close_seconds: ClassVar[float]
    closing: ClassVar[ClosingConnections[WebSocketProtocol]]
    _close_timer: asyncio.TimerHandle | None = None
    _parse_handle: asyncio.Handle | None = None
    _discarded = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = log
        self.conn = FrameParser(extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=log)
        self._unparsed = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.close_sent:
            self._discarded += len(data)
            if self._discarded > self.config.ws_max_size:
                self.transport.abort()
                return
        if not self._unparsed and len(data) <= SLICE:
            super().data_received(data)
            return
        self._unparsed += data
        self.transport.pause_reading()
        self._schedule_parse()

    async def receive(self) -> Any:
        """Return the next message; when it was the last, parse or read more."""
        message = await self.queue.get()
        if self.queue.empty():
            self._continue_reading()
        return message

    async def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            ClientDisconnected: the connection has failed.
        """
        await self.writable.wait()
        if self.close_sent and self.handshake_complete:
            raise ClientDisconnected
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused with a response, which uvicorn would log as a failure

    async def run_asgi(self) -> None:
        """Run the application, then close; abort if the client does not close in time."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[MESSAGE_SIZE] = partial(setattr, self.conn, "max_message_size")
        await super().run_asgi()
        if self.disconnected:
            return
        self._continue_reading()
        self._close_timer = self.loop.call_later(self.close_seconds, self.transport.abort)
        self.closing.add(self)

    def shutdown(self) -> None:
        """Close with 1012 (service restart), unless a close frame has been sent."""
        if self.handshake_complete and self.conn.state is not State.OPEN:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing.discard(self)
        self._unparsed.clear()
        if self._close_timer is not None:
            self._close_timer.cancel()
        super().connection_lost(exc)

    def _schedule_parse(self) -> None:
        if self._parse_handle is None:
            self._parse_handle = self.loop.call_soon(self._parse)

    def _parse(self) -> None:
        """Parse the next slice, unless messages wait to be taken; after the close frame they are dropped."""
        self._parse_handle = None
        if self.transport.is_closing():
            self._unparsed.clear()
        elif self.close_sent or self.queue.empty():
            part = bytes(self._unparsed[:SLICE])
            del self._unparsed[:SLICE]
            super().data_received(part)
            self._continue_reading()

    def _continue_reading(self) -> None:
        """Parse what has been received, or else read on, unless messages wait to be taken."""
        if self.transport.is_closing() or not (self.close_sent or self.queue.empty()):
            return
        if self._unparsed:
            self._schedule_parse()
        else:
            self.read_paused = False
            self.transport.resume_reading()
