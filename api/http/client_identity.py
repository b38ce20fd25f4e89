"""The client of a request, for fair shares and rate limits: a credential known to be valid, or else the address.

This is known before authentication, without a query.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Hashable
from functools import lru_cache
from typing import Protocol

from starlette.types import Scope

from schema.engine.model.policy import Actor

ADDRESS = "address:"
Identify = Callable[[Scope], Hashable]


class Authenticate(Protocol):
    """Finds a request's actor. A method `name_of`, if there is one, names a credential without a query."""

    def __call__(self, scope: Scope, /) -> Awaitable[Actor]: ...


def client_identifier(authenticate: Authenticate) -> Identify:
    """Return a function that names a request's client.

    If `authenticate` has a method `name_of`, that names a credential that was valid when last checked. The header
    itself is no name: one key can be written in several ways, and one person can have many tokens.
    """
    name_of: Callable[[Scope], str | None] | None = getattr(authenticate, "name_of", None)

    def identify(scope: Scope) -> Hashable:
        name = name_of(scope) if name_of is not None else None
        return client_address(scope) if name is None else name

    return identify


def credential_name(scope: Scope) -> str | None:
    """The name of the credential that a request was authenticated with."""
    credential = scope.get("credential")
    return None if credential is None else str(credential.name)


def client_address(scope: Scope) -> str:
    """The key that a request's address is counted by: an IPv4 address, or the /64 network of an IPv6 address."""
    return _address_key((scope.get("client") or ("", 0))[0])


@lru_cache(4096)
def _address_key(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return f"{ADDRESS}{text}"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            # One customer of a provider gets a /64 or more.
            return f"{ADDRESS}{ipaddress.ip_network((int(address) >> 64 << 64, 64))}"
        address = address.ipv4_mapped
    return f"{ADDRESS}{address}"
