"""Development only: local requests without a credential act as administrator.

See docs/decisions/0001-development-access.md.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache

from starlette.types import Scope

from api.auth.development.peer_process import PeerCheck
from schema.engine.errors import Forbidden

Check = Callable[[Scope], Awaitable[None]]
_FORWARDING = (
    b"forwarded", b"x-forwarded", b"x-original-", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-envoy-",
    b"x-proxy", b"true-client-ip", b"cf-", b"ngrok-", b"tailscale-", b"proxy-", b"via", b"client-ip", b"x-forward-for",
    b"x-azure-", b"x-amzn-", b"x-arr-", b"x-appengine-", b"x-vercel-", b"x-remote-", b"fastly-", b"fly-",
    b"do-connecting-ip",
)  # fmt: skip
_OTHER_SITE = "in development requests from pages of other sites need a credential, also from TANDEM_CORS_ORIGINS"
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
_SITES = (b"none", b"same-origin")


class LocalAccess:
    """Accepts a request without a credential if a program of the server's own user has sent it.

    `check_peer` checks the program, and raises `Forbidden` as well.
    """

    def __init__(self, check_peer: Check | None = None) -> None:
        self._check_peer = check_peer or PeerCheck()

    async def __call__(self, scope: Scope) -> None:
        """Check a request.

        Raises:
            Forbidden: it is not local, comes from another site's page, or may have been forwarded.
        """
        _check_head(scope)
        await self._check_peer(scope)


def _check_head(scope: Scope) -> None:
    """Check addresses and headers; every value of a repeated header has to pass."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    host = hosts[0] if len(hosts) == 1 else ""
    if not _is_loopback((scope.get("client") or ("", 0))[0]) or _name(host) not in _LOOPBACK_NAMES:
        raise Forbidden("in development requests from other machines need a credential")
    if any(name.replace(b"_", b"-").startswith(_FORWARDING) for name, _ in headers):
        raise Forbidden("in development forwarded requests need a credential")
    own = f"{scope['scheme']}://{host}".encode("latin-1")
    if any(value != own for name, value in headers if name == b"origin"):
        raise Forbidden(_OTHER_SITE)
    if any(value not in _SITES for name, value in headers if name == b"sec-fetch-site"):
        raise Forbidden(_OTHER_SITE)


@lru_cache(maxsize=1024)
def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    match = re.fullmatch(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d+)?", host.lower(), re.ASCII)
    return "" if match is None else match["address"] or match["name"]
