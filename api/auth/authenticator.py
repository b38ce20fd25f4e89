"""From a request to the actor behind it. Nothing further in ever sees a credential.

`Authorization: Bearer` carries an API key or a JSON Web Token. In production nobody is let in without; in development
`api/auth/development/access.py` says which requests act as the administrator.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from starlette.types import Scope

from api.auth.actors import Credential as Credential
from api.auth.actors import KeyClaim, is_there_a_key
from api.auth.credential_cache import Claim, CredentialCache
from api.settings import Settings
from schema.engine.errors import DirectoryError, InvalidCredential, Unauthenticated
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory

if TYPE_CHECKING:
    from api.auth.tokens import Tokens

ADMINISTRATOR = Actor(roles=frozenset({"admin"}), name="developer")
FIRST_KEY = "python -m api keys create --role admin --name first"
LONGEST = len("Bearer ") + 4096
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]+=*)")
_KEY = re.compile(r"tdm_([0-9a-f]{32})_([A-Za-z0-9_-]{20,100})")
CheckLocal = Callable[[Scope], Awaitable[None]]
log = logging.getLogger("tandem.auth")


class Authenticator:
    """Says who asks, or raises `Unauthenticated` or `Forbidden`; `Unavailable` where that cannot be found out.

    A credential that is good is left in the scope as `credential`. In development `check_local` decides, by raising
    `Forbidden` or not, whether a request may go without one; by default `LocalAccess` does.
    """

    def __init__(self, settings: Settings, check_local: CheckLocal | None = None) -> None:
        self._development = settings.development
        self._check_local = check_local or _local_access(settings)
        self._tokens = _tokens(settings)
        self._keyring = CredentialCache(self._claim, settings.jwt_subject)

    async def __call__(self, scope: Scope) -> Actor:
        """The actor behind a request."""
        shown = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if shown is not None:
                    raise InvalidCredential("there are two credentials")
                shown = value
        if shown is None:
            return await self._without(scope)
        standing = self._keyring.at_hand(shown)
        if standing is None:
            standing = await self._keyring.examined(shown, scope["app"].state.directory)
        scope["credential"] = standing.credential
        return standing.actor

    def name_of(self, scope: Scope) -> str | None:
        """The name of a request's credential, if that was good the last time: seen without any work."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                return self._keyring.name_of(value)
        return None

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

    async def _without(self, scope: Scope) -> Actor:
        if not self._development or self._check_local is None:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        await self._check_local(scope)
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


def _local_access(settings: Settings) -> CheckLocal | None:
    """What looks at requests without a credential; nothing outside of development, where none are taken."""
    if not settings.development:
        return None
    from api.auth.development.access import LocalAccess

    return LocalAccess()


def _tokens(settings: Settings) -> Tokens | None:
    """What verifies tokens, where any are taken. Elsewhere the libraries for it would take 9 MB for nothing."""
    if settings.oidc_issuer is None and not settings.secret_keys:
        return None
    from api.auth.jwks import IssuerKeys, from_file, from_issuer
    from api.auth.tokens import Tokens

    issuer = settings.oidc_issuer
    keys = from_file(settings.jwks_file) if settings.jwks_file else from_issuer(issuer) if issuer else None
    return Tokens(settings, IssuerKeys(keys) if keys else None)


def _dashed(id: str) -> str:
    """An id in hex as the directory spells it."""
    return "-".join((id[:8], id[8:12], id[12:16], id[16:20], id[20:]))
