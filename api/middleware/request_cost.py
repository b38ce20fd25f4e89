"""What a request or a WebSocket message costs, in points of a rate limit (`rates.py`); docs/limits.md has the table.

A point buys 16 KiB: a larger body or message costs one more for each further 16 KiB that it begins. A mutation is 5.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

POINT_BYTES: Final = 16 * 1024
MUTATION: Final = 5
_READING = {"GET", "HEAD", "OPTIONS"}


def cost_of_rest_request(scope: Scope) -> int:
    """The points for a REST request before its body is read."""
    return 1 if scope["method"] in _READING else MUTATION


def cost_of_graphql_request(scope: Scope) -> int:
    """The points for a GraphQL request before it is read; its mutations are charged when they are known (`spend`)."""
    return 1


def cost_of_size(size: int) -> int:
    """The points for so many bytes: one for each 16 KiB begun, and at least one."""
    return max(1, -(-size // POINT_BYTES))


async def charge_size(scope: Scope, size: int) -> None:
    """Charge a body that has been read, before it is parsed; its first 16 KiB are in the request's own price.

    Raises:
        TooManyRequests: the caller has too few points left.
    """
    if size > POINT_BYTES and (charge := scope.get("charge")):
        await charge(cost_of_size(size) - 1)


def text_size(text: str) -> int:
    """The bytes of a text message in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
