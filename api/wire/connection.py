"""What comes in on a connection, parsed by httptools and kept within limits.

Methods that the parser does not know are well-formed HTTP, so they go on to the service, which says 405.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import httptools

from api.rest import problems
from api.wire import head
from api.wire.again import Again, Head, kept_of
from api.wire.exchange import DRAINED, Exchange, everything
from api.wire.visit import BETWEEN, BODY, DEAF, HEAD, Visit
from schema.engine.errors import BadRequest

_KNOWN = {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT", b"PRI"}
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
# One that the parser knows and nobody here serves: it stands in for those that it does not know.
_STAND_IN = b"UNLINK"
# So many heads in a row are kept for nothing before that is given up.
TRIES = 3


class Enough(Exception):
    """More requests follow one another unanswered than one connection may have."""


class Connection(Visit):
    """One connection, as it is read."""

    # The head of the last request, where the next one may have the same; how often it is yet to be kept to no avail.
    _last: Head | None = None
    _tries = TRIES
    _messages = 0

    def data_received(self, data: bytes) -> None:
        """Hand the parser what has come, the method of a new request one that it knows."""
        stage = self._stage
        if stage >= DEAF:
            return
        if stage == BETWEEN:
            last = self._last
            if last is not None and self._answering is None and len(data) <= self.watch.limits.url:
                again = last.again(data)
                if again is not None:
                    self._read_again(again, last)
                    return
                self._last = None
            self._messages = 0
            method, space, _ = data[:48].partition(b" ")
            if method not in _KNOWN and space and _METHOD.fullmatch(method):
                self._method, data = method.decode(), _STAND_IN + data[len(method) :]
        else:
            self._taken += len(data)
        self._chunk = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._stop(error, data)
        else:
            if self._stage != BETWEEN:
                self._check_size()
            elif stage == BETWEEN and self._tries and self._messages == 1:
                self._tries -= 1
                self._last = kept_of(data, self.headers)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._messages += 1
        self._stage, self._taken = HEAD, 0
        self.since = self.begun = self.watch.now

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of it. What comes behind a body like one, is none of ours."""
        if self._stage == HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """All is known of it but its body."""
        headers, scope, parser = self.headers, self.scope, self.parser
        method = scope["method"] = self._method or parser.get_method().decode()
        self._method = ""
        version = parser.get_http_version()
        named = dict(headers)
        if named.get(b"host") not in head.HOSTS or version != "1.1" or not head.is_plain(headers, named):
            head.check(headers, version, self.watch.limits)
        raw_path, query = self._target(method)
        if version != "1.1":
            scope["http_version"] = version
        if parser.should_upgrade() and self._should_upgrade():
            if self._answering is not None:
                raise BadRequest("a WebSocket waits until what was asked before it is answered")
            return
        self._aim(raw_path, query)
        expects = b"expect" in named and named[b"expect"].lower() == b"100-continue"
        drains = b"content-length" in named and not expects and int(named[b"content-length"]) <= DRAINED
        keep_alive = version == "1.1" and parser.should_keep_alive()
        self._begin(Exchange(self, keep_alive and not self.watch.leaving, expects, drains))

    def on_message_complete(self) -> None:
        """It is all there."""
        read, self._stage = self._stage, BETWEEN
        self.since = self.watch.now
        if read == BODY and not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def handle_websocket_upgrade(self) -> None:
        """Another protocol takes over, and looks after itself."""
        self.watch.forget(self)
        super().handle_websocket_upgrade()

    def _read_again(self, again: Again, last: Head) -> None:
        """A whole request with the head of the one before, which needs no parser."""
        super().on_message_begin()
        self._tries = TRIES
        self.since = self.begun = self.watch.now
        self.url, self.headers = again.path, last.headers
        scope: Any = self.scope
        scope |= {"method": again.method, "headers": last.headers, "named": last.named}
        self._aim(again.path, again.query)
        exchange = Exchange(self, not self.watch.leaving, False, False)
        exchange.body += again.body
        exchange.more_body = False
        exchange.message_event.set()
        self._begin(exchange)
        self._stage = BETWEEN

    def _aim(self, raw_path: bytes, query: bytes) -> None:
        """Say in the scope what the request is for."""
        scope, path = self.scope, raw_path.decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode() + raw_path
        scope["query_string"] = query

    def _target(self, method: str) -> tuple[bytes, bytes]:
        """Path and query, once they are known to be neither too long nor in a head that is."""
        limits, url = self.watch.limits, self.url
        if self._chunk > limits.url or self._taken > limits.url:
            head.check_size(url, self.headers, limits)
        if url[:1] != b"/" or b"#" in url or method == "CONNECT":
            return head.target(method, url, self.headers)
        path, _, query = url.partition(b"?")
        return path, query

    def _begin(self, exchange: Exchange) -> None:
        """Have it answered, after those that came before it."""
        if len(self.pipeline) >= self.watch.limits.pipelined:
            raise Enough
        app: Any = everything if self.scope["path"] == "*" else self.app
        self.cycle = exchange
        self._stage, self.since = BODY, self.watch.now
        if self._answering is None:
            self._start_asgi_task(exchange, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, app))

    def _check_size(self) -> None:
        """What has come of a request may not be too much, though its end be not in sight."""
        limits = self.watch.limits
        if self._stage == HEAD and self._taken > limits.head:
            long = not self.headers and len(self.url) > limits.url
            self._refuse(head.url_too_long(limits) if long else head.head_too_large(limits))
        elif self._stage == BODY and self._taken > limits.body:
            self._refuse(problems.PayloadTooLarge(f"a body may have {limits.body} bytes on the wire"))

    def _upgrade(self, rest: bytes) -> None:
        """A WebSocket, or what we do not speak: that is answered as HTTP/1.1, and so is what comes behind it."""
        if self._should_upgrade():
            self.handle_websocket_upgrade()
            return
        self.parser = httptools.HttpRequestParser(self)
        if rest:
            self.data_received(rest)

    def _stop(self, error: Exception, data: bytes) -> None:
        """Read no further."""
        if isinstance(error.__context__, Enough):
            self.pipeline[0][0].keep_alive, self._stage = False, DEAF
        else:
            self._refuse(head.unreadable(error, data))
