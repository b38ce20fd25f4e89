"""The names that this server answers to. A request for another name is refused, whatever it asks for.

A browser that was led here under a foreign name (DNS rebinding) takes our answers for those of that name's own server.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

from starlette.types import Scope

from api.http.paths import HEALTH_PATHS
from schema.engine.errors import BadRequest

_REMEMBERED = 1000
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._~%!$&'()*+,;=-]{1,255}?)\.?)(?::(?P<port>\d{0,5}))?",
    re.ASCII,
)
_HIGHEST_PORT = 65535


def host_check(allowed: Iterable[str]) -> Callable[[Scope], None]:
    """The function that looks at the header Host of a request, which the scope has by name as `named`.

    It raises `BadRequest` for what names no host (RFC 9110, 7.2), and for a name that is not allowed; `*` allows any.
    """
    names = frozenset(allowed)
    exact = frozenset(name.strip("[]") for name in names if not name.startswith("*"))
    suffixes = tuple(name[1:] for name in names if name.startswith("*."))
    every = "*" in names
    known: set[str] = set()

    def check(scope: Scope) -> None:
        host = scope["headers_by_name"].get("host")
        if host in known or (host is None and every):
            return
        name = _name(host) if host is not None else ""
        if every or name in exact or name.endswith(suffixes):
            if len(known) < _REMEMBERED and host is not None:
                known.add(host)
        elif scope["path"] not in HEALTH_PATHS:  # a platform's checks come by address, under any name
            raise BadRequest("this server does not answer to the name in the header Host")

    return check


def _name(host: str) -> str:
    """The name in a Host header, without its port and the dot of the root."""
    found = _HOST.fullmatch(host.lower())
    if found is None or (found["address"] and not _is_address(found["address"])):
        raise BadRequest("the header Host is not the name or the address of a host")
    if int(found["port"] or 0) > _HIGHEST_PORT:
        raise BadRequest(f"the port in the header Host is above {_HIGHEST_PORT}")
    return found["address"] or found["name"]


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
