"""Reads a request body with the parser (RFC 9112, 6 and 7) and checks that both agree on where it ends."""

from __future__ import annotations

import re

import httptools

from api.http import problem_details
from schema.engine.errors import BadRequest

AMBIGUOUS_END = "the end of the request is ambiguous"
# A chunked body ends with an empty line after the line of its last chunk or of a trailer field, which are not empty.
# The pattern looks for the literal first and behind it second: 256 KiB take 0.1 ms this way, 3 ms the other.
_POSSIBLE_END = re.compile(rb"\r\n\r\n(?<!\n\r\n\r\n)")
_MAX_END_LENGTH = 4


class BodyReader:
    """Gives the parser exactly the bytes of one body after another.

    `complete` is set by the parser's callback when it has seen the end of a request.
    """

    __slots__ = ("_remaining", "_size", "_tail", "complete")

    def __init__(self) -> None:
        self.complete = False
        # Bytes still to come; None if the body is chunked, and then `_tail` holds the last bytes read.
        self._remaining: int | None = 0
        self._tail = b""
        self._size = 0

    def start(self, length: int | None) -> None:
        """Expect a body of so many bytes, or a chunked one if `length` is None."""
        self._remaining, self._tail, self._size = length, b"", 0

    def read(self, parser: httptools.HttpRequestParser, data: bytes, limit: int) -> int:
        """Parse what belongs to the body; return how many bytes that is.

        Raises:
            BadRequest: the parser sees the end elsewhere than `Content-Length` or the chunks say.
            PayloadTooLarge: the body exceeds `limit`.
            HttpParserError: the parser rejects it.
        """
        remaining = self._remaining
        size = self._read_chunks(parser, data) if remaining is None else self._read_length(parser, data, remaining)
        self._size += size
        if self._size > limit:
            raise problem_details.PayloadTooLarge(f"the body must have at most {limit} bytes, its framing included")
        return size

    def _read_length(self, parser: httptools.HttpRequestParser, data: bytes, remaining: int) -> int:
        part = data if len(data) <= remaining else data[:remaining]
        self._remaining = remaining = remaining - len(part)
        parser.feed_data(part)
        if self.complete is not (remaining == 0):
            raise BadRequest(AMBIGUOUS_END)
        return len(part)

    def _read_chunks(self, parser: httptools.HttpRequestParser, data: bytes) -> int:
        """Stop at each byte where the body could end, so that the parser never gets bytes of the next request."""
        joined, before = self._tail + data, len(self._tail)
        view, start = memoryview(data), 0
        for match in _POSSIBLE_END.finditer(joined, max(0, before - _MAX_END_LENGTH + 1)):
            end = match.end() - before
            parser.feed_data(view[start:end])
            if self.complete:
                return end
            start = end
        parser.feed_data(view[start:])
        self._tail = joined[-_MAX_END_LENGTH:]
        if self.complete:
            raise BadRequest(AMBIGUOUS_END)
        return len(data)
