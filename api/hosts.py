"""The names that this server answers to. A request for another name is refused, whatever it asks for.

A browser that was led here under a foreign name (DNS rebinding) takes our answers for those of that name's own server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from starlette.types import Scope

from api.paths import HEALTH_PATHS
from schema.engine.errors import BadRequest

_REMEMBERED = 1000
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:\[\]/@\s]+?)\.?)(?::\d{1,5})?", re.ASCII)


def host_check(allowed: Iterable[str]) -> Callable[[Scope], None] | None:
    """The function that raises `BadRequest` for a foreign name; none where any name will do."""
    names = frozenset(allowed)
    if "*" in names:
        return None
    exact = frozenset(name.strip("[]") for name in names if not name.startswith("*."))
    suffixes = tuple(name[1:] for name in names if name.startswith("*."))
    known: set[bytes] = set()

    def check(scope: Scope) -> None:
        sent = [value for name, value in scope["headers"] if name == b"host"]
        if len(sent) == 1 and sent[0] in known:
            return
        name = _name(sent[0]) if len(sent) == 1 else ""
        if name in exact or (name and name.endswith(suffixes)):
            if len(known) < _REMEMBERED:
                known.add(sent[0])
        elif scope["path"] not in HEALTH_PATHS:  # a platform's checks come by address, under any name
            raise BadRequest("this server does not answer to the name in the header Host")

    return check


def _name(host: bytes) -> str:
    """The name in a Host header, without its port and the dot of the root; empty where it is none."""
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    return "" if found is None else found["address"] or found["name"]
