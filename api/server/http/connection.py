"""HTTP/1.1 on one connection (RFC 9112): reads requests with httptools, enforces limits, refuses, closes gracefully.

The parser is given a head by itself, complete and with a request line that is known to be well-formed, and then as much
as the head says is its body. Connection and parser must agree on where a request ends; if they do not, the request is
refused and the connection closed. `docs/decisions/0002-request-framing.md` has the rules.
"""

from __future__ import annotations

import re
import select
import socket
import struct
from typing import Any, cast
from urllib.parse import unquote

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http import problem_details
from api.server.http import head, websocket_handshake
from api.server.http.body import AMBIGUOUS_END, BodyReader
from api.server.http.limits import ConnectionSweeper
from api.server.http.request_response_cycle import MAX_DISCARDED, RequestResponseCycle
from schema.engine.errors import BadRequest, DirectoryError, Overloaded, Timeout

# The slowest that a client may read a response, in bytes a second.
MIN_READ_RATE = 8 * 1024
# Seconds for the client to close, too, during a graceful shutdown.
DRAIN_CLOSE_SECONDS = 1
# SO_LINGER with which `abort` discards what the kernel has not sent yet.
_DISCARD_UNSENT = struct.pack("ii", 1, 0)
# Stages of a connection: between requests, in a head, in a body, reading no more, closed for writing.
IDLE, HEAD, BODY, READ_CLOSED, CLOSING = range(5)
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
# The parser knows only some methods. Any other is well-formed HTTP and a 405, so the parser is shown this one instead.
_STAND_IN_METHOD = b"UNLINK"
_HEAD_END = b"\r\n\r\n"
# Longer header fields are parsed for each request, to bound the memory of many connections.
_MAX_CACHED = 4096
_BLANK_LINES = re.compile(rb"(?:\r\n)+")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """One connection. `sweeper` is set by the subclass that `http_protocol` makes for a server."""

    # The parser validates a head and frames the body; the parts of a valid head are read from its text.
    on_url = on_header = on_message_begin = on_headers_complete = None  # type: ignore[assignment]

    sweeper: ConnectionSweeper
    url = b""
    _stage = IDLE
    # When the stage began, and when the request did, on the sweeper's clock.
    _since = started_at = 0.0
    # The incomplete head received so far, and whether its request line has been checked.
    _partial: bytearray | None = None
    _line_is_valid = False
    # The header fields of the last request: a client that keeps its connection sends the same ones again.
    _fields: head.HeaderFields | None = None
    # What the parser says of further requests on the connection.
    _parser_keeps_alive = True
    # The request whose response is next; those behind it are in `pipeline`.
    _active: RequestResponseCycle | None = None
    _served = False
    _eof = False
    # A refusal, to be written after the responses before it.
    _refusal = b""
    # When the write buffer must have shrunk, its size when that was decided, and the size it must have shrunk to.
    _write_deadline: tuple[float, int, float] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._body = BodyReader()
        admitted = self.sweeper.admit(self, self.loop)
        self._since = self.sweeper.now
        if not admitted:
            self._refuse(Overloaded("the server has reached its limit of connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.sweeper.discard(self)
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def eof_received(self) -> Any:
        """Answer the complete requests, then close. True keeps the transport open for that."""
        self._eof = True
        if self._stage not in (IDLE, READ_CLOSED) or self._active is None:
            return None
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Read the rest of a request, and the requests that follow it."""
        while data and self._stage < READ_CLOSED:
            data = self._read_body(data) if self._stage == BODY else self._read_head(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser. What follows the response of a request is discarded."""
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body

    def on_message_complete(self) -> None:
        """Called by the parser where it sees the end of a request."""
        self._body.complete = True
        self._parser_keeps_alive = self.parser.should_keep_alive()

    def on_response_complete(self) -> None:
        """Start the next request, write a refusal, or wait."""
        self.server_state.total_requests += 1
        self._active = None
        if self._stage == CLOSING or self.transport.is_closing():
            self.pipeline.clear()
            return
        self._since = self.sweeper.now
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal:
            self._write_refusal()

    @property
    def busy(self) -> bool:
        """Whether a request has not been answered yet."""
        return self._active is not None

    def shutdown(self) -> None:
        """Answer the requests received, then close."""
        if self._active is not None:
            (self.pipeline[0][0] if self.pipeline else self._active).keep_alive = False
        elif self._stage in (IDLE, BODY):
            self.close()

    def drain(self, now: float) -> None:
        """Close unless a request is active or arriving; called repeatedly during a graceful shutdown."""
        if self._active is not None or self._stage == HEAD:
            return
        if self._stage != CLOSING:
            if not _is_readable(self.transport):
                self.close()
                self._since = now
        elif now - self._since > DRAIN_CLOSE_SECONDS and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def close(self) -> None:
        """Close for writing, and fully once the client closes or after `close_timeout`.

        Closing fully at once could reset the connection before the client has read the last response (RFC 9112, 9.6).
        """
        self._stage, self._since = CLOSING, self.sweeper.now
        if self.transport.is_closing():
            return
        if self._eof:
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()

    def is_evictable(self) -> bool:
        """Whether no request is active, or only one whose body is slow to arrive."""
        if self._active is None:
            return self._stage in (IDLE, HEAD)
        sweeper = self.sweeper
        return self._awaits_body() and sweeper.now - self._since >= sweeper.limits.upload_timeout

    def evict(self) -> None:
        """Close in favour of a new connection."""
        if self._active is not None:
            self._refuse(Overloaded("the server reached its limit of connections before the body arrived"))
        else:
            self.close()

    def check(self, now: float) -> None:
        """Enforce the timeouts; called by the sweeper once a second."""
        limits, waited = self.sweeper.limits, now - self._since
        if self._reads_too_slowly(now):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_UNSENT)
            self.transport.abort()
        elif self._stage == CLOSING:
            if waited > limits.close_timeout and not self._write_deadline:
                self.transport.abort()
        elif self._stage in (HEAD, BODY) and self.flow.read_paused:
            self._since = now
        elif self._stage in (HEAD, BODY) and waited > limits.read_timeout:
            self._refuse(
                problem_details.RequestTimeout(f"the request must arrive within {limits.read_timeout:g} seconds")
            )
        elif self._active is not None:
            if now - self._active.started_at > limits.request_timeout and not self._active.response_started:
                self._abandon(Timeout("the response was not ready in time"))
        elif self._stage == IDLE and waited > (limits.idle_timeout if self._served else limits.read_timeout):
            self.close()

    def _read_head(self, data: bytes) -> bytes:
        """Start the request if its head is complete; return what follows the head."""
        partial, start = self._partial, 0
        if partial is not None and bytes(partial[:2]) == b"\r":
            self._partial = None
            return b"\r" + data
        if partial is None:
            if data[:1] == b"\r" and (blank := _BLANK_LINES.match(data)):
                return data[blank.end() :]
            if data == b"\r":  # perhaps half of an empty line, which begins no request
                self._partial = bytearray(data)
                return b""
            self._stage, self._since, self.started_at = HEAD, self.sweeper.now, self.sweeper.now
            end = data.find(_HEAD_END)
        else:
            start = len(partial)
            partial += data
            end = partial.find(_HEAD_END, max(0, start - 3))
        try:
            if end < 0:
                self._partial = partial = bytearray(data) if partial is None else partial
                self._line_is_valid = head.check_partial(partial, start, self._line_is_valid, self.sweeper.limits)
                return b""
            data = data if partial is None else bytes(partial)
            self._partial, self._line_is_valid, end = None, False, end + len(_HEAD_END)
            text, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
            self._begin(text, rest)
        except DirectoryError as error:
            self.url = head.find_target(self._partial or data)
            self._refuse(error)
            return b""
        return rest

    def _begin(self, text: bytes, rest: bytes) -> None:
        """Start the request with this head, or queue it behind those that are not answered yet."""
        limits = self.sweeper.limits
        if len(self.pipeline) >= limits.pipelined:
            self.pipeline[0][0].keep_alive, self._stage = False, READ_CLOSED
            return
        line = head.REQUEST_LINE.match(text)
        if line is None:
            raise head.request_line_error(text)
        method, target, version = line.groups()
        self.url = target
        if len(text) > limits.url:
            head.check_size(target, text, limits)
        upgrade = self._parse(text if method in _METHODS else _STAND_IN_METHOD + text[len(method) :])
        fields = self._fields
        lines = text[line.end() :]
        if fields is None or fields.text != lines or version != b"1.1":
            fields = head.parse_fields(lines, version, limits)
            self._fields = fields if len(lines) <= _MAX_CACHED else None
        self.headers = fields.headers
        if upgrade:
            if not self._upgrade_to_websocket(method, version, fields, rest):
                self._begin(self._without_upgrade(text), rest)
            return
        complete = self._body.complete
        if complete is not (fields.length == 0):
            raise BadRequest(AMBIGUOUS_END)
        self._make_scope(method, target, version, fields)
        keep_alive = not (fields.closes or self.sweeper.draining)
        discards_rest = fields.length is not None and fields.length <= MAX_DISCARDED and not fields.expects
        self.cycle = cycle = RequestResponseCycle(self, keep_alive, fields.expects, discards_rest)
        self._stage, self._since = BODY, self.sweeper.now
        if self._active is None:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        if complete:
            self._end_request()
        else:
            self._body.start(fields.length)

    def _parse(self, text: bytes) -> bool:
        """Have the parser validate a head; return whether it takes what follows for another protocol."""
        self._body.complete = False
        try:
            self.parser.feed_data(text)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserError as error:
            raise head.parser_error(error) from None
        return False

    def _without_upgrade(self, text: bytes) -> bytes:
        """Ignore `Upgrade` (RFC 9110, 7.8): the head without it, for a new parser, so that the body is read as one."""
        without = _UPGRADE.sub(b"", text)
        if without == text:
            raise BadRequest(AMBIGUOUS_END)
        self.parser = httptools.HttpRequestParser(self)
        return without

    def _make_scope(self, method: bytes, target: bytes, version: bytes, fields: head.HeaderFields) -> None:
        if target[:1] != b"/" or b"#" in target:
            raw_path, query, self.headers = head.parse_target(method, target, fields.headers)
        else:
            raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1" if version == b"1.1" else "1.0",
            "method": _METHODS.get(method) or method.decode("ascii"),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,  # type: ignore[typeddict-item]
            "root_path": self.root_path,
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode() + raw_path,
            "query_string": query,
            "headers": self.headers.copy(),
            "state": self.app_state.copy(),
        }
        if fields.by_name is not None and self.headers is fields.headers:
            self.scope["headers_by_name"] = fields.by_name  # type: ignore[typeddict-unknown-key]

    def _upgrade_to_websocket(self, method: bytes, version: bytes, fields: head.HeaderFields, rest: bytes) -> bool:
        """Hand the connection to the WebSocket protocol, if the request asks for it (RFC 6455, 4.2.1)."""
        requested = version == b"1.1" and websocket_handshake.is_requested(fields.headers)
        if not requested or not self._should_upgrade_to_ws():
            return False
        websocket_handshake.check(method, fields)
        if rest:
            raise BadRequest("a WebSocket handshake must be answered before more data is sent")
        if self._active is not None:
            raise BadRequest("a WebSocket handshake must be sent after the responses to earlier requests")
        self._make_scope(method, self.url, version, fields)
        query = self.scope["query_string"]
        self.url = self.scope["raw_path"] + (b"?" + query if query else b"")
        self.sweeper.discard(self)
        self._stage = READ_CLOSED
        self.handle_websocket_upgrade()
        return True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._active, self._served = cycle, True
        super()._start_asgi_task(cycle, app)

    def _read_body(self, data: bytes) -> bytes:
        """Read more of the body; return what follows its end."""
        try:
            size = self._body.read(self.parser, data, self.sweeper.limits.body)
        except httptools.HttpParserError as error:
            self._refuse(head.parser_error(error))
            return b""
        except DirectoryError as error:
            self._refuse(error)
            return b""
        cycle = self.cycle
        if cycle.body and not cycle.response_complete:
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()
        if self._body.complete:
            self._end_request()
        return data[size:]

    def _end_request(self) -> None:
        """The request has been read; if it is the last on this connection, what follows it is not read."""
        cycle = self.cycle
        self._since = self.sweeper.now
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()
        if self._stage == BODY:
            self._stage = IDLE if cycle.keep_alive else READ_CLOSED
        # The parser also ends a connection by `Proxy-Connection` and by trailer fields, which mean nothing to a server.
        if not self._parser_keeps_alive and self._stage == IDLE:
            self._parser_keeps_alive, self.parser = True, httptools.HttpRequestParser(self)

    def _awaits_body(self) -> bool:
        """Whether the active request lacks a response only because its body has not arrived."""
        reading = self._stage == BODY and self.cycle is self._active
        return reading and not self.cycle.response_started and not self.flow.read_paused

    def _refuse(self, error: DirectoryError) -> None:
        """Refuse what is being read, after the responses to all requests before it, and close."""
        cycle = self.cycle if self._stage == BODY else None
        if cycle is not None and cycle.response_complete:
            self.close()
        elif cycle is not None and cycle is self._active:
            self._abandon(error)
        else:
            if cycle is not None:
                self.pipeline.popleft()
            self._stage = READ_CLOSED
            self._refusal = self._make_refusal(error)
            if self._active is None:
                self._write_refusal()

    def _abandon(self, error: DirectoryError) -> None:
        """Stop waiting for the active response and those behind it, and close."""
        cycle, self._active = self._active, None
        assert cycle is not None
        self.pipeline.clear()
        cycle.disconnected = True
        cycle.message_event.set()
        self._refusal = b"" if cycle.response_started else self._make_refusal(error, cast("Scope", cycle.scope))
        self._write_refusal()

    def _write_refusal(self) -> None:
        self.transport.write(self._refusal)
        self.close()

    def _make_refusal(self, error: DirectoryError, scope: Scope | None = None) -> bytes:
        """Charge a refused request and return its response. `scope`: that of a request the application has got.

        Under overload one refusal a second is logged at WARNING, the others at DEBUG.
        """
        sweeper = self.sweeper
        logged, sweeper.last_refusal = sweeper.last_refusal == sweeper.now, sweeper.now
        lines = sweeper.default_lines(self.server_state.default_headers)
        status, response = head.refusal(error, self.url, lines, logged=logged)
        paid = scope is not None and "charged" in scope
        sweeper.on_refusal(status, None if paid or self.client is None else self.client[0])
        if scope is not None:
            scope["charged"] = True
        return response

    def _reads_too_slowly(self, now: float) -> bool:
        """Whether the client has read less than `MIN_READ_RATE` for `write_timeout` seconds."""
        pending = self.transport.get_write_buffer_size()
        timeout = self.sweeper.limits.write_timeout
        if not pending:
            self._write_deadline = None
        elif self._write_deadline is None or pending > self._write_deadline[1]:
            self._write_deadline = (now + timeout, pending, max(0, pending - timeout * MIN_READ_RATE))
        elif now > self._write_deadline[0]:
            if pending > self._write_deadline[2]:
                return True
            self._write_deadline = None
        return False


def _is_readable(transport: Any) -> bool:
    """Whether bytes have arrived that have not been read yet."""
    if transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
