"""Content that is the same for every client: sent gzipped where accepted, and with 304 to clients that have it."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


@dataclass(frozen=True, slots=True)
class StaticContent:
    """Bytes, their gzipped form, and their digest in hexadecimal."""

    body: bytes
    gzipped: bytes
    digest: str

    @classmethod
    def of(cls, body: bytes) -> StaticContent:
        """Compress and digest the content."""
        return cls(body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:16])

    def response(self, request_headers: Headers, media_type: str, headers: Mapping[str, str]) -> Response:
        """Answer a request for the content (RFC 9110: Accept-Encoding, If-None-Match)."""
        gzipped = bool(_GZIP.search(request_headers.get("accept-encoding", "")))
        etag = f'"{self.digest}-gzip"' if gzipped else f'"{self.digest}"'
        headers = {**headers, "ETag": etag, "Vary": "Accept-Encoding"}
        if re.search(rf"^\*$|{etag}", request_headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        if gzipped:
            return Response(self.gzipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=media_type)
        return Response(self.body, headers=headers, media_type=media_type)
