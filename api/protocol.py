"""HTTP/1.1 as uvicorn reads it, but that what its parser cannot read is refused in our words, too.

The parser knows some methods and no others, and no URL longer than 64 KiB. Both are well-formed HTTP, so they go on to
the service, which says 405 and 414. What is no HTTP at all is told so in a problem document.
"""

from __future__ import annotations

import asyncio
import re

from api.rest import problems
from schema.engine.errors import BadRequest

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # where there is no httptools, uvicorn reads by h11, which is stricter and slower
    HttpToolsProtocol = None  # type: ignore[assignment, misc]

# Longer than the service takes, and as long as the parser can part into path and query.
LONGEST_URL = 60_000
_SERVED = {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"}
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
# One that the parser knows and nobody here serves: it stands in for those that it does not know.
_STAND_IN = b"UNLINK"


def protocol() -> type[asyncio.Protocol] | str:
    """What uvicorn is to read by."""
    return "auto" if HttpToolsProtocol is None else Protocol


if HttpToolsProtocol is not None:

    class Protocol(HttpToolsProtocol):
        """One connection."""

        _between = True
        _method = ""

        def data_received(self, data: bytes) -> None:
            """Hand the parser what has come, the method of a new request one that it knows."""
            method, space, _ = data[:48].partition(b" ") if self._between else (b"", b"", b"")
            if space and method not in _SERVED and _METHOD.fullmatch(method):
                self._method, data = method.decode(), _STAND_IN + data[len(method) :]
            super().data_received(data)

        def on_message_begin(self) -> None:
            """A request begins."""
            self._between = False
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """All is known of it but its body."""
            self.url = self.url[:LONGEST_URL]
            super().on_headers_complete()
            if self._method:
                self.scope["method"], self._method = self._method, ""

        def on_message_complete(self) -> None:
            """It is all there."""
            self._between = True
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            """Say that this is no HTTP, and close."""
            answer = problems.answer(BadRequest("this is not HTTP/1.1 that can be read"), "/", "")
            lines = [b"HTTP/1.1 400 Bad Request", *(b": ".join(header) for header in answer.headers)]
            length = b"content-length: %d" % len(answer.body)
            closing = [b"cache-control: no-store", b"connection: close", length, b"", answer.body]
            self.transport.write(b"\r\n".join([*lines, *closing]))
            self.transport.close()
