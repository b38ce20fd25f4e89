"""Repeated headers: a request may repeat only headers whose value is a list (RFC 9110, 5.3).

A proxy may use the first value of another header and this server the last, so such a request is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

from schema.engine.errors import BadRequest

# By the specification that gives each a single value. Not here, because they are lists and may be repeated: Accept*,
# Expect, If-Match, If-None-Match, Via, Forwarded, X-Forwarded-*, Prefer, Connection, Cache-Control, TE, Upgrade,
# Content-Encoding, Transfer-Encoding, Sec-WebSocket-Protocol, Sec-WebSocket-Extensions, tracestate,
# Access-Control-Request-Headers. Nor traceparent: two of them count as none (W3C Trace Context).
SINGLE = frozenset((
    # RFC 9110
    b"authorization", b"content-length", b"content-location", b"content-range", b"content-type", b"date", b"from",
    b"host", b"if-modified-since", b"if-range", b"if-unmodified-since", b"max-forwards", b"proxy-authorization",
    b"range", b"referer", b"user-agent",
    # RFC 6265: all cookies of a request are in one header; RFC 6266
    b"cookie", b"content-disposition",
    # RFC 6454; the Fetch standard; Fetch Metadata
    b"origin", b"access-control-request-method", b"access-control-request-private-network",
    b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-storage-access", b"sec-fetch-user",
    # RFC 6455; the HTML standard; draft-ietf-httpapi-idempotency-key-header; RFC 7540 and RFC 8470
    b"sec-websocket-key", b"sec-websocket-version", b"last-event-id", b"idempotency-key", b"http2-settings",
    b"early-data",
))  # fmt: skip


def check_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check the headers of a request; their names are in lower case.

    Raises:
        BadRequest: a single-valued header is repeated.
    """
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in SINGLE and name in seen:
            raise BadRequest(f"{name.decode('latin-1').title()}: this header must not be sent more than once")
        seen.add(name)
