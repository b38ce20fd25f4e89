"""Which pages of other sites may call this server from a browser (the CORS protocol of the Fetch standard).

Only origins that are listed, and never with cookies, of which there are none. A page of another origin is answered as
anybody is, but without the headers that would let its browser show it the answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

Headers = tuple[tuple[bytes, bytes], ...]
METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
TAKEN = (
    b"Accept, Accept-Language, Authorization, Content-Language, Content-Type, Idempotency-Key, If-Match, "
    b"If-None-Match, Last-Event-ID, traceparent, tracestate"
)
SHOWN = (
    b"Accept-Patch, Accept-Post, Allow, ETag, Idempotent-Replayed, Link, Location, RateLimit, RateLimit-Policy, "
    b"Retry-After, Server-Timing, WWW-Authenticate, X-Request-ID"
)
# As long as browsers keep a preflight's answer at most.
KEPT_SECONDS = b"7200"
VARY = (b"vary", b"Origin")


class Cors:
    """The origins that are let in, and what is said to them."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def mark(self, scope: Scope) -> None:
        """Note which headers the answer is to have, whatever it will be."""
        origin = self._let_in(scope)
        shown = ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", SHOWN)) if origin else ()
        scope["response_headers"] = (*scope.get("response_headers", ()), VARY, *shown)

    def preflight(self, scope: Scope) -> Headers | None:
        """The answer to a browser that asks beforehand; None where nobody asks, or somebody who is not let in."""
        asked = any(name == b"access-control-request-method" for name, _ in scope["headers"])
        if scope["method"] != "OPTIONS" or not asked or not self._let_in(scope):
            return None
        return (
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", TAKEN),
            (b"access-control-max-age", KEPT_SECONDS),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
            (b"cache-control", b"no-store"),
        )

    def _let_in(self, scope: Scope) -> bytes | None:
        """The origin of the page that asks, if it is listed."""
        sent = [value for name, value in scope["headers"] if name == b"origin"]
        return sent[0] if len(sent) == 1 and sent[0].lower() in self._origins else None
