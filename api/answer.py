"""An answer on its way out: the headers that all have, and the place that its request takes among those that run."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from starlette.types import Message, Receive, Scope, Send

from api.gate import Gate

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# For a year: browsers are to come by https only, once they came so.
SECURE = (*HEADERS, (b"strict-transport-security", b"max-age=31536000"))
_NAMES = frozenset(name for name, _ in SECURE)


class Answer:
    """An answer on its way out, with the headers that all have; to HEAD without its body.

    The request has its place from when all of it is there until its answer begins: whoever sends or reads slowly, or
    follows an answer that goes on, takes nobody's place.
    """

    __slots__ = ("_gate", "_held", "_scope", "_secure", "_send", "outside", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, gate: Gate, secure: tuple[tuple[bytes, bytes], ...]):
        self.outside = receive
        self.status = 0
        self._scope = scope
        self._send = send
        self._gate = gate
        self._secure = secure
        self._held = False

    def enter_at_once(self) -> bool:
        """Take a place if one is free."""
        gate = self._gate
        if gate.free > 0:
            gate.free -= 1
            self._held = True
        return self._held

    async def enter(self) -> None:
        """Take a place, or raise `Overloaded`."""
        await self._gate.enter()
        self._held = True

    def leave(self) -> None:
        """Free the place, if there is one."""
        if self._held:
            self._held = False
            self._gate.leave()

    async def receive(self) -> Message:
        """The next part of the request; with the last one it takes its place."""
        message = await self.outside()
        last = message["type"] == "http.request" and not message.get("more_body")
        if last and not self._held and not self.status and not self.enter_at_once():
            await self.enter()
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of it."""
        if message["type"] == "http.response.start":
            self.status = self._scope["status"] = message["status"]
            if self._held:
                self.leave()
            message["headers"] = self._headers(message["headers"])
        elif self._scope["method"] == "HEAD":
            message = {**message, "body": b""}
        return self._send(message)

    def _headers(self, sent: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        scope = self._scope
        standard = self._secure if scope["scheme"] == "https" else HEADERS
        made = [*sent]
        for name, _ in made:
            if name in _NAMES:
                present = {name for name, _ in made}
                standard = tuple([header for header in standard if header[0] not in present])
                break
        made += standard
        made.append((b"x-request-id", scope["request_id"].encode()))
        if "answer_headers" in scope:
            made += scope["answer_headers"]
        return made
