"""Verifies JSON Web Tokens (RFC 7519, as RFC 8725 recommends).

A token chooses neither algorithm nor key: its `kid` selects a configured key, and each key has one algorithm. Headers
that carry or refer to a key are refused. The user is looked up in `actors.py`.
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

LEEWAY = 10  # seconds that an issuer's clock may be ahead
MAX_LENGTH, MAX_NAME_LENGTH = 4096, 255  # characters of a token, and of a `sub` or a `kid`
MAX_TIME = 253_402_300_799  # the end of the year 9999
ASYMMETRIC = ("RS256", "ES256", "EdDSA")
REQUIRED = ("exp", "sub", "aud")
# Headers that carry a key, refer to one, or change how the token is read.
_REFUSED_HEADERS = {"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"}
_TYPES = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]+")


class TokenVerifier:
    """Verifies HS256 tokens with the configured secrets, others with the issuer's keys."""

    def __init__(self, settings: Settings, issuer_keys: IssuerKeys | None) -> None:
        self._settings = settings
        self._issuer_keys = issuer_keys

    async def verify(self, token: str) -> TokenClaim | None:
        """Return the claims of a valid token, else None.

        Raises:
            Timeout: the issuer's keys cannot be fetched.
        """
        parts = _parse(token)
        if parts is None:
            return None
        header, payload = parts
        algorithm, kid = header.get("alg"), header.get("kid")
        if not _has_valid_header(header) or not _has_valid_claims(payload):
            return None
        settings = self._settings
        if algorithm == "HS256":
            secrets = [secret for name, secret in settings.secret_keys if kid is None or name == kid]
            results = (_verify(token, secret, algorithm, settings.jwt_audience, None) for secret in secrets)
            claims = next(filter(None, results), None)
        elif algorithm in ASYMMETRIC and self._issuer_keys:
            assert settings.oidc_issuer, "the issuer's keys are read only if it is set"
            assert settings.oidc_audience, "required with the issuer"
            key = await self._issuer_keys.find(kid, algorithm)
            if key is None:
                return None
            claims = _verify(token, key, algorithm, settings.oidc_audience, settings.oidc_issuer)
        else:
            return None
        if claims is None:
            return None
        return TokenClaim(claims["sub"], _roles(claims, settings.jwt_roles_claim), float(claims["exp"]))


def _parse(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the header and the payload of a token, unverified; None if it is malformed."""
    if len(token) > MAX_LENGTH or not _TOKEN.fullmatch(token):
        return None
    try:
        header, payload, _ = (_decode_segment(part) for part in token.split("."))
        parts = parse_json(header), parse_json(payload)
    except (BadRequest, QueryTooComplex, binascii.Error, ValueError):
        return None
    return parts if all(isinstance(part, dict) for part in parts) else None


def _decode_segment(part: str) -> bytes:
    """Decode base64url, in its canonical form alone."""
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise ValueError
    return data


def _has_valid_header(header: dict[str, Any]) -> bool:
    kid, type = header.get("kid"), header.get("typ", "JWT")
    has_valid_kid = "kid" not in header or (isinstance(kid, str) and 0 < len(kid) <= MAX_NAME_LENGTH)
    return has_valid_kid and isinstance(type, str) and type.lower() in _TYPES and _REFUSED_HEADERS.isdisjoint(header)


def _has_valid_claims(payload: dict[str, Any]) -> bool:
    """Whether the required claims are present, of the right types, and not expired."""
    subject, audience = payload.get("sub"), payload.get("aud")
    times = [payload[name] for name in ("exp", "nbf", "iat") if name in payload]
    audiences = audience if isinstance(audience, list) else [audience]
    return (
        all(name in payload for name in REQUIRED)
        and isinstance(subject, str)
        and len(subject) <= MAX_NAME_LENGTH
        and _PLAIN.fullmatch(subject) is not None
        and all(isinstance(audience, str) for audience in audiences)
        and isinstance(payload.get("iss", ""), str)
        and all(type(value) in (int, float) and 0 <= value <= MAX_TIME for value in times)
        and payload["exp"] > time.time()
    )


def _verify(token: str, key: Any, algorithm: str, audience: str, issuer: str | None) -> dict[str, Any] | None:
    """Return the claims if signature, audience, issuer and times are valid."""
    required = [*REQUIRED, "iss"] if issuer else list(REQUIRED)
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": required},
        )
    except jwt.PyJWTError:
        return None


def _roles(claims: dict[str, Any], name: str) -> frozenset[str]:
    """Read the known roles in a claim: a list, or words separated by spaces. A dot in the name leads into an object."""
    value: Any = claims.get(name)
    if value is None and "." in name:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(word for word in words if isinstance(word, str)) & frozenset(ROLES)
