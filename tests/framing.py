"""Byte sequences against an HTTP protocol class in this process, and the requests that an application gets to see.

A transport that exists in memory alone makes thousands of connections a second, and each piece arrives by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
# Turns of the event loop without any sign of life after which nothing more is to come.
_QUIET_TURNS = 12

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the application gets it, once its body is complete."""

    method: str
    target: str
    body: bytes
    headers: tuple[Header, ...] = ()

    @property
    def framing(self) -> tuple[str, str, bytes]:
        """What all servers must agree on; of a target in absolute form path and query."""
        target = self.target
        if not target.startswith("/") and target != "*":
            parts = urlsplit(target)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self.method, target.partition("#")[0], self.body


@dataclass(slots=True)
class Echo:
    """Answers with what it is sent, and remembers it. WebSockets are accepted at `/socket` alone."""

    seen: list[Seen] = field(default_factory=list)
    refusal: int = 403

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await self._talk(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        request = Seen(scope["method"], target, body, headers)
        self.seen.append(request)
        answer = json.dumps([request.method, request.target, body.decode("latin-1"), headers]).encode()
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})

    async def _talk(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] != "/socket":
            await send({"type": "websocket.http.response.start", "status": self.refusal, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"refused"})
            return
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


async def _live(receive: Receive, send: Send) -> None:
    for event in ("startup", "shutdown"):
        await receive()
        done: Message = {"type": f"lifespan.{event}.complete"}
        await send(done)


class Socket:
    """As much of a socket as a protocol looks at."""

    family = 2

    def getpeername(self) -> tuple[str, int]:
        """The address of the client."""
        return "127.0.0.1", 5

    def getsockname(self) -> tuple[str, int]:
        """The address of the server."""
        return "127.0.0.1", 8000


class Transport:
    """What a protocol writes to; `ended` once nothing more is sent, `closed` once nothing is read either."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.ended = self.closed = self.paused = False
        self.protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The socket, and nothing else."""
        return Socket() if name == "socket" else default

    def write(self, data: bytes) -> None:
        """Keep what is sent."""
        self.written.append(bytes(data))

    def writelines(self, lines: Sequence[bytes]) -> None:
        """Keep what is sent."""
        self.written.append(b"".join(lines))

    def pause_reading(self) -> None:
        """Deliver nothing more for now."""
        self.paused = True

    def resume_reading(self) -> None:
        """Deliver again."""
        self.paused = False

    async def reads(self) -> None:
        """Wait until more may be delivered."""
        while self.paused and not self.ended:  # noqa: ASYNC110 - a turn of the loop is what is waited for
            await asyncio.sleep(0)

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.ended

    def get_write_buffer_size(self) -> int:
        """Nothing waits to be sent."""
        return 0

    def write_eof(self) -> None:
        """Send no more."""
        self.ended = True

    def close(self) -> None:
        """Send no more, and read no more."""
        self.ended = self.closed = True

    abort = close

    def set_protocol(self, protocol: Any) -> None:
        """Hand the connection to another protocol."""
        self.protocol = protocol


@dataclass(slots=True)
class Outcome:
    """What has become of one connection."""

    seen: list[Seen]
    statuses: list[int]
    ended: bool
    written: bytes

    @property
    def framing(self) -> list[tuple[str, str, bytes]]:
        """The requests that were accepted, in their order."""
        return [request.framing for request in self.seen]


class Wire:
    """Connections to an HTTP protocol class, one after another."""

    def __init__(self, http: Any, app: Any = None, **options: Any) -> None:
        self.echo = Echo()
        self.config = uvicorn.Config(
            app or self.echo, http=http, lifespan="off", log_config=None, access_log=False, **options
        )
        self.config.load()
        self.state = ServerState()

    async def send(self, *pieces: bytes, answering: bool = False) -> Outcome:
        """What becomes of a connection on which these pieces arrive.

        Each comes as soon as the protocol reads; with `answering` once what came before has been answered.
        """
        before = len(self.echo.seen)
        with self.connected() as (_, transport):
            for piece in pieces:
                await transport.reads()
                if transport.closed:
                    break
                transport.protocol.data_received(piece)
                if answering:
                    await _quiet(transport)
            await _quiet(transport)
            statuses = [int(found[1]) for data in transport.written if (found := _STATUS.match(data))]
            whole = b"".join(transport.written)
            final = [status for status in statuses if status >= 200]
            return Outcome(self.echo.seen[before:], final, transport.ended, whole)

    @contextlib.contextmanager
    def connected(self) -> Iterator[tuple[Any, Transport]]:
        """One connection: the protocol object and its transport."""
        make: Any = self.config.http_protocol_class
        protocol = make(config=self.config, server_state=self.state, app_state={})
        transport = Transport()
        transport.protocol = protocol
        protocol.connection_made(transport)
        try:
            yield protocol, transport
        finally:
            transport.ended = True
            transport.protocol.connection_lost(None)


async def _quiet(transport: Transport) -> None:
    quiet, size = 0, -1
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(0)
        quiet, size = (quiet + 1, size) if len(transport.written) == size else (0, len(transport.written))
