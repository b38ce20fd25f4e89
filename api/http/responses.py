"""A complete response, as endpoints and problem details build it."""

from __future__ import annotations

from typing import NamedTuple


class HTTPResponse(NamedTuple):
    """Status, body and headers; header names are in lower case."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
