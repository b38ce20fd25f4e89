"""Rate limit: points a minute, by address or by credential.

Requests without a valid credential are counted by address, an IPv6 one by its network (/64), which also bounds attempts
to guess credentials. A valid credential is counted only if it has a rate. The counters are this process's own or, with
`TANDEM_RATE_LIMIT_URL`, those of all processes in Redis; while Redis cannot be reached each process counts alone.

A window of a minute begins with its first request. `RateLimit` and `RateLimit-Policy` follow
draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from math import ceil

from limits.aio.storage import Storage
from starlette.types import Scope

from api.auth.actors import Credential
from api.http.client_identity import ADDRESS, Authenticate, client_address
from api.http.problem_details import TooManyRequests
from api.http.request_cost import MUTATION
from api.middleware.rate_limit_storage import WINDOW, RateLimitCounters, count_in
from schema.engine.errors import DirectoryError, RequestError
from schema.engine.model.policy import Actor

# How long Redis is not tried after it could not be reached.
PAUSE_SECONDS = 5.0
MAX_EXHAUSTED = 100_000
log = logging.getLogger("tandem.rates")


class RateLimiter:
    """Charges requests. A request that has been charged, or need not be, has `charged` in its scope.

    If `authenticate` has a method `name_of`, that names a credential known to be valid, without a query.
    """

    def __init__(
        self, authenticate: Authenticate, rate: int = 0, credential_rate: int = 0, storage: Storage | None = None
    ) -> None:
        self.rate = rate
        self.credential_rate = credential_rate
        self._authenticate = authenticate
        self._name_of: Callable[[Scope], str | None] = getattr(authenticate, "name_of", lambda _: None)
        self._own_counters = RateLimitCounters()
        self._shared_counters = storage
        self._shared_from = 0.0
        # Addresses without points, and until when: they are refused without counting or authentication.
        self._exhausted: OrderedDict[str, float] = OrderedDict()
        self._charging: set[asyncio.Task[None]] = set()

    def metered(self, cost: Callable[[Scope], int]) -> Authenticate:
        """Return `authenticate` with each request charged to its credential or address."""
        authenticate = self._authenticate

        async def authenticate_and_charge(scope: Scope) -> Actor:
            self.check(scope)
            try:
                actor = await authenticate(scope)
            except RequestError:
                await self._charge_address(scope, cost(scope))
                raise
            except DirectoryError:
                # The database is down; a credential that was valid a moment ago is not charged to its address.
                if self._is_known(scope):
                    scope["charged"] = True
                raise
            if self._rate_of(scope.get("credential")):
                await self.charge(scope, cost(scope))
            else:
                scope["charged"] = True
            return actor

        return authenticate_and_charge

    def check(self, scope: Scope) -> None:
        """Refuse an address without points, unless the credential is known to be valid.

        Raises:
            TooManyRequests: no points are left.
        """
        if self._exhausted and not self._is_known(scope):
            self._check_exhausted(scope, client_address(scope))

    async def charge_request(self, scope: Scope) -> None:
        """Charge one point for a request that has not been authenticated, to its credential if known, or its address.

        Raises:
            TooManyRequests: too few points are left.
        """
        if "credential" not in scope and self._is_known(scope):
            try:
                await self._authenticate(scope)
            except RequestError:
                pass
            except DirectoryError:
                scope["charged"] = True
                return
        await self.charge(scope, 1)

    async def charge(self, scope: Scope, points: int) -> None:
        """Charge the credential that a request was authenticated with, if it has a rate; without one, the address.

        Raises:
            TooManyRequests: too few points are left.
        """
        credential = scope.get("credential")
        if credential is None:
            await self._charge_address(scope, points)
        elif rate := self._rate_of(credential):
            await self._charge(scope, f"credential:{credential.name}", rate, points)
        else:
            scope["charged"] = True

    def charge_refusal(self, address: str) -> None:
        """Charge an address for a request that the HTTP server refused; its response does not change."""
        if self.rate:
            task = asyncio.ensure_future(self._charge_refusal({"client": (address, 0)}))
            self._charging.add(task)
            task.add_done_callback(self._charging.discard)

    async def close(self) -> None:
        """Close the connection to Redis."""
        if self._shared_counters is not None:
            await self._shared_counters.bridge.get_connection().aclose()  # type: ignore[attr-defined]

    def _is_known(self, scope: Scope) -> bool:
        return self._name_of(scope) is not None

    def _rate_of(self, credential: Credential | None) -> int:
        """The points a minute of a credential, or of an address if None; 0 for no limit."""
        if credential is None:
            return self.rate
        return self.credential_rate if credential.rate is None else credential.rate

    async def _charge_refusal(self, scope: Scope) -> None:
        with suppress(TooManyRequests):
            await self._charge_address(scope, 1)

    async def _charge_address(self, scope: Scope, points: int) -> None:
        scope["charged"] = True
        if not self.rate:
            return
        key = client_address(scope)
        if self._exhausted:
            self._check_exhausted(scope, key)
        await self._charge(scope, key, self.rate, points)

    async def _charge(self, scope: Scope, key: str, rate: int, points: int) -> None:
        scope["charged"] = True
        count, seconds = await self._count(key, points)
        _set_headers(scope, rate, max(0, rate - count), seconds)
        if count > rate:
            if key.startswith(ADDRESS):
                self._exhausted[key] = time.monotonic() + seconds
                if len(self._exhausted) > MAX_EXHAUSTED:
                    self._exhausted.popitem(last=False)
            raise _too_many_requests(seconds)

        async def charge(further: int) -> None:
            await self._charge(scope, key, rate, further)

        async def charge_mutations(mutations: int) -> None:
            await self._charge(scope, key, rate, MUTATION * mutations - 1)

        scope["charge"], scope["charge_mutations"] = charge, charge_mutations

    async def _count(self, key: str, points: int) -> tuple[int, int]:
        """Add points; return the sum, and the seconds until the window ends."""
        now = time.monotonic()
        if self._shared_counters is not None and now >= self._shared_from:
            try:
                return await count_in(self._shared_counters, key, points)
            except Exception as error:
                self._shared_from = now + PAUSE_SECONDS
                log.warning("Redis cannot be reached; counting alone", extra={"kind": type(error).__name__})
        return self._own_counters.count(key, points)

    def _check_exhausted(self, scope: Scope, key: str) -> None:
        until = self._exhausted.get(key)
        if until is None:
            return
        seconds = ceil(until - time.monotonic())
        if seconds <= 0:
            del self._exhausted[key]
            return
        scope["charged"] = True
        _set_headers(scope, self.rate, 0, seconds)
        raise _too_many_requests(seconds)


def _set_headers(scope: Scope, rate: int, remaining: int, seconds: int) -> None:
    """Set the response's rate limit headers, in place of those of an earlier charge."""
    other_headers = [header for header in scope.get("response_headers", ()) if not header[0].startswith(b"ratelimit")]
    limit = (b"ratelimit", b'"default";r=%d;t=%d' % (remaining, seconds))
    scope["response_headers"] = (*other_headers, limit, (b"ratelimit-policy", b'"default";q=%d;w=%d' % (rate, WINDOW)))


def _too_many_requests(seconds: int) -> TooManyRequests:
    return TooManyRequests(f"rate limit exceeded: try again in {seconds} seconds", [(b"retry-after", b"%d" % seconds)])
