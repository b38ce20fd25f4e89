"""A request and its response: the headers that all responses have, and the slot of the concurrency limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from api.http.client_identity import Identify
from api.http.concurrency import WAIT_SECONDS
from schema.engine.concurrency import ConcurrencyLimit

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# For a year, after a response over https, browsers use https only.
SECURE_HEADERS = (*HEADERS, (b"strict-transport-security", b"max-age=31536000"))
_HEADER_NAMES = frozenset(name for name, _ in SECURE_HEADERS)


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """What all exchanges of a server share. `charge` is called before a response whose request has not been charged."""

    concurrency_limit: ConcurrencyLimit
    identify: Identify
    charge: Callable[[Scope], Awaitable[None]]
    https_headers: tuple[tuple[bytes, bytes], ...]


class RequestExchange:
    """Receives one request and sends its response with the headers that all have; to HEAD without its body.

    The request has a slot of the concurrency limit from when it is complete until its response begins, so a client
    that sends or reads slowly, or follows a stream, holds none.
    """

    __slots__ = ("_has_slot", "_options", "_owner", "_scope", "_send", "raw_receive", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, options: ExchangeOptions) -> None:
        self.raw_receive = receive
        self.status = 0
        self._scope = scope
        self._send = send
        self._options = options
        self._owner: Hashable = None
        self._has_slot = False

    @property
    def owner(self) -> Hashable:
        """The client, by its credential or its address; looked up only when slots are scarce."""
        if self._owner is None:
            self._owner = self._options.identify(self._scope)
        return self._owner

    def try_acquire(self) -> bool:
        """Take a slot, if its owner may have one now."""
        self._has_slot = self._options.concurrency_limit.try_acquire(self)
        return self._has_slot

    async def acquire(self) -> None:
        """Take a slot, waiting for one if necessary.

        Raises:
            Overloaded: too many requests wait, or none ended in time.
        """
        await self._options.concurrency_limit.acquire(self, WAIT_SECONDS)
        self._has_slot = True

    def release(self) -> None:
        """Free the slot, if the request has one."""
        if self._has_slot:
            self._has_slot = False
            self._options.concurrency_limit.release(self)

    async def receive(self) -> Message:
        """Receive a part of the request, and take a slot with the last."""
        message = await self.raw_receive()
        last = message["type"] == "http.request" and not message.get("more_body")
        if last and not self._has_slot and not self.status and not self.try_acquire():
            await self.acquire()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the response.

        Raises:
            TooManyRequests: in place of the first part, if the request has to be charged and cannot be.
        """
        if message["type"] == "http.response.start":
            if "charged" not in self._scope:
                return self._charge_and_send(message)
            self.status = self._scope["status"] = message["status"]
            if self._has_slot:
                self.release()
            message["headers"] = self._headers(message["headers"])
        elif self._scope["method"] == "HEAD":
            message = {**message, "body": b""}
        return self._send(message)

    async def _charge_and_send(self, message: Message) -> None:
        await self._options.charge(self._scope)
        await self.send(message)

    def _headers(self, sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        scope = self._scope
        common = self._options.https_headers if scope["scheme"] == "https" else HEADERS
        headers = [*sent]
        for name, _ in headers:
            if name in _HEADER_NAMES:
                present = {name for name, _ in headers}
                common = tuple([header for header in common if header[0] not in present])
                break
        headers += common
        headers.append((b"x-request-id", scope["request_id"].encode()))
        if "response_headers" in scope:
            headers += scope["response_headers"]
        return headers
