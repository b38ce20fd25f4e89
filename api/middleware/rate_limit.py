"""How often somebody may ask: points a minute, by address or by credential.

Who shows no valid credential is counted by address, an IPv6 one by its network (/64), which is what one customer gets;
so guessing credentials is bounded, too. A valid credential is counted only where it has a rate. The counts are this
process's own or, where `TANDEM_RATE_LIMIT_URL` names a Redis, those of all processes; while it cannot be reached each
process counts for itself.

A window of a minute begins with its first request. `RateLimit` and `RateLimit-Policy` are as in
draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import ceil

from limits.aio.storage import Storage
from starlette.types import Scope

from api.auth.actors import Credential
from api.http.problem_details import TooManyRequests
from api.middleware.client_identity import ADDRESS, client_address
from api.middleware.rate_limit_storage import WINDOW, RateLimitCounters, count_points
from api.middleware.request_cost import MUTATION
from schema.engine.errors import DirectoryError, RequestError
from schema.engine.model.policy import Actor

# How long shared counts are left alone after they could not be reached.
PAUSE_SECONDS = 5.0
MOST_SPENT = 100_000
Authenticate = Callable[[Scope], Awaitable[Actor]]
log = logging.getLogger("tandem.rates")


class RateLimiter:
    """The points that have been spent. A request that has been charged has `charged` in its scope.

    Where `authenticate` has a function `name_of`, that names at no cost a credential that is known to be good.
    """

    def __init__(
        self, authenticate: Authenticate, rate: int = 0, credential_rate: int = 0, storage: Storage | None = None
    ) -> None:
        self.rate = rate
        self.credential_rate = credential_rate
        self._authenticate = authenticate
        self._name_of: Callable[[Scope], str | None] = getattr(authenticate, "name_of", _nobody)
        self._own = RateLimitCounters()
        self._shared = storage
        self._paused_until = 0.0
        # Those who have nothing left, and until when: they cost neither a trip nor a look at their credential.
        self._spent: OrderedDict[str, float] = OrderedDict()
        self._charging: set[asyncio.Task[None]] = set()

    def metered(self, price: Callable[[Scope], int]) -> Authenticate:
        """`authenticate`, with each request paid for by who turns out to ask."""
        authenticate = self._authenticate

        async def paid(scope: Scope) -> Actor:
            self.check(scope)
            try:
                actor = await authenticate(scope)
            except RequestError:
                await self._charge_address(scope, price(scope))
                raise
            except DirectoryError:
                # It cannot be looked at just now; if it was good a moment ago, the outage is not its address's fault.
                if self._knows(scope):
                    scope["charged"] = True
                raise
            if self._rate_of(scope.get("credential")):
                await self.charge(scope, price(scope))
            else:
                scope["charged"] = True
            return actor

        return paid

    def check(self, scope: Scope) -> None:
        """Raise `TooManyRequests` for an address with nothing left, unless the credential is known to be good."""
        if self._spent and not self._knows(scope):
            self._check_spent(scope, client_address(scope))

    async def charge_request(self, scope: Scope) -> None:
        """Charge a request whose credential nobody has looked at: to it if it is known to be good, or to the address.

        Raises:
            TooManyRequests: too few points are left.
        """
        if "credential" not in scope and self._knows(scope):
            try:
                await self._authenticate(scope)
            except RequestError:
                pass
            except DirectoryError:
                scope["charged"] = True
                return
        await self.charge(scope, 1)

    async def charge(self, scope: Scope, points: int) -> None:
        """Charge the credential that was found in a request to its rate, if it has one; without one, the address.

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
        """Charge an address for what was refused before it was a request. What it is told stays the same."""
        if self.rate:
            task = asyncio.ensure_future(self._charge_refusal({"client": (address, 0)}))
            self._charging.add(task)
            task.add_done_callback(self._charging.discard)

    async def _charge_refusal(self, scope: Scope) -> None:
        with suppress(TooManyRequests):
            await self._charge_address(scope, 1)

    async def close(self) -> None:
        """Let go of what is shared."""
        if self._shared is not None:
            await self._shared.bridge.get_connection().aclose()  # type: ignore[attr-defined]

    def _knows(self, scope: Scope) -> bool:
        return self._name_of(scope) is not None

    def _rate_of(self, credential: Credential | None) -> int:
        """The points a minute of a credential, or of an address without one; 0 for no limit."""
        if credential is None:
            return self.rate
        return self.credential_rate if credential.rate is None else credential.rate

    async def _charge_address(self, scope: Scope, points: int) -> None:
        scope["charged"] = True
        if not self.rate:
            return
        key = client_address(scope)
        if self._spent:
            self._check_spent(scope, key)
        await self._charge(scope, key, self.rate, points)

    async def _charge(self, scope: Scope, key: str, rate: int, points: int) -> None:
        scope["charged"] = True
        count, seconds = await self._count(key, points)
        self._tell(scope, rate, max(0, rate - count), seconds)
        if count > rate:
            if key.startswith(ADDRESS):
                self._spent[key] = time.monotonic() + seconds
                if len(self._spent) > MOST_SPENT:
                    self._spent.popitem(last=False)
            raise _refusal(seconds)

        async def charge(further: int) -> None:
            await self._charge(scope, key, rate, further)

        async def spend(mutations: int) -> None:
            await self._charge(scope, key, rate, MUTATION * mutations - 1)

        scope["charge"], scope["charge_mutations"] = charge, spend

    async def _count(self, key: str, points: int) -> tuple[int, int]:
        """How much has been spent, these points included, and in how many seconds the window ends."""
        now = time.monotonic()
        if self._shared is not None and now >= self._paused_until:
            try:
                return await count_points(self._shared, key, points)
            except Exception as error:
                self._paused_until = now + PAUSE_SECONDS
                log.warning("the shared counts cannot be reached; counting alone", extra={"kind": type(error).__name__})
        return await count_points(self._own, key, points)

    def _check_spent(self, scope: Scope, key: str) -> None:
        until = self._spent.get(key)
        if until is None:
            return
        seconds = ceil(until - time.monotonic())
        if seconds <= 0:
            del self._spent[key]
            return
        scope["charged"] = True
        self._tell(scope, self.rate, 0, seconds)
        raise _refusal(seconds)

    def _tell(self, scope: Scope, rate: int, left: int, seconds: int) -> None:
        """Note the headers that the answer is to have, in place of those of an earlier charge."""
        kept = [header for header in scope.get("response_headers", ()) if not header[0].startswith(b"ratelimit")]
        told = (b"ratelimit", b'"default";r=%d;t=%d' % (left, seconds))
        scope["response_headers"] = (*kept, told, (b"ratelimit-policy", b'"default";q=%d;w=%d' % (rate, WINDOW)))


def _nobody(scope: Scope) -> None:
    """Where nobody remembers credentials, none is known."""


def _refusal(seconds: int) -> TooManyRequests:
    return TooManyRequests(f"try again in {seconds} seconds", [(b"retry-after", b"%d" % seconds)])
