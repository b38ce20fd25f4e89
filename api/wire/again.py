"""What one request on a connection has in common with the one before: as a rule, all but its first line and its body.

A client that keeps its connection sends the same headers again and again. Where a request's head is, byte for byte,
what the parser has read a moment ago, its meaning is known. All else is the parser's business, now as ever.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from api.rest.reading import headers_of
from api.wire.head import Headers

# Longer heads are not kept, for the memory that many connections would take.
LONGEST = 4096
# A first line that means what it says: a path of ASCII without a fragment.
_LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1")
# What changes how a request is to be read, or what comes after it.
_TURNS = {b"upgrade", b"expect", b"transfer-encoding"}


class Again(NamedTuple):
    """A request whose headers are those of the one before."""

    method: str
    path: bytes
    query: bytes
    body: bytes


class Head(NamedTuple):
    """The head of a request that has been read, without its first line: its bytes, and what they mean."""

    text: bytes
    headers: Headers
    named: dict[str, str]
    length: int

    def again(self, data: bytes) -> Again | None:
        """What `data` asks for, if it is one whole request with this head."""
        line, _, rest = data.partition(b"\r\n")
        text, body = self.text, b""
        if rest != text:
            if not self.length or len(rest) != len(text) + self.length or not rest.startswith(text):
                return None
            body = rest[len(text) :]
        elif self.length:
            return None
        found = _LINE.fullmatch(line)
        return Again(found[1].decode(), found[2], found[3] or b"", body) if found else None


def kept_of(data: bytes, headers: Headers) -> Head | None:
    """The head of what was read from `data` as one whole request; none where each is to be read for itself."""
    line, _, rest = data.partition(b"\r\n")
    text, end, body = rest.partition(b"\r\n\r\n")
    named = dict(headers)
    length = int(named.get(b"content-length", b"0"))
    if len(text) > LONGEST or not end or len(body) != length or not _LINE.fullmatch(line):
        return None
    if len(named) < len(headers) or not _TURNS.isdisjoint(named):
        return None
    if named.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return Head(text + end, headers, headers_of({"headers": headers}), length)
