"""From a request to the actor behind it. Nothing further in ever sees a credential.

There are no credentials yet, so whatever is presented proves nothing. In production nobody is let in; in development a
request that comes from this very machine, and that no page of another site can have sent, acts as the administrator.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache

from starlette.types import Scope

from schema.engine.errors import Forbidden, InvalidCredential, Unauthenticated
from schema.engine.policy import Actor

ADMINISTRATOR = Actor(roles=frozenset({"admin"}))
_FORWARDING = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


def authenticator(*, development: bool) -> Callable[[Scope], Awaitable[Actor]]:
    """The function that says who asks, or raises `Unauthenticated` or `Forbidden`."""

    async def authenticate(scope: Scope) -> Actor:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if b"authorization" in headers:
            raise InvalidCredential("the credential is not valid")
        if not development:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        _check_local(scope, headers)
        return ADMINISTRATOR

    return authenticate


def _check_local(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """`Forbidden` unless the request comes from this machine, and from no other site's page."""
    host = headers.get(b"host", b"").decode("latin-1")
    if not _is_loopback((scope.get("client") or ("", 0))[0]) or _name(host) not in _LOOPBACK_NAMES:
        raise Forbidden("in development only this machine is served without a credential")
    if any(name.startswith(_FORWARDING) for name in headers):
        raise Forbidden("in development nothing that was forwarded is served without a credential")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") != f"{scope['scheme']}://{host}":
        raise Forbidden("in development pages of other sites are not served")
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise Forbidden("in development pages of other sites are not served")


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    found = re.fullmatch(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d+)?", host.lower(), re.ASCII)
    return "" if found is None else found["address"] or found["name"]
