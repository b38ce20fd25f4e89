"""The public keys of an OpenID issuer (JSON Web Key Set, RFC 7517): fetched in a thread, cached, and refreshed.

They come from a file, or from the `jwks_uri` of the issuer's discovery document. Each key has one algorithm, which
follows from its type; secrets, weak keys and keys for other uses are skipped. After a failed fetch the old keys stay.
docs/decisions/0013-jwks.md says why this is not PyJWT's client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import jwt
import orjson

from schema.engine.errors import Timeout

SOCKET_TIMEOUT, FETCH_TIMEOUT = 5, 10
MAX_BYTES = 512 * 1024
MAX_KEYS = 100
STALE_SECONDS = 300
PAUSE_SECONDS = 10
MIN_RSA_BITS = 2048
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger("tandem.jwks")


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and its only algorithm."""

    kid: str | None
    algorithm: str
    key: Any


class IssuerKeys:
    """The keys of one issuer. `fetch` returns its JSON Web Key Set; it runs in a thread."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch
        self._keys: tuple[VerifyingKey, ...] = ()
        self._attempted = self._fetched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Any | None:
        """Return the matching key, or None.

        Raises:
            Timeout: no keys could be fetched yet.
        """
        key = self._cached(kid, algorithm)
        if key is None:
            await self._refetch()
            key = self._cached(kid, algorithm)
        elif time.monotonic() - self._fetched > STALE_SECONDS:
            self._start()
        if key is None and not self._keys:
            raise Timeout("the issuer's keys cannot be fetched at the moment")
        return key

    def _cached(self, kid: str | None, algorithm: str) -> Any | None:
        """Return the key with the `kid`; without one, the only key for the algorithm."""
        keys = [key.key for key in self._keys if key.algorithm == algorithm and kid in (None, key.kid)]
        return keys[0] if len(keys) == 1 else None

    async def _refetch(self) -> None:
        """Fetch the keys, unless that was attempted within the last `PAUSE_SECONDS`."""
        self._start()
        if self._fetching:
            await asyncio.shield(self._fetching)

    def _start(self) -> None:
        if self._fetching is None and time.monotonic() - self._attempted >= PAUSE_SECONDS:
            self._attempted = time.monotonic()
            self._fetching = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            self._keys = tuple(keys_in(await asyncio.to_thread(self._fetch)))
            self._fetched = time.monotonic()
        except (OSError, ValueError) as error:
            log.warning("cannot fetch the issuer's keys: %s", error)
        finally:
            self._fetching = None


def keys_in(text: bytes) -> Iterator[VerifyingKey]:
    """Yield the keys of a set that can verify tokens.

    Raises:
        ValueError: it is not a JSON Web Key Set.
    """
    document = orjson.loads(text)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ValueError("the key set has no list of keys")
    for jwk in keys[:MAX_KEYS]:
        key = _verifying_key(jwk) if isinstance(jwk, dict) else None
        if key:
            yield key


def from_file(path: str) -> Callable[[], bytes]:
    """Fetch a key set from a file."""
    return lambda: Path(path).read_bytes()[:MAX_BYTES]


def from_issuer(issuer: str) -> Callable[[], bytes]:
    """Fetch the key set that an issuer publishes (OpenID Connect Discovery 1.0)."""

    def fetch() -> bytes:
        deadline = time.monotonic() + FETCH_TIMEOUT
        document = orjson.loads(_download(f"{issuer.rstrip('/')}/.well-known/openid-configuration", deadline))
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise ValueError(f"the discovery document at {issuer} names another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError(f"the discovery document at {issuer} has no jwks_uri")
        return _download(url, deadline)

    return fetch


def _verifying_key(jwk: dict[str, Any]) -> VerifyingKey | None:
    type, kid, operations = jwk.get("kty"), jwk.get("kid"), jwk.get("key_ops", ["verify"])
    algorithm = _ALGORITHMS.get((str(type), None if type == "RSA" else str(jwk.get("crv"))))
    verifies = jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    if algorithm is None or not verifies or jwk.get("alg", algorithm) != algorithm or not isinstance(kid, str | None):
        return None
    try:
        key = jwt.PyJWK({name: value for name, value in jwk.items() if name != "d"}, algorithm).key
    except jwt.PyJWTError:
        return None
    is_weak = algorithm == "RS256" and key.key_size < MIN_RSA_BITS
    return None if is_weak else VerifyingKey(kid, algorithm, key)


def _download(url: str, deadline: float) -> bytes:
    """Download a small document over https, without redirects; plain http is accepted on loopback."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError(f"{url} is not https")
    request = Request(url, headers={"accept": "application/json", "user-agent": "tandem"})  # noqa: S310  https, see above
    body = b""
    opener = build_opener(_NoRedirect, *([ProxyHandler({})] if parts.hostname in _LOOPBACK else []))
    with opener.open(request, timeout=SOCKET_TIMEOUT) as response:
        while part := response.read1(65536):
            body += part
            if len(body) > MAX_BYTES or time.monotonic() > deadline:
                raise URLError(f"{url} is too large or too slow")
    return body


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return
