"""The keys of an OpenID issuer: fetched beside the event loop, kept, and looked for again when one is missing.

They come from a file, or from where the issuer's discovery document says. Each key has one algorithm, which follows
from what it is; secrets, weak keys and keys for other uses are left out. A fetch that fails changes nothing.
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
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import jwt
import orjson

from schema.engine.errors import Timeout

SOCKET_SECONDS, WHOLE_SECONDS = 5, 10
LARGEST = 512 * 1024
MOST_KEYS = 100
STALE_SECONDS = 300
PAUSE_SECONDS = 10
LEAST_RSA_BITS = 2048
_BY_KIND = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
_LOCAL = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger("tandem.jwks")


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, what it is called, and the one algorithm that it is for."""

    kid: str | None
    algorithm: str
    key: Any


class IssuerKeys:
    """The keys of one issuer. `fetch` brings the JSON Web Key Set; it may take its time, in a thread of its own."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self._fetch = fetch
        self._keys: tuple[VerifyingKey, ...] = ()
        self._tried = self._had = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Any | None:
        """The key that is meant, if there is one; `Timeout` where there are none at all."""
        found = self._known(kid, algorithm)
        if found is None:
            await self._again()
            found = self._known(kid, algorithm)
        elif time.monotonic() - self._had > STALE_SECONDS:
            self._start()
        if found is None and not self._keys:
            raise Timeout("the issuer's keys cannot be had at the moment")
        return found

    def _known(self, kid: str | None, algorithm: str) -> Any | None:
        """The key of that name; without a name, the only one for the algorithm."""
        found = [one.key for one in self._keys if one.algorithm == algorithm and kid in (None, one.kid)]
        return found[0] if len(found) == 1 else None

    async def _again(self) -> None:
        """Fetch once more, unless that was tried a moment ago."""
        self._start()
        if self._fetching:
            await asyncio.shield(self._fetching)

    def _start(self) -> None:
        if self._fetching is None and time.monotonic() - self._tried >= PAUSE_SECONDS:
            self._tried = time.monotonic()
            self._fetching = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            self._keys = tuple(keys_in(await asyncio.to_thread(self._fetch)))
            self._had = time.monotonic()
        except (OSError, ValueError) as error:
            log.warning("the issuer's keys cannot be had: %s", error)
        finally:
            self._fetching = None


def keys_in(text: bytes) -> Iterator[VerifyingKey]:
    """The keys of a set (RFC 7517) that can verify a token; `ValueError` if it is none."""
    found = orjson.loads(text)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise ValueError("there is no list of keys in it")
    for one in keys[:MOST_KEYS]:
        made = _key(one) if isinstance(one, dict) else None
        if made:
            yield made


def _key(given: dict[str, Any]) -> VerifyingKey | None:
    kind, kid, uses = given.get("kty"), given.get("kid"), given.get("key_ops", ["verify"])
    algorithm = _BY_KIND.get((str(kind), None if kind == "RSA" else str(given.get("crv"))))
    meant = given.get("use", "sig") == "sig" and isinstance(uses, list) and "verify" in uses
    if algorithm is None or not meant or given.get("alg", algorithm) != algorithm or not isinstance(kid, str | None):
        return None
    try:
        key = jwt.PyJWK({name: it for name, it in given.items() if name != "d"}, algorithm).key
    except jwt.PyJWTError:
        return None
    weak = algorithm == "RS256" and key.key_size < LEAST_RSA_BITS
    return None if weak else VerifyingKey(kid, algorithm, key)


def from_file(path: str) -> Callable[[], bytes]:
    """Brings the set that a file holds."""
    return lambda: Path(path).read_bytes()[:LARGEST]


def from_issuer(issuer: str) -> Callable[[], bytes]:
    """Brings the set that an issuer publishes (OpenID Connect Discovery 1.0)."""

    def fetch() -> bytes:
        until = time.monotonic() + WHOLE_SECONDS
        told = orjson.loads(_got(f"{issuer.rstrip('/')}/.well-known/openid-configuration", until))
        if not isinstance(told, dict) or told.get("issuer") != issuer:
            raise ValueError(f"what is published at {issuer} is another issuer's")
        place = told.get("jwks_uri")
        if not isinstance(place, str):
            raise ValueError(f"{issuer} does not say where its keys are")
        return _got(place, until)

    return fetch


def _got(url: str, until: float) -> bytes:
    """What is at a URL, if it comes soon and is not too much. Nothing leads elsewhere."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise ValueError(f"{url} is not https")
    request = Request(url, headers={"accept": "application/json", "user-agent": "tandem"})  # noqa: S310  https, see above
    body = b""
    with _opener(parts.hostname).open(request, timeout=SOCKET_SECONDS) as answer:
        while part := answer.read1(65536):
            body += part
            if len(body) > LARGEST or time.monotonic() > until:
                raise URLError(f"{url} is too large or too slow")
    return body


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""
        return


def _opener(host: str | None) -> OpenerDirector:
    return build_opener(_NoRedirect, *([ProxyHandler({})] if host in _LOCAL else []))
