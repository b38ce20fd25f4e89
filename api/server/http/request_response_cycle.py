"""One request and its answer, as uvicorn has them, but that an answer in one piece leaves in one piece.

Uvicorn writes head and body apart, which is two calls of the kernel for each request, and searches every header for
what may not be in one by itself. Here the head waits for the first of the body, and is looked at as a whole.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

from api.http import problem_details

# Larger bodies are not copied to stand behind their head.
JOINED = 64 * 1024
# What is still to come of a request that has been answered is read and forgotten, up to so much; else we hang up.
DRAINED = 64 * 1024
# All that may not be in the value of a header.
_CONTROLS = bytes({*range(32), 127} - set(b"\t"))
# How a header's name is written, and whether it says something to us. Bounded by what the service has names for.
_names: dict[bytes, tuple[bytes, bool]] = {}
_MOST_NAMES = 1000
_MEANT_FOR_US = {b"content-length", b"transfer-encoding", b"connection"}
# Header lines whose values recur, as they are written. Measured: 0.4 of the 2.3 µs that the head of a response took.
_lines: dict[tuple[bytes, bytes], bytes] = {}
_MOST_LINES = 500
_RECURRING = {
    b"cache-control", b"content-security-policy", b"content-type", b"cross-origin-resource-policy", b"referrer-policy",
    b"strict-transport-security", b"vary", b"x-content-type-options",
}  # fmt: skip


class Exchange(RequestResponseCycle):
    """One request and its answer."""

    # What all begin with; uvicorn's own `__init__` sets them one by one for each request.
    disconnected = response_started = response_complete = access_log = False
    more_body = True
    chunked_encoding: bool | None = None
    expected_content_length = 0
    _head = b""
    _until_close = False

    def __init__(self, connection: Any, keep_alive: bool, expects: bool, drains: bool) -> None:
        self._connection = connection
        self.scope = connection.scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.message_event = asyncio.Event()
        self.on_response = connection.on_response_complete
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects
        self.body = bytearray()
        self.begun = connection.begun
        self._drains = drains

    async def send(self, message: Any) -> None:
        """Send a part of the answer; the head with the first of the body."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        expected = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != expected or self.response_complete:
            raise RuntimeError(f"an answer has no {message['type']} here")
        if not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._begin(message["status"], message.get("headers", ()))
        else:
            self._go_on(message.get("body", b""), message.get("more_body", False))

    async def send_500_response(self) -> None:
        """What goes out where the application fails before it has begun to answer."""
        answer = problem_details.answer(problem_details.INTERNAL, self.scope.get("path", "/"), "")
        length = (b"content-length", b"%d" % len(answer.body))
        headers = [*answer.headers, length, (b"cache-control", b"no-store"), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": answer.body})

    def _begin(self, status: int, headers: Any) -> bytes:
        """The head of the answer."""
        if self.more_body and not self._drains:
            self.keep_alive = False
        connection = self._connection
        lines = [STATUS_LINE[status], connection.watch.stamp(connection.server_state.default_headers)]
        values = []
        closes = False
        for header in headers:
            line = _lines.get(header) if type(header) is tuple else None
            if line is not None:
                lines.append(line)
                continue
            name, value = header
            written, meant_for_us = _names.get(name) or _named(name)
            if name in _RECURRING:
                _keep_line(header, written, value)
            if meant_for_us:
                closes |= self._understand(written, value)
            values.append(value)
            lines += (written, value, b"\r\n")
        whole = b"".join(values)
        if len(whole.translate(None, _CONTROLS)) < len(whole):
            raise RuntimeError("a header has a character that may not be in one")
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            # A client of HTTP/1.0 knows no chunks: for it the end of the connection is the end (RFC 9112, 6.1).
            self._until_close = self.scope["http_version"] == "1.0"
            self.chunked_encoding = not self._until_close
            if self.chunked_encoding:
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _understand(self, written: bytes, value: bytes) -> bool:
        """Note what a header says of the answer's framing, and whether it ends the connection."""
        if written == b"content-length: " and self.chunked_encoding is None:
            self.expected_content_length, self.chunked_encoding = int(value), False
        elif written == b"transfer-encoding: " and value.lower() == b"chunked":
            self.expected_content_length, self.chunked_encoding = 0, True
        elif written == b"connection: " and b"close" in (token.strip() for token in value.lower().split(b",")):
            self.keep_alive = False
            return True
        return False

    def _go_on(self, body: bytes, more: bool) -> None:
        """Write a part of the body, behind the head if that has not gone out yet."""
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        elif not self._until_close:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the body is not as long as Content-Length says")
        head, self._head = self._head, b""
        if len(body) > JOINED:
            self.transport.writelines((head, body))
        elif head or body:
            self.transport.write(head + body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self._connection.leave()
            self.on_response()


def _named(name: bytes) -> tuple[bytes, bool]:
    """How a header's name is written, once it is known to be one."""
    if not name or HEADER_RE.search(name):
        raise RuntimeError("a header has a name that none may have")
    lower = name.lower()
    made = (b"%b: " % lower, lower in _MEANT_FOR_US)
    if len(_names) < _MOST_NAMES:
        _names[name] = made
    return made


def _keep_line(header: Any, written: bytes, value: bytes) -> None:
    """Keep a header line for the next time, if there is room and nothing in it that may not be in one."""
    if type(header) is tuple and len(_lines) < _MOST_LINES and len(value.translate(None, _CONTROLS)) == len(value):
        _lines[header] = b"%b%b\r\n" % (written, value)
