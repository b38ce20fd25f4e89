"""Allowed host names: a request for any other `Host` is refused, against DNS rebinding.

A browser that was led here under a foreign name takes our responses for those of that name's own server.
`docs/decisions/0010-cors-and-hosts.md` says why this is not Starlette's TrustedHostMiddleware.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

from starlette.types import Scope

from api.http.paths import HEALTH_PATHS
from schema.engine.errors import BadRequest

_MAX_CACHED = 1000
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._~%!$&'()*+,;=-]{1,255}?)\.?)(?::(?P<port>\d{0,5}))?",
    re.ASCII,
)
_MAX_PORT = 65535


def host_check(allowed: Iterable[str]) -> Callable[[Scope], None]:
    """Return a function that checks a request's `Host`, which it finds in the scope's `headers_by_name`.

    `*` allows any host, `*.example.org` all names below. The function raises `BadRequest` for what names no host
    (RFC 9110, 7.2) and for a host that is not allowed, except for health checks: platforms send them to an address.
    """
    names = frozenset(allowed)
    exact = frozenset(name.strip("[]") for name in names if not name.startswith("*"))
    suffixes = tuple(name[1:] for name in names if name.startswith("*."))
    any_host = "*" in names
    valid: set[str] = set()

    def check(scope: Scope) -> None:
        host = scope["headers_by_name"].get("host")
        if host in valid or (host is None and any_host):
            return
        name = _parse_host(host) if host is not None else ""
        if any_host or name in exact or name.endswith(suffixes):
            if len(valid) < _MAX_CACHED and host is not None:
                valid.add(host)
        elif scope["path"] not in HEALTH_PATHS:
            raise BadRequest("the host in the header Host must be one of TANDEM_ALLOWED_HOSTS")

    return check


def _parse_host(host: str) -> str:
    """The name or address in a `Host` header, without its port and the dot of the root."""
    match = _HOST.fullmatch(host.lower())
    if match is None or (match["address"] and not _is_ipv6(match["address"])):
        raise BadRequest("invalid header Host: expected a host name or address, and optionally a port")
    if int(match["port"] or 0) > _MAX_PORT:
        raise BadRequest(f"invalid header Host: the port must be at most {_MAX_PORT}")
    return match["address"] or match["name"]


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
