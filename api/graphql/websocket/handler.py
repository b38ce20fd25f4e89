"""GraphQL over WebSocket, subprotocol `graphql-transport-ws`: who is let in, and within which limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from api.graphql.websocket.admission import Admission
from api.graphql.websocket.handshake import TRY_AGAIN, check_origin, refuse
from api.graphql.websocket.messages import Closing
from api.graphql.websocket.session import Session
from api.middleware.client_identity import client_address, client_identifier, credential_name
from api.middleware.rate_limit import RateLimiter
from schema.engine.concurrency import QUARTER, ConcurrencyLimit
from schema.engine.errors import DirectoryError, NotFound, Overloaded
from schema.engine.model.policy import Actor
from schema.graphql.execution.executor import Executor

INIT_SECONDS = 5.0
# With what `authenticate` remembers, a socket outlives its credential by 5 s at most.
CHECK_SECONDS = 1.0
# So long may the other side leave unread what it asked for.
SEND_SECONDS = 20.0
# So long a large message may wait until it is parsed.
TURN_SECONDS = 20.0
_BUSY = "too many large messages wait to be read"
Authenticate = Callable[[Scope], Awaitable[Actor]]


class WebSocketHandler:
    """`/graphql` for WebSockets; `sockets` may be open at a time, and `sockets_per_address` without a valid credential.

    A credential may have a `share` of them, in percent, and more as long as fewer than half are open.
    `rates` charges each message; the handshake has been charged by who passes it on.
    """

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        executor: Executor,
        authenticate: Authenticate,
        *,
        rates: RateLimiter | None = None,
        sockets: int,
        sockets_per_address: int = 0,
        share: int = QUARTER,
        origins: Collection[str] = (),
        document_limit: int = 128 * 1024,
        init_seconds: float = INIT_SECONDS,
        check_seconds: float = CHECK_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self.executor = executor
        self.authenticate = authenticate
        self.rates = rates or RateLimiter(authenticate)
        self.identify = client_identifier(authenticate)
        self.admission = Admission(sockets, sockets_per_address, share)
        self.document_limit = document_limit
        self.init_seconds = init_seconds
        self.check_seconds = check_seconds
        self.send_seconds = send_seconds
        # A socket reads one message at a time, so no more can wait than there are sockets: half of the line is enough.
        self._turns = ConcurrencyLimit(1, 2 * sockets + 1, full=_BUSY, late=lambda: Overloaded(_BUSY))
        self._origins = frozenset(origins)

    @property
    def open(self) -> int:
        """How many sockets are open."""
        return len(self.admission)

    @asynccontextmanager
    async def turn(self, scope: Scope) -> AsyncIterator[None]:
        """A turn to parse a large message: one at a time in the process, for one owner after another.

        Raises:
            Closing: it takes too long until it is this owner's turn.
        """
        try:
            async with self._turns.hold(self.identify(scope), TURN_SECONDS):
                await asyncio.sleep(0)
                yield
        except Overloaded as error:
            raise Closing(TRY_AGAIN, error.detail) from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, from its handshake to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            check_origin(scope, self._origins)
            credential = credential_name(scope)
            opening = self.admission.enter(client_address(scope) if credential is None else None, credential)
        except DirectoryError as error:
            await refuse(error, scope, send)
            return
        try:
            await Session(self, opening, scope, receive, send).run()
        finally:
            self.admission.leave(opening)


def socket_routes(door: WebSocketHandler) -> list[WebSocketRoute]:
    """The one path of this door, and all others, where there is nothing."""
    return [WebSocketRoute("/graphql", door), WebSocketRoute("/{path:path}", _Nowhere())]


class _Nowhere:
    """Refuses a handshake for a path where there is no WebSocket."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] == "websocket.connect":
            await refuse(NotFound(f"there is no WebSocket at {scope['path'][:200]}"), scope, send)
