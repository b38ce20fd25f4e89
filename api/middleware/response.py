"""An answer on its way out: the headers that all have, and the place that its request takes among those that run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from api.middleware.client_identity import Identify
from schema.engine.concurrency import DEFAULT_SHARE, ConcurrencyLimit
from schema.engine.errors import Overloaded

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# For a year: browsers are to come by https only, once they came so.
SECURE = (*HEADERS, (b"strict-transport-security", b"max-age=31536000"))
# How long a request waits for a place.
WAIT_SECONDS = 0.25
_NAMES = frozenset(name for name, _ in SECURE)


def request_limit(places: int, percent: int = DEFAULT_SHARE) -> ConcurrencyLimit:
    """The places for requests that run, and twice as many for those that wait."""
    late = "no request has ended in time to make room for this one"
    return ConcurrencyLimit(
        places,
        2 * places,
        percent,
        full_message="too many requests are waiting",
        timeout_error=lambda: Overloaded(late),
    )


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What all answers of a server share. `charge` has a request pay that was not charged before its answer begins."""

    gate: ConcurrencyLimit
    identify: Identify
    charge: Callable[[Scope], Awaitable[None]]
    secure: tuple[tuple[bytes, bytes], ...]


class ResponseWriter:
    """An answer on its way out, with the headers that all have; to HEAD without its body.

    The request has its place from when all of it is there until its answer begins: whoever sends or reads slowly, or
    follows an answer that goes on, takes nobody's place.
    """

    __slots__ = ("_held", "_owner", "_scope", "_send", "_terms", "outside", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, terms: ResponseOptions) -> None:
        self.outside = receive
        self.status = 0
        self._scope = scope
        self._send = send
        self._terms = terms
        self._owner: Hashable = None
        self._held = False

    @property
    def owner(self) -> Hashable:
        """On whose behalf it is: by its credential or by its address."""
        if self._owner is None:
            self._owner = self._terms.identify(self._scope)
        return self._owner

    def enter_at_once(self) -> bool:
        """Take a place, if there is one that its owner may have now."""
        self._held = self._terms.gate.try_acquire(self)
        return self._held

    async def enter(self) -> None:
        """Take a place, or raise `Overloaded`."""
        await self._terms.gate.acquire(self, WAIT_SECONDS)
        self._held = True

    def leave(self) -> None:
        """Free the place, if there is one."""
        if self._held:
            self._held = False
            self._terms.gate.release(self)

    async def receive(self) -> Message:
        """The next part of the request; with the last one it takes its place."""
        message = await self.outside()
        last = message["type"] == "http.request" and not message.get("more_body")
        if last and not self._held and not self.status and not self.enter_at_once():
            await self.enter()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of it. Where the request is to pay and cannot, `TooManyRequests` is raised in its place."""
        if message["type"] == "http.response.start":
            if "charged" not in self._scope:
                return self._charge(message)
            self.status = self._scope["status"] = message["status"]
            if self._held:
                self.leave()
            message["headers"] = self._headers(message["headers"])
        elif self._scope["method"] == "HEAD":
            message = {**message, "body": b""}
        return self._send(message)

    async def _charge(self, message: Message) -> None:
        await self._terms.charge(self._scope)
        await self.send(message)

    def _headers(self, sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        scope = self._scope
        standard = self._terms.secure if scope["scheme"] == "https" else HEADERS
        made = [*sent]
        for name, _ in made:
            if name in _NAMES:
                present = {name for name, _ in made}
                standard = tuple([header for header in standard if header[0] not in present])
                break
        made += standard
        made.append((b"x-request-id", scope["request_id"].encode()))
        if "response_headers" in scope:
            made += scope["response_headers"]
        return made
