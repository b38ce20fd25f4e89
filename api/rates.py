"""How often somebody may ask: points a minute, by address or by credential.

Who shows no valid credential is counted by address, an IPv6 one by its network (/64), which is what one customer gets;
so guessing credentials is bounded, too. A valid credential is counted only where it has a rate. The counts are this
process's own or, where `TANDEM_RATE_LIMIT_URL` names a Redis, those of all processes; while it cannot be reached each
process counts for itself.

A window of a minute begins with its first request. `RateLimit` and `RateLimit-Policy` are as in
draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from math import ceil

from limits.aio.storage import Storage
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.answer import EXEMPT
from api.counts import WINDOW, Counts, spent
from api.owner import ADDRESS, address_key
from api.rest.problems import TooManyRequests
from schema.engine.errors import Refused
from schema.engine.policy import Actor

MUTATION = 5
# How long shared counts are left alone after they could not be reached.
PAUSE_SECONDS = 5.0
MOST_SPENT = 100_000
_READING = {"GET", "HEAD", "OPTIONS"}
Authenticate = Callable[[Scope], Awaitable[Actor]]
log = logging.getLogger("tandem.rates")


class Rates:
    """The points that have been spent."""

    def __init__(self, rate: int, credential_rate: int, storage: Storage | None = None) -> None:
        self.rate = rate
        self.credential_rate = credential_rate
        self._own = Counts()
        self._shared = storage
        self._paused_until = 0.0
        # Those who have nothing left, and until when: they cost neither a trip nor a look at their credential.
        self._spent: OrderedDict[str, float] = OrderedDict()

    def counted(self, authenticate: Authenticate, price: Callable[[Scope], int]) -> Authenticate:
        """`authenticate`, with each request paid for by who turns out to ask.

        Where it has a function `knows`, that says at no cost whether the credential of a request is known to be good.
        """
        knows: Callable[[Scope], bool] = getattr(authenticate, "knows", _nobody)

        async def paid(scope: Scope) -> Actor:
            if self._spent and not knows(scope):
                self._refuse_spent(scope)
            try:
                actor = await authenticate(scope)
            except Refused:
                await self.charge_address(scope, price(scope))
                raise
            credential = scope.get("credential")
            if credential is None:
                if self.rate:
                    await self.charge_address(scope, price(scope))
            elif rate := self.credential_rate if credential.rate is None else credential.rate:
                await self._charge(scope, f"credential:{credential.name}", rate, price(scope))
            return actor

        return paid

    async def charge_address(self, scope: Scope, points: int) -> None:
        """Have a request paid for by its address; `TooManyRequests` if it cannot."""
        if self.rate:
            await self._charge(scope, address_key((scope.get("client") or ("", 0))[0]), self.rate, points)

    async def _charge(self, scope: Scope, key: str, rate: int, points: int) -> None:
        count, seconds = await self._count(key, points)
        self._tell(scope, rate, max(0, rate - count), seconds)
        if count > rate:
            if key.startswith(ADDRESS):
                self._spent[key] = time.monotonic() + seconds
                if len(self._spent) > MOST_SPENT:
                    self._spent.popitem(last=False)
            raise _refusal(seconds)

        async def further(mutations: int) -> None:
            await self._charge(scope, key, rate, MUTATION * mutations - 1)

        scope["spend"] = further

    async def close(self) -> None:
        """Let go of what is shared."""
        if self._shared is not None:
            await self._shared.bridge.get_connection().aclose()  # type: ignore[attr-defined]

    async def _count(self, key: str, points: int) -> tuple[int, int]:
        """How much has been spent, these points included, and in how many seconds the window ends."""
        now = time.monotonic()
        if self._shared is not None and now >= self._paused_until:
            try:
                return await spent(self._shared, key, points)
            except Exception as error:
                self._paused_until = now + PAUSE_SECONDS
                log.warning("the shared counts cannot be reached; counting alone", extra={"kind": type(error).__name__})
        return await spent(self._own, key, points)

    def _refuse_spent(self, scope: Scope) -> None:
        key = address_key((scope.get("client") or ("", 0))[0])
        until = self._spent.get(key)
        if until is None:
            return
        seconds = ceil(until - time.monotonic())
        if seconds <= 0:
            del self._spent[key]
            return
        self._tell(scope, self.rate, 0, seconds)
        raise _refusal(seconds)

    def _tell(self, scope: Scope, rate: int, left: int, seconds: int) -> None:
        """Note the headers that the answer is to have, in place of those of an earlier charge."""
        kept = [header for header in scope.get("answer_headers", ()) if not header[0].startswith(b"ratelimit")]
        told = (b"ratelimit", b'"default";r=%d;t=%d' % (left, seconds))
        scope["answer_headers"] = (*kept, told, (b"ratelimit-policy", b'"default";q=%d;w=%d' % (rate, WINDOW)))


class Counted:
    """Middleware that has pages and mistakes, for which nobody is asked for a credential, paid for by address."""

    def __init__(self, app: ASGIApp, rates: Rates, doors: Iterable[Route]) -> None:
        self._app = app
        self._rates = rates
        self._doors = tuple(doors)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Count, and pass the request on."""
        if self._rates.rate and scope["type"] == "http" and not self._counted(scope):
            return self._paid(scope, receive, send)
        return self._app(scope, receive, send)

    async def _paid(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._rates.charge_address(scope, 1)
        await self._app(scope, receive, send)

    def _counted(self, scope: Scope) -> bool:
        """Whether somebody else counts it, or nobody does."""
        doors = (door.matches(scope)[0] is not Match.NONE for door in self._doors)
        return scope["path"].startswith(EXEMPT) or any(doors)


def price_of_call(scope: Scope) -> int:
    """What a REST request costs."""
    return 1 if scope["method"] in _READING else MUTATION


def price_of_document(scope: Scope) -> int:
    """What a GraphQL request costs at first; what mutations cost is asked for when they are known (`spend`)."""
    return 1


def _nobody(scope: Scope) -> bool:
    """Where nobody remembers credentials, none is known."""
    return False


def _refusal(seconds: int) -> TooManyRequests:
    return TooManyRequests(f"try again in {seconds} seconds", [(b"retry-after", b"%d" % seconds)])
