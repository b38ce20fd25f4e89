"""From a request to the actor behind it. Nothing further in ever sees a credential.

`Authorization: Bearer` carries an API key or a JSON Web Token. In production nobody is let in without; in development a
request that comes from this very machine, and that no page of another site can have sent, acts as the administrator.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from starlette.types import Scope

from api.keyring import Claim, Keyring
from api.settings import Settings
from api.standing import Credential as Credential
from api.standing import KeyClaim, is_there_a_key
from schema.engine.database import Directory
from schema.engine.errors import DirectoryError, Forbidden, InvalidCredential, Unauthenticated
from schema.engine.policy import Actor

if TYPE_CHECKING:
    from api.tokens import Tokens

ADMINISTRATOR = Actor(roles=frozenset({"admin"}), name="developer")
FIRST_KEY = "python -m api keys create --role admin --name first"
LONGEST = len("Bearer ") + 4096
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]+=*)")
_KEY = re.compile(r"tdm_([0-9a-f]{32})_([A-Za-z0-9_-]{20,100})")
_FORWARDING = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"via")
_OTHERS = "in development pages of other sites are not served without a credential, listed or not"
_LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}
log = logging.getLogger("tandem.auth")


class Authenticator:
    """Says who asks, or raises `Unauthenticated` or `Forbidden`; `Unavailable` where that cannot be found out.

    A credential that is good is left in the scope as `credential`.
    """

    def __init__(self, settings: Settings) -> None:
        self._development = settings.development
        self._tokens = _tokens(settings)
        self._keyring = Keyring(self._claim, settings.jwt_subject)

    async def __call__(self, scope: Scope) -> Actor:
        """The actor behind a request."""
        shown = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if shown is not None:
                    raise InvalidCredential("there are two credentials")
                shown = value
        if shown is None:
            return self._without(scope)
        standing = self._keyring.at_hand(shown)
        if standing is None:
            standing = await self._keyring.examined(shown, scope["app"].state.directory)
        scope["credential"] = standing.credential
        return standing.actor

    def knows(self, scope: Scope) -> bool:
        """Whether the credential of a request is one that was good the last time: seen without any work."""
        return any(name == b"authorization" and self._keyring.knows(value) for name, value in scope["headers"])

    async def attend(self, directory: Directory) -> None:
        """Learn of what happens to keys and people; and say how to make the first key, where there is none."""
        directory.feed.listeners.append(self._keyring.forget)
        if self._development:
            return
        try:
            if not await is_there_a_key(directory):
                log.warning("There is no API key yet. This makes the first one: %s", FIRST_KEY)
        except DirectoryError as error:
            log.warning("Whether there is an API key cannot be said: %s", error.detail)

    def _without(self, scope: Scope) -> Actor:
        if not self._development:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        _check_local(scope)
        return ADMINISTRATOR

    async def _claim(self, value: bytes) -> Claim | None:
        """What a header's value claims and proves."""
        found = _BEARER.fullmatch(value) if len(value) <= LONGEST else None
        if found is None:
            return None
        text = found[1].decode()
        if not text.startswith("tdm_"):
            return await self._tokens.claim(text) if self._tokens else None
        key = _KEY.fullmatch(text)
        return KeyClaim(_dashed(key[1]), sha256(key[2].encode()).hexdigest()) if key else None


def _tokens(settings: Settings) -> Tokens | None:
    """What verifies tokens, where any are taken. Elsewhere the libraries for it would take 9 MB for nothing."""
    if settings.oidc_issuer is None and not settings.secret_keys:
        return None
    from api.jwks import IssuerKeys, from_file, from_issuer
    from api.tokens import Tokens

    issuer = settings.oidc_issuer
    keys = from_file(settings.jwks_file) if settings.jwks_file else from_issuer(issuer) if issuer else None
    return Tokens(settings, IssuerKeys(keys) if keys else None)


def _dashed(id: str) -> str:
    """An id in hex as the directory spells it."""
    return "-".join((id[:8], id[8:12], id[12:16], id[16:20], id[20:]))


def _check_local(scope: Scope) -> None:
    """`Forbidden` unless the request comes from this machine, and from no other site's page."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    if not _is_loopback((scope.get("client") or ("", 0))[0]) or _name(host) not in _LOOPBACK_NAMES:
        raise Forbidden("in development only this machine is served without a credential")
    if any(name.startswith(_FORWARDING) for name in headers):
        raise Forbidden("in development nothing that was forwarded is served without a credential")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") != f"{scope['scheme']}://{host}":
        raise Forbidden(_OTHERS)
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise Forbidden(_OTHERS)


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
