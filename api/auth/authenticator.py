"""From a request to its actor: verifies `Authorization: Bearer` with an API key or a JSON Web Token.

In production a credential is required; in development `development/access.py` decides which requests act as
administrator without one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from starlette.types import Scope

from api.auth.actors import KeyClaim, has_any_key
from api.auth.credential_cache import Claim, CredentialCache
from api.settings import Settings
from schema.engine.errors import DirectoryError, InvalidCredential, Unauthenticated
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory

if TYPE_CHECKING:
    from api.auth.tokens import TokenVerifier

ADMINISTRATOR = Actor(roles=frozenset({"admin"}), name="developer")
FIRST_KEY = "python -m api keys create --role admin --name first"
MAX_HEADER_LENGTH = len("Bearer ") + 4096
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]+=*)")
_KEY = re.compile(r"tdm_([0-9a-f]{32})_([A-Za-z0-9_-]{20,100})")
CheckLocal = Callable[[Scope], Awaitable[None]]
log = logging.getLogger("tandem.auth")


class Authenticator:
    """Authenticates requests; a valid credential is stored in the scope as `credential`.

    `check_local` decides about requests without a credential in development, by default as `LocalAccess`.

    Raises:
        Unauthenticated: there is no valid credential.
        Forbidden: `check_local` refuses the request.
        ServiceUnavailable: the credential cannot be verified at the moment.
    """

    def __init__(self, settings: Settings, check_local: CheckLocal | None = None) -> None:
        self._development = settings.development
        self._check_local = check_local or _local_access(settings)
        self._tokens = _tokens(settings)
        self._credentials = CredentialCache(self._claim, settings.jwt_subject)

    async def __call__(self, scope: Scope) -> Actor:
        header = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if header is not None:
                    raise InvalidCredential("the request must have one credential, got two")
                header = value
        if header is None:
            return await self._authenticate_local(scope)
        authentication = self._credentials.fresh(header)
        if authentication is None:
            authentication = await self._credentials.authenticate(header, scope["app"].state.directory)
        scope["credential"] = authentication.credential
        return authentication.actor

    def name_of(self, scope: Scope) -> str | None:
        """Return the name of a request's credential if it is cached as valid."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                return self._credentials.name_of(value)
        return None

    async def start(self, directory: Directory) -> None:
        """Follow the changes of keys and users; in production log how to create the first key if there is none."""
        directory.changes.listeners.append(self._credentials.invalidate)
        if self._development:
            return
        try:
            if not await has_any_key(directory):
                log.warning("There is no API key yet. Create the first one with: %s", FIRST_KEY)
        except DirectoryError as error:
            log.warning("Cannot check whether there is an API key: %s", error.detail)

    async def _authenticate_local(self, scope: Scope) -> Actor:
        if not self._development or self._check_local is None:
            raise Unauthenticated("send a credential: Authorization: Bearer …")
        await self._check_local(scope)
        return ADMINISTRATOR

    async def _claim(self, header: bytes) -> Claim | None:
        """Read an API key, or verify a token; None if the header is neither."""
        match = _BEARER.fullmatch(header) if len(header) <= MAX_HEADER_LENGTH else None
        if match is None:
            return None
        text = match[1].decode()
        if not text.startswith("tdm_"):
            return await self._tokens.verify(text) if self._tokens else None
        key = _KEY.fullmatch(text)
        return KeyClaim(_with_hyphens(key[1]), sha256(key[2].encode()).hexdigest()) if key else None


def _local_access(settings: Settings) -> CheckLocal | None:
    if not settings.development:
        return None
    from api.auth.development.access import LocalAccess

    return LocalAccess()


def _tokens(settings: Settings) -> TokenVerifier | None:
    """Return the verifier of tokens if any are accepted; its libraries take 9 MB."""
    if settings.oidc_issuer is None and not settings.secret_keys:
        return None
    from api.auth.jwks import IssuerKeys, from_file, from_issuer
    from api.auth.tokens import TokenVerifier

    issuer = settings.oidc_issuer
    fetch = from_file(settings.jwks_file) if settings.jwks_file else from_issuer(issuer) if issuer else None
    return TokenVerifier(settings, IssuerKeys(fetch) if fetch else None)


def _with_hyphens(id: str) -> str:
    return "-".join((id[:8], id[8:12], id[12:16], id[16:20], id[20:]))
