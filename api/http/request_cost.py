"""The cost of a request or a WebSocket message, in points of the rate limit; docs/limits.md has the table.

One point covers 16 KiB: a larger body or message costs one more for each further 16 KiB begun. A mutation costs 5.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

POINT_BYTES: Final = 16 * 1024
MUTATION: Final = 5
_READ_METHODS = {"GET", "HEAD", "OPTIONS"}


def cost_of_rest_request(scope: Scope) -> int:
    """The cost before the body is read."""
    return 1 if scope["method"] in _READ_METHODS else MUTATION


def cost_of_graphql_request(scope: Scope) -> int:
    """The cost before the document is read; its mutations are charged with the scope's `charge_mutations`."""
    return 1


def cost_of_size(size: int) -> int:
    """The cost of so many bytes: one for each 16 KiB begun, at least one."""
    return max(1, -(-size // POINT_BYTES))


async def charge_size(scope: Scope, size: int) -> None:
    """Charge for a body before it is parsed; its first 16 KiB are included in the request's own cost.

    Raises:
        TooManyRequests: too few points are left.
    """
    if size > POINT_BYTES and (charge := scope.get("charge")):
        await charge(cost_of_size(size) - 1)


def text_size(text: str) -> int:
    """The bytes of a text message in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
