"""What this process counts of its requests, as plain numbers; `exposition.py` makes metrics of them when asked.

`Observer` is round everything, so that whatever is answered is counted, and does what depends on a request as a whole:
it takes over a caller's trace (W3C Trace Context), and times the answer for who asks for it (`Prefer: server-timing`).
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schema.engine.metrics import QUERY_OBSERVER, SECONDS, Histogram

# What is counted where no endpoint has said its name (`scope["operation"]`): pages, documents, unknown paths.
OTHER: Final = "other"
# And where a request was refused before it was one: what stands there for its door, and for its operation.
WIRE: Final = "wire"
REFUSAL: Final = "refusal"
LAG_EVERY = 0.5
_HEEDED = frozenset((b"traceparent", b"prefer"))
_TRACE = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.DOTALL)


class RequestMetrics:
    """The counts. `waiting` belongs to whoever makes requests wait."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], Histogram] = {}
        # By their status: the wire's own answers to what never came to an endpoint, or not to its end.
        self.refused: Counter[int] = Counter()
        self.begun = self.waiting = self.sockets = 0
        self.lag = Histogram(SECONDS)

    @property
    def running(self) -> int:
        """Requests under way."""
        return self.begun - sum(sum(found.counts) for found in self.requests.values())

    def opened(self, operation: str, status: int) -> Histogram:
        """Where requests with this answer are noted from now on; with status 0, the caller went away before."""
        return self.requests.setdefault((operation, status), Histogram(SECONDS))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Meanwhile, see how late the event loop is."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def look(due: float) -> None:
            nonlocal timer
            self.lag.note(max(loop.time() - due, 0))
            timer = loop.call_later(LAG_EVERY, look, loop.time() + LAG_EVERY)

        timer = loop.call_later(LAG_EVERY, look, loop.time() + LAG_EVERY)
        try:
            yield
        finally:
            timer.cancel()


class Observer:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, figures: RequestMetrics) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note what came of it."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        began = perf_counter()
        app, figures = self._app, self._figures
        for name, value in scope["headers"]:
            if name in _HEEDED:
                app = self._heeding(scope, name, value) or app
        figures.begun += 1
        try:
            await app(scope, receive, send)
        finally:
            # The envelope says the status, and the endpoint the operation.
            answer = scope.get("operation", OTHER), scope.get("status", 0)
            found = figures.requests.get(answer) or figures.opened(*answer)
            found.note(perf_counter() - began)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        self._figures.sockets += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._figures.sockets -= 1

    def _heeding(self, scope: Scope, name: bytes, value: bytes) -> ASGIApp | None:
        """What a header asks for; the application that answers, if that is another one then."""
        if name == b"traceparent":
            # Two are as good as none.
            alone = sum(other == name for other, _ in scope["headers"]) == 1
            scope.setdefault("trace_id", trace_id_of(value) if alone else None)
        elif any(part.strip() == b"server-timing" for part in value.lower().split(b",")):
            return self._timed
        return None

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> None:
        timing = _Timing(send)
        token = QUERY_OBSERVER.set(timing.told)
        try:
            await self._app(scope, receive, timing.send)
        finally:
            QUERY_OBSERVER.reset(token)


class _Timing:
    """How long an answer took, and how much of that the database, as one of its headers (W3C Server Timing)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._before = QUERY_OBSERVER.get()
        self._began = perf_counter()
        self._trips, self._seconds = 0, 0.0

    def told(self, kind: str, load: Any, took: float) -> None:
        """A trip to the database has come back."""
        self._trips += 1
        self._seconds += took
        if self._before is not None:
            self._before(kind, load, took)

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            total = perf_counter() - self._began
            trips = "1 trip" if self._trips == 1 else f"{self._trips} trips"
            text = f'db;dur={self._seconds * 1e3:.2f};desc="{trips}", total;dur={total * 1e3:.2f}'
            told = [(b"server-timing", text.encode()), (b"preference-applied", b"server-timing")]
            message = {**message, "headers": [*message["headers"], *told]}
        await self._send(message)


def trace_id_of(traceparent: bytes) -> str | None:
    """The trace that a request belongs to, if its header is as https://www.w3.org/TR/trace-context/ has it."""
    found = _TRACE.fullmatch(traceparent.strip(b" \t"))
    if found is None or (found[1] == b"00" and found[3] is not None):
        return None
    return found[2].decode()
