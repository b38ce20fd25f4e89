"""On whose behalf a request runs: its credential, if that is known to be good, else the address it came from.

Places and readers are shared among owners before anybody is authenticated, so this costs no look at the database.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from starlette.types import Scope

ADDRESS = "address:"
Identify = Callable[[Scope], Hashable]


def client_identifier(authenticate: Any) -> Identify:
    """The function that names a request's owner.

    Where `authenticate` has a function `name_of`, that names a request's credential if it was good when last looked
    at. The header itself is no name: one key may be written in many ways, and one person may have many tokens.
    """
    name_of: Callable[[Scope], str | None] | None = getattr(authenticate, "name_of", None)

    def owner(scope: Scope) -> Hashable:
        name = name_of(scope) if name_of is not None else None
        return client_address(scope) if name is None else name

    return owner


def credential_name(scope: Scope) -> str | None:
    """The name of the credential that was found good in a request."""
    credential = scope.get("credential")
    return None if credential is None else str(credential.name)


def client_address(scope: Scope) -> str:
    """What a request's address is counted by: an IPv4 address, or the network (/64) of an IPv6 one."""
    return _address_key((scope.get("client") or ("", 0))[0])


@lru_cache(4096)
def _address_key(address: str) -> str:
    """An IPv6 address by its network (/64), which is what one customer gets."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return f"{ADDRESS}{address}"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return f"{ADDRESS}{ipaddress.ip_network((int(found) >> 64 << 64, 64))}"
        found = found.ipv4_mapped
    return f"{ADDRESS}{found}"
