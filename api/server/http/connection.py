"""HTTP/1.1 on one connection: where a request begins and ends (RFC 9112), read with httptools and kept within limits.

The parser is given a head by itself, complete and with a request line that is known to be well-formed, and then as much
as the head says is its body. Connection and parser must agree on where a request ends; if they do not, it is refused
and the connection closed. `docs/decisions/0002-request-framing.md` has the rules.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import httptools

from api.server.http import head, websocket_handshake
from api.server.http.body import NO_END, BodyReader
from api.server.http.request_response_cycle import DRAINED, Exchange
from api.server.http.visit import BODY, DEAF, HEAD
from schema.engine.errors import BadRequest, DirectoryError

_KNOWN = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
# The parser knows only some methods. Any other is well-formed HTTP and a 405, so this one stands in for it.
_STAND_IN = b"UNLINK"
_END = b"\r\n\r\n"
# Larger fields are read anew each time, for the memory that many connections would take.
_LARGEST_KEPT = 4096
_BLANK_LINES = re.compile(rb"(?:\r\n)+")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class Connection(BodyReader):
    """One connection, as it is read."""

    # The parser validates a head and frames the body. The parts of a head are read from its text once it is valid.
    on_url = on_header = on_message_begin = on_headers_complete = None  # type: ignore[assignment]

    # What has arrived of an incomplete head, and whether its request line is known to be good.
    _partial: bytearray | None = None
    _line_is_good = False
    # The header fields of the last request: a client that keeps its connection sends the same ones again.
    _fields: head.Fields | None = None

    def data_received(self, data: bytes) -> None:
        """Read what has come: the rest of a request, and the requests that follow it."""
        while data and self._stage < DEAF:
            data = self._read_body(data) if self._stage == BODY else self._read_head(data)

    def _read_head(self, data: bytes) -> bytes:
        """Begin the request whose head is complete; returns what is still to be read."""
        partial, start = self._partial, 0
        if partial is not None and bytes(partial[:2]) == b"\r":
            self._partial = None
            return b"\r" + data
        if partial is None:
            if data[:1] == b"\r" and (blank := _BLANK_LINES.match(data)):
                return data[blank.end() :]
            if data == b"\r":  # half of a blank line, perhaps, which begins no request
                self._partial = bytearray(data)
                return b""
            self._stage, self.since, self.begun = HEAD, self.watch.now, self.watch.now
            end = data.find(_END)
        else:
            start = len(partial)
            partial += data
            end = partial.find(_END, max(0, start - 3))
        try:
            if end < 0:
                self._partial = bytearray(data) if partial is None else partial
                self._line_is_good = head.check_partial(self._partial, start, self._line_is_good, self.watch.limits)
                return b""
            data = data if partial is None else bytes(partial)
            self._partial, self._line_is_good, end = None, False, end + len(_END)
            whole, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
            self._begin(whole, rest)
        except DirectoryError as error:
            self.url = head.target_in(self._partial or data)
            self._refuse(error)
            return b""
        return rest

    def _begin(self, whole: bytes, rest: bytes) -> None:
        """Have the request with this head answered, after those that came before it."""
        limits = self.watch.limits
        if len(self.pipeline) >= limits.pipelined:
            self.pipeline[0][0].keep_alive, self._stage = False, DEAF
            return
        line = head.REQUEST_LINE.match(whole)
        if line is None:
            raise head.not_a_line(whole)
        method, target, version = line.groups()
        self.url = target
        if len(whole) > limits.url:
            head.check_size(target, whole, limits)
        upgrade = self._parse(whole if method in _KNOWN else _STAND_IN + whole[len(method) :])
        fields = self._fields
        text = whole[line.end() :]
        if fields is None or fields.text != text or version != b"1.1":
            fields = head.fields(text, version, limits)
            self._fields = fields if len(text) <= _LARGEST_KEPT else None
        self.headers = fields.headers
        if upgrade:
            if not self._opens_websocket(method, version, fields, rest):
                self._begin(self._without_upgrade(whole), rest)
            return
        if self._complete is not (fields.length == 0):
            raise BadRequest(NO_END)
        self._left, self._tail, self._size = fields.length, b"", 0
        self._make_scope(method, target, version, fields)
        keep_alive = not (fields.closes or self.watch.leaving)
        drains = fields.length is not None and fields.length <= DRAINED and not fields.expects
        exchange = Exchange(self, keep_alive, fields.expects, drains)
        self._start(exchange, self.app)
        if self._complete:
            self._end()

    def _parse(self, whole: bytes) -> bool:
        """Have a head validated; returns whether the parser takes what follows for another protocol."""
        self._complete = False
        try:
            self.parser.feed_data(whole)
        except httptools.HttpParserUpgrade:
            return True
        except httptools.HttpParserError as error:
            raise head.unreadable(error) from None
        return False

    def _without_upgrade(self, whole: bytes) -> bytes:
        """The head for a new parser without `Upgrade`, which is ignored (RFC 9110, 7.8), so that its body is read."""
        without = _UPGRADE.sub(b"", whole)
        if without == whole:
            raise BadRequest(NO_END)
        self.parser = httptools.HttpRequestParser(self)
        return without

    def _make_scope(self, method: bytes, target: bytes, version: bytes, fields: head.Fields) -> None:
        """Describe the request as ASGI does."""
        if target[:1] != b"/" or b"#" in target:
            raw_path, query, self.headers = head.target(method, target, fields.headers)
        else:
            raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1" if version == b"1.1" else "1.0",
            "method": _KNOWN.get(method) or method.decode("ascii"),
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
        if fields.named is not None and self.headers is fields.headers:
            self.scope["headers_by_name"] = fields.named  # type: ignore[typeddict-unknown-key]

    def _start(self, exchange: Exchange, app: Any) -> None:
        """Run the application for a request, or queue it behind those that are not answered yet."""
        self.cycle = exchange
        self._stage, self.since = BODY, self.watch.now
        if self._answering is None:
            self._start_asgi_task(exchange, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, app))

    def _opens_websocket(self, method: bytes, version: bytes, fields: head.Fields, rest: bytes) -> bool:
        """Hand the connection over to a WebSocket, if that is what `Upgrade` asks for (RFC 6455, 4.2.1)."""
        asked = version == b"1.1" and websocket_handshake.is_asked_for(fields.headers)
        if not asked or not self._should_upgrade_to_ws():
            return False
        websocket_handshake.check(method, fields)
        if rest:
            raise BadRequest("nothing may follow a WebSocket handshake before it is answered")
        if self._answering is not None:
            raise BadRequest("a WebSocket handshake may follow other requests only once they are answered")
        self._make_scope(method, self.url, version, fields)
        query = self.scope["query_string"]
        self.url = self.scope["raw_path"] + (b"?" + query if query else b"")
        self.watch.forget(self)
        self._stage = DEAF
        self.handle_websocket_upgrade()
        return True
