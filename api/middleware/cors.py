"""CORS: which origins may call this server from a browser (the CORS protocol of the Fetch standard).

Only listed origins, and never with cookies, of which there are none. Other origins get the same responses without the
headers, so browsers do not show them to the page. `docs/decisions/0010-cors-and-hosts.md` says why this is not
Starlette's middleware.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

Headers = tuple[tuple[bytes, bytes], ...]
PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Accept, Accept-Language, Authorization, Content-Language, Content-Type, Idempotency-Key, If-Match, "
        b"If-None-Match, Last-Event-ID, traceparent, tracestate",
    ),
    (b"access-control-max-age", b"7200"),  # the longest that any browser caches it
    (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    (b"cache-control", b"no-store"),
)
EXPOSE = (
    b"access-control-expose-headers",
    b"Accept-Patch, Accept-Post, Allow, ETag, Idempotent-Replayed, Link, Location, RateLimit, RateLimit-Policy, "
    b"Retry-After, Server-Timing, WWW-Authenticate, X-Request-ID",
)
VARY = (b"vary", b"Origin")


class Cors:
    """The allowed origins, and the headers for them."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def add_headers(self, scope: Scope) -> None:
        """Add to `response_headers` what every response to this request must have, whatever its status."""
        origin = self._allowed_origin(scope)
        allow = ((b"access-control-allow-origin", origin), EXPOSE) if origin else ()
        scope["response_headers"] = (*scope.get("response_headers", ()), VARY, *allow)

    def preflight(self, scope: Scope) -> Headers | None:
        """The headers of the response to a preflight request; None for any other request or origin."""
        if scope["method"] != "OPTIONS" or not self._allowed_origin(scope):
            return None
        is_preflight = any(name == b"access-control-request-method" for name, _ in scope["headers"])
        return PREFLIGHT if is_preflight else None

    def _allowed_origin(self, scope: Scope) -> bytes | None:
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        return origins[0] if len(origins) == 1 and origins[0].lower() in self._origins else None
