"""Trusted proxies: the client's address and scheme, from `X-Forwarded-For` and `X-Forwarded-Proto`.

Each proxy appends the address that it was called from to `X-Forwarded-For`; the client may have written anything to the
left of that. So the header is read from the right, and only as far as those who wrote it are trusted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache

from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# The networks of the proxies, or the number of proxies between any client and this server.
Trusted = Sequence[Network] | int
_MAX_CACHED = 4096
_MAX_CHAIN = 20
_MAX_CACHED_CHAIN = 500


def proxy_headers(trusted: Trusted) -> Callable[[Scope], None] | None:
    """Return a function that sets a scope's client and scheme; None if no proxy is trusted."""
    if not trusted:
        return None

    @lru_cache(_MAX_CACHED)
    def find_client(peer: str, forwarded: bytes) -> str | None:
        chain = [_parse_address(part) for part in forwarded.decode("latin-1").split(",")[-_MAX_CHAIN:]]
        if isinstance(trusted, int):
            client = chain[-trusted] if len(chain) >= trusted else None
        else:
            client = _rightmost_untrusted(_parse_address(peer), chain, trusted)
        return None if client is None else str(client)

    def apply(scope: Scope) -> None:
        peer, port = scope.get("client") or ("", 0)
        headers = scope["headers"]
        chain = b",".join([value for name, value in headers if name == b"x-forwarded-for"])
        client = (find_client if len(chain) <= _MAX_CACHED_CHAIN else find_client.__wrapped__)(peer, chain)
        if client is None:
            return
        scope["client"] = (client, port if client == peer else 0)
        protocols = b",".join([value for name, value in headers if name == b"x-forwarded-proto"])
        scheme = protocols.rpartition(b",")[2].strip().lower()
        if scheme in (b"http", b"https"):
            secure = scheme == b"https"
            scope["scheme"] = ("wss" if secure else "ws") if scope["type"] == "websocket" else scheme.decode()

    return apply


def _rightmost_untrusted(
    peer: Address | None, chain: Sequence[Address | None], trusted: Sequence[Network]
) -> Address | None:
    """The rightmost address that is no trusted proxy, or the leftmost readable one; None if the peer is not trusted."""
    if peer is None or not _is_in(peer, trusted):
        return None
    client = peer
    for address in reversed(chain):
        if address is None:
            break
        client = address
        if not _is_in(address, trusted):
            break
    return client


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _parse_address(text: str) -> Address | None:
    """Parse one part of the header, which may have quotes and a port; an IPv4-mapped address is IPv4."""
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
