"""A WebSocket as uvicorn has it, with what one connection may take up bounded, and nothing logged for each socket.

Uvicorn parses all that has arrived at once, answers every ping, and waits for whoever reads nothing. Here a slice is
parsed at a time, the next one once the application has taken the messages of the last; frames that carry next to
nothing are counted; and a connection does not outlive what was said on it by much.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from functools import partial
from typing import Any, ClassVar, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CTRL_OPCODES, CloseCode, Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from api.graphql.websocket.handshake import MESSAGE_SIZE

# So long after the last word the other side may take to read it and to hang up; so many may do so at a time.
PARTING_SECONDS = 5.0
MOST_PARTING: Final = 256
# Parsing 4 KiB of the smallest frames takes some 5 ms.
SLICE: Final = 4096
# Control frames, and fragments of less than 1 KiB, that a connection may send in a second.
MOST_SMALL_FRAMES: Final = 100
SMALL: Final = 1024
log = logging.getLogger("tandem.websocket")
# Lines for each socket, with path and query, come at a level that production has; and what is no text, as an error.
log.setLevel(logging.WARNING)
log.addFilter(lambda record: "Invalid UTF-8" not in record.getMessage())


class FrameParser(ServerProtocol):
    """websockets' parser, which fails a connection with 1008 when it sends too many small frames in a second."""

    _second = 0.0
    _small = 0

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame, unless it is one too many."""
        if frame.opcode in CTRL_OPCODES or (not frame.fin and len(frame.data) < SMALL):
            now = time.monotonic()
            if now - self._second >= 1:
                self._second, self._small = now, 0
            self._small += 1
            if self._small > MOST_SMALL_FRAMES:
                self.parser_exc = ProtocolError("too many small frames")
                self.fail(CloseCode.POLICY_VIOLATION, f"{MOST_SMALL_FRAMES} control frames or fragments a second")
                return
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket."""

    parting = PARTING_SECONDS
    # Those whose last word has been said, the oldest first.
    _leaving: ClassVar[OrderedDict[WebSocketProtocol, None]] = OrderedDict()
    _end: asyncio.TimerHandle | None = None
    _turn: asyncio.Handle | None = None
    _dropped = 0

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.logger = log
        self.conn = FrameParser(extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=log)
        self._unread = bytearray()

    def data_received(self, data: bytes) -> None:
        """Parse a slice now, and the rest in turn."""
        if self.close_sent:
            self._dropped += len(data)
            if self._dropped > self.config.ws_max_size:
                self.transport.abort()
                return
        if not self._unread and len(data) <= SLICE:
            super().data_received(data)
            return
        self._unread += data
        self.transport.pause_reading()
        if self._turn is None:
            self._turn = self.loop.call_soon(self._parse)

    async def receive(self) -> Any:
        """The next message. When there is none left, more is parsed or read."""
        message = await self.queue.get()
        if self.queue.empty():
            self._go_on()
        return message

    async def send(self, message: Any) -> None:
        """Send a message; where the connection has failed meanwhile, the application learns that nobody is there."""
        await self.writable.wait()
        if self.close_sent and self.handshake_complete:
            raise ClientDisconnected
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused with a response, which uvicorn would take for a failure and log

    async def run_asgi(self) -> None:
        """Serve. What is still to be sent then is thrown away, if it is not taken in a while."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[MESSAGE_SIZE] = partial(setattr, self.conn, "max_message_size")
        await super().run_asgi()
        if self.disconnected:
            return
        self._go_on()
        self._end = self.loop.call_later(self.parting, self.transport.abort)
        self._leaving[self] = None
        if len(self._leaving) > MOST_PARTING:
            self._leaving.popitem(last=False)[0].transport.abort()

    def shutdown(self) -> None:
        """Say that the server restarts, unless a close frame has been sent already."""
        if self.handshake_complete and self.conn.state is not State.OPEN:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self._leaving.pop(self, None)
        self._unread.clear()
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def _parse(self) -> None:
        """Parse the next slice, unless messages wait to be taken; after the close frame they are dropped."""
        self._turn = None
        if self.transport.is_closing():
            self._unread.clear()
        elif self.close_sent or self.queue.empty():
            piece = bytes(self._unread[:SLICE])
            del self._unread[:SLICE]
            super().data_received(piece)
            self._go_on()

    def _go_on(self) -> None:
        """Parse what has come, or else read on, unless messages wait to be taken."""
        if self.transport.is_closing() or not (self.close_sent or self.queue.empty()):
            return
        if self._unread:
            if self._turn is None:
                self._turn = self.loop.call_soon(self._parse)
        else:
            self.read_paused = False
            self.transport.resume_reading()
