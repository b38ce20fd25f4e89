"""Who acts as the administrator in development without a credential: programs on this machine, for its user.

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
_OTHERS = "in development pages of other sites are not served without a credential, listed or not"
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
_SITES = (b"none", b"same-origin")


class LocalAccess:
    """Lets a request without a credential pass if a program of this machine's user has sent it for that user.

    `check_peer` looks at the program; it raises `Forbidden`, too.
    """

    def __init__(self, check_peer: Check | None = None) -> None:
        self._check_peer = check_peer or PeerCheck()

    async def __call__(self, scope: Scope) -> None:
        """Look at a request.

        Raises:
            Forbidden: it comes from elsewhere, or from another site's page, or was or may have been passed on.
        """
        _check_head(scope)
        await self._check_peer(scope)


def _check_head(scope: Scope) -> None:
    """What the addresses and the headers say; all values of a header have to be good."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    host = hosts[0] if len(hosts) == 1 else ""
    if not _is_loopback((scope.get("client") or ("", 0))[0]) or _name(host) not in _LOOPBACK_NAMES:
        raise Forbidden("in development only this machine is served without a credential")
    if any(name.replace(b"_", b"-").startswith(_FORWARDING) for name, _ in headers):
        raise Forbidden("in development nothing that was forwarded is served without a credential")
    own = f"{scope['scheme']}://{host}".encode("latin-1")
    if any(value != own for name, value in headers if name == b"origin"):
        raise Forbidden(_OTHERS)
    if any(value not in _SITES for name, value in headers if name == b"sec-fetch-site"):
        raise Forbidden(_OTHERS)


@lru_cache(maxsize=1024)
def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    found = re.fullmatch(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::\d+)?", host.lower(), re.ASCII)
    return "" if found is None else found["address"] or found["name"]
