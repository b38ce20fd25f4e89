"""GraphQL over WebSocket: admits sockets, and runs a session for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from api.graphql.http import PATH
from api.graphql.websocket.admission import Admission
from api.graphql.websocket.handshake import check_origin, refuse
from api.graphql.websocket.messages import CloseCode, SocketClosed
from api.graphql.websocket.session import Session
from api.http.client_identity import Authenticate, client_address, client_identifier, credential_name
from api.middleware.rate_limit import RateLimiter
from schema.engine.concurrency import DEFAULT_SHARE, ConcurrencyLimit
from schema.engine.errors import DirectoryError, NotFound, Overloaded
from schema.graphql.execution.executor import Executor

INIT_SECONDS = 5.0
# With what `authenticate` caches, a socket outlives its credential by at most 5 s.
CHECK_SECONDS = 1.0
# How long a client may leave a message unread.
SEND_SECONDS = 20.0
# How long a large message may wait to be parsed.
PARSE_WAIT_SECONDS = 20.0
_BUSY = "too many large messages are waiting to be parsed"


class WebSocketHandler:
    """`/graphql` for WebSockets: at most `sockets`, and `sockets_per_address` without a valid credential.

    A credential has a `share` of them in percent, and more while fewer than half are open. `rates` charges each
    message; middleware has charged the handshake.
    """

    def __init__(  # noqa: PLR0913 - each is a setting
        self,
        executor: Executor,
        authenticate: Authenticate,
        *,
        rates: RateLimiter | None = None,
        sockets: int,
        sockets_per_address: int = 0,
        share: int = DEFAULT_SHARE,
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
        # A socket reads one message at a time, so no more can wait than there are sockets; an owner may use half.
        self._parsing = ConcurrencyLimit(
            1, 2 * sockets + 1, full_message=_BUSY, timeout_error=lambda: Overloaded(_BUSY)
        )
        self._origins = frozenset(origins)

    @asynccontextmanager
    async def parsing_turn(self, scope: Scope) -> AsyncIterator[None]:
        """Wait to parse a large message: one at a time in the process, in turn by owner.

        Raises:
            SocketClosed: the wait takes too long.
        """
        try:
            async with self._parsing.slot(self.identify(scope), PARSE_WAIT_SECONDS):
                await asyncio.sleep(0)
                yield
        except Overloaded as error:
            raise SocketClosed(CloseCode.TRY_AGAIN_LATER, error.detail) from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket from its handshake to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            check_origin(scope, self._origins)
            credential = credential_name(scope)
            socket = self.admission.admit(client_address(scope) if credential is None else None, credential)
        except DirectoryError as error:
            await refuse(error, scope, send)
            return
        try:
            await Session(self, socket, scope, receive, send).run()
        finally:
            self.admission.remove(socket)


def websocket_routes(handler: WebSocketHandler) -> list[WebSocketRoute]:
    """The route of GraphQL over WebSocket, and one that refuses all other paths."""
    return [WebSocketRoute(PATH, handler), WebSocketRoute("/{path:path}", _NotFoundHandler())]


class _NotFoundHandler:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] == "websocket.connect":
            await refuse(NotFound(f"there is no WebSocket at {scope['path'][:200]}"), scope, send)
