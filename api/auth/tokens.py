"""JSON Web Tokens: what one proves about its bearer, or nothing (RFC 7519, verified as RFC 8725 advises).

A token chooses neither its algorithm nor its key: its `kid` picks one of ours, and each of ours has one algorithm.
Whatever would have us fetch a key or believe one that it brings along is refused unread. Nobody is looked up here.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from typing import Any

import jwt

from api.auth.actors import TokenClaim
from api.auth.jwks import IssuerKeys
from api.settings import Settings
from schema.engine.errors import BadRequest, QueryTooComplex
from schema.engine.model.policy import ROLES
from schema.engine.model.strict_json import parse_json

LEEWAY = 10  # seconds that an issuer's clock may be ahead of ours
LONGEST, LONGEST_NAME = 4096, 255  # characters of a token, and of a subject or a key's id
LATEST = 253_402_300_799  # the end of the year 9999
ASYMMETRIC = ("RS256", "ES256", "EdDSA")
NEEDED = ("exp", "sub", "aud")
# Each would have us believe a key, or read the token in another way.
_REFUSED = {"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"}
_TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]+")


class Tokens:
    """Verifies tokens: HS256 under secrets of ours, the others under an issuer's keys."""

    def __init__(self, settings: Settings, issuer_keys: IssuerKeys | None) -> None:
        self._settings = settings
        self._issuer_keys = issuer_keys

    async def claim(self, token: str) -> TokenClaim | None:
        """What the token proves. `Timeout` if that cannot be said because the issuer's keys are not to be had."""
        parts = _read(token)
        if parts is None:
            return None
        header, payload = parts
        algorithm, kid = header.get("alg"), header.get("kid")
        if not _well_formed(header) or not _in_order(payload):
            return None
        if algorithm == "HS256":
            secrets = [secret for name, secret in self._settings.secret_keys if kid is None or name == kid]
            return self._first(token, secrets, self._settings.jwt_audience)
        if algorithm in ASYMMETRIC and self._issuer_keys:
            key = await self._issuer_keys.find(kid, algorithm)
            return None if key is None else self._by_issuer(token, key, algorithm)
        return None

    def _first(self, token: str, secrets: list[bytes], audience: str) -> TokenClaim | None:
        """What one of our secrets proves; there are as many as the settings name."""
        found = (_proven(token, secret, "HS256", audience, None) for secret in secrets)
        return next((self._read_claims(claims) for claims in found if claims is not None), None)

    def _by_issuer(self, token: str, key: Any, algorithm: str) -> TokenClaim | None:
        settings = self._settings
        assert settings.oidc_issuer, "an issuer's keys without an issuer"
        assert settings.oidc_audience, "an issuer's keys without an audience"
        claims = _proven(token, key, algorithm, settings.oidc_audience, settings.oidc_issuer)
        return None if claims is None else self._read_claims(claims)

    def _read_claims(self, claims: dict[str, Any]) -> TokenClaim:
        return TokenClaim(claims["sub"], _roles(claims, self._settings.jwt_roles_claim), float(claims["exp"]))


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A token's header and payload, neither of which proves anything yet; nothing where they cannot be read."""
    if len(token) > LONGEST or not _TOKEN.fullmatch(token):
        return None
    try:
        header, payload, _ = (_decoded(part) for part in token.split("."))
        found = parse_json(header), parse_json(payload)
    except (BadRequest, QueryTooComplex, binascii.Error, ValueError):
        return None
    return found if all(isinstance(part, dict) for part in found) else None


def _decoded(part: str) -> bytes:
    """The bytes of a segment. Of the spellings that decode to them, only one is good."""
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise ValueError
    return data


def _well_formed(header: dict[str, Any]) -> bool:
    """Whether the header says what one may say."""
    kid, kind = header.get("kid"), header.get("typ", "JWT")
    named = "kid" not in header or (isinstance(kid, str) and 0 < len(kid) <= LONGEST_NAME)
    return named and isinstance(kind, str) and kind.lower() in _TYPES and _REFUSED.isdisjoint(header)


def _in_order(payload: dict[str, Any]) -> bool:
    """Whether the claims that we go by are there, and of their types."""
    subject, audience = payload.get("sub"), payload.get("aud")
    times = [payload[name] for name in ("exp", "nbf", "iat") if name in payload]
    audiences = audience if isinstance(audience, list) else [audience]
    return (
        all(name in payload for name in NEEDED)
        and isinstance(subject, str)
        and len(subject) <= LONGEST_NAME
        and _PLAIN.fullmatch(subject) is not None
        and all(isinstance(one, str) for one in audiences)
        and isinstance(payload.get("iss", ""), str)
        and all(type(moment) in (int, float) and 0 <= moment <= LATEST for moment in times)
        and payload["exp"] > time.time()
    )


def _proven(token: str, key: Any, algorithm: str, audience: str, issuer: str | None) -> dict[str, Any] | None:
    """The claims, if the signature is this key's and they are meant for us, now."""
    needed = [*NEEDED, "iss"] if issuer else list(NEEDED)
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": needed},
        )
    except jwt.PyJWTError:
        return None


def _roles(claims: dict[str, Any], name: str) -> frozenset[str]:
    """Those of our roles that a claim names: a list, or words with spaces between. A dot leads into an object."""
    found: Any = claims.get(name)
    if found is None and "." in name:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    words = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(word for word in words if isinstance(word, str)) & frozenset(ROLES)
