"""The body of a request, framed by the parser (RFC 9112, 6 and 7) and checked against what the head says of it."""

from __future__ import annotations

import re

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from api.http import problem_details
from api.server.http import head
from api.server.http.visit import BETWEEN, BODY, DEAF, Visit
from schema.engine.errors import BadRequest, DirectoryError

NO_END = "it cannot be told where this request ends"
# A chunked body ends with an empty line behind the line of its last chunk or of a trailer field, which are not empty.
# What is looked for comes first in the pattern, so that 256 KiB take 0.1 ms and not 3 ms.
_POSSIBLE_END = re.compile(rb"\r\n\r\n(?<!\n\r\n\r\n)")
_LONGEST_END = 4


class BodyReader(Visit):
    """A connection, as far as it reads bodies."""

    # The bytes still to come, or None if the body is chunked, and then the last that have come; its size so far.
    _left: int | None = 0
    _tail = b""
    _size = 0
    # What the parser says: whether the request is complete, and whether another may follow on the connection.
    _complete = False
    _goes_on = True

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless the request has been answered."""
        exchange = self.cycle
        if not exchange.response_complete:
            exchange.body += body

    def on_message_complete(self) -> None:
        """Note that the request ends here for the parser."""
        self._complete = True
        self._goes_on = self.parser.should_keep_alive()

    def _read_body(self, data: bytes) -> bytes:
        """Read on in the body; returns what follows its end."""
        limit = self.watch.limits.body
        try:
            read = self._read_chunks(data) if self._left is None else self._read_length(data, self._left)
            self._size += read
            if self._size > limit:
                raise problem_details.PayloadTooLarge(f"a body may have {limit} bytes on the wire")
        except httptools.HttpParserError as error:
            self._refuse(head.unreadable(error))
            return b""
        except DirectoryError as error:
            self._refuse(error)
            return b""
        self._pass_on()
        if self._complete:
            self._end()
        return data[read:]

    def _read_length(self, data: bytes, left: int) -> int:
        """Give the parser what is the body's by `Content-Length`; returns how much that is."""
        part = data if len(data) <= left else data[:left]
        self._left = left = left - len(part)
        self.parser.feed_data(part)
        if self._complete is not (left == 0):
            raise BadRequest(NO_END)
        return len(part)

    def _read_chunks(self, data: bytes) -> int:
        """Give the parser a chunked body up to each place where it could end; returns how much that was."""
        joined, before = self._tail + data, len(self._tail)
        view, start = memoryview(data), 0
        for found in _POSSIBLE_END.finditer(joined, max(0, before - _LONGEST_END + 1)):
            end = found.end() - before
            self.parser.feed_data(view[start:end])
            if self._complete:
                return end
            start = end
        self.parser.feed_data(view[start:])
        self._tail = joined[-_LONGEST_END:]
        if self._complete:
            raise BadRequest(NO_END)
        return len(data)

    def _pass_on(self) -> None:
        """Have the application see what has come of the body."""
        exchange = self.cycle
        if exchange.body and not exchange.response_complete:
            if len(exchange.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            exchange.message_event.set()

    def _end(self) -> None:
        """The request is complete; if it is the last on this connection, what follows it is not read."""
        exchange = self.cycle
        self.since = self.watch.now
        if not exchange.response_complete:
            exchange.more_body = False
            exchange.message_event.set()
        if self._stage == BODY:
            self._stage = BETWEEN if exchange.keep_alive else DEAF
        # The parser also ends a connection by `Proxy-Connection` and by trailer fields, which say nothing to a server.
        if not self._goes_on and self._stage == BETWEEN:
            self._goes_on, self.parser = True, httptools.HttpRequestParser(self)
