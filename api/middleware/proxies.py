"""Who is at the other end, past the proxies that are trusted: the address and the scheme that the client used.

Each proxy adds the address that it was called from to the right of `X-Forwarded-For`; what stands further left may be
the client's own invention. So it is read from the right, and only as far as those who wrote it are trusted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache

from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Either the networks of the proxies, or how many there are between any client and this server.
Trusted = Sequence[Network] | int
_REMEMBERED = 4096
_LONGEST_CHAIN = 20
_LONGEST_KEPT = 500


def proxy_headers(trusted: Trusted) -> Callable[[Scope], None] | None:
    """The function that puts a request's client and scheme right; none where no proxy is trusted."""
    if not trusted:
        return None

    @lru_cache(_REMEMBERED)
    def found(peer: str, forwarded: bytes) -> str | None:
        chain = [_address(part) for part in forwarded.decode("latin-1").split(",")[-_LONGEST_CHAIN:]]
        client = _counted(chain, trusted) if isinstance(trusted, int) else _walked(_address(peer), chain, trusted)
        return None if client is None else str(client)

    def unveil(scope: Scope) -> None:
        peer, port = scope.get("client") or ("", 0)
        headers = scope["headers"]
        chain = b",".join([value for name, value in headers if name == b"x-forwarded-for"])
        client = (found if len(chain) <= _LONGEST_KEPT else found.__wrapped__)(peer, chain)
        if client is None:
            return
        scope["client"] = (client, port if client == peer else 0)
        protocols = b",".join([value for name, value in headers if name == b"x-forwarded-proto"])
        scheme = protocols.rpartition(b",")[2].strip().lower()
        if scheme in (b"http", b"https"):
            secure = scheme == b"https"
            scope["scheme"] = ("wss" if secure else "ws") if scope["type"] == "websocket" else scheme.decode()

    return unveil


def _counted(chain: Sequence[Address | None], hops: int) -> Address | None:
    """The address that the outermost of so many proxies was called from; none where there were fewer."""
    return chain[-hops] if len(chain) >= hops else None


def _walked(peer: Address | None, chain: Sequence[Address | None], trusted: Sequence[Network]) -> Address | None:
    """The rightmost address that is no trusted proxy's, or the furthest that is; none where the peer is not trusted."""
    if peer is None or not _among(peer, trusted):
        return None
    client = peer
    for address in reversed(chain):
        if address is None:
            break
        client = address
        if not _among(address, trusted):
            break
    return client


def _among(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    """The address in one part of the header, which may have a port; IPv4 in IPv6's clothes is IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
