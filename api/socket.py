"""GraphQL over WebSocket, subprotocol `graphql-transport-ws`: who is let in, what runs at a time, when it ends.

Operations go to the executor of the HTTP door, so limits, access and answers are the same. Every way to the end of a
socket is an exception in its group of tasks: whoever raises it, the others are cancelled before the close frame goes.
https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Hashable
from typing import NoReturn

from starlette.routing import WebSocketRoute
from starlette.types import Message as Frame
from starlette.types import Receive, Scope, Send

from api import messages
from api.answer import WAIT_SECONDS
from api.handshake import check_origin, introduced, refuse
from api.messages import Closing, Complete, Init, Message, Ping, Subscribe
from api.owner import identifier
from api.rest.problems import PayloadTooLarge, TooManyRequests
from schema.engine.errors import DirectoryError, Forbidden, Overloaded, Unauthenticated
from schema.engine.gate import Place
from schema.engine.policy import Actor
from schema.graphql.execution import Executor, Request
from schema.graphql.failures import INTERNAL, RequestRefused, told

PROTOCOL = "graphql-transport-ws"
AT_A_TIME = 20
INIT_SECONDS = 5.0
# With what `authenticate` remembers, a socket outlives its credential by 5 s at most.
CHECK_SECONDS = 1.0
# So long may the other side leave unread what it asked for.
SEND_SECONDS = 20.0
Authenticate = Callable[[Scope], Awaitable[Actor]]
log = logging.getLogger("tandem.socket")


class Gone(Exception):
    """The other side is not there any more."""


class SocketDoor:
    """`/graphql` for WebSockets; `sockets` may be open at a time.

    `paid` is `authenticate` where points are counted: for the beginning and for each operation.
    """

    def __init__(
        self,
        executor: Executor,
        authenticate: Authenticate,
        *,
        paid: Authenticate | None = None,
        sockets: int,
        origins: Collection[str] = (),
        document_limit: int = 128 * 1024,
        init_seconds: float = INIT_SECONDS,
        check_seconds: float = CHECK_SECONDS,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self.executor = executor
        self.authenticate = authenticate
        self.paid = paid or authenticate
        self.identify = identifier(authenticate)
        self.document_limit = document_limit
        self.init_seconds = init_seconds
        self.check_seconds = check_seconds
        self.send_seconds = send_seconds
        self.open = 0
        self._sockets = sockets
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, from its handshake to its end."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            check_origin(scope, self._origins)
            if self.open >= self._sockets:
                raise Overloaded("too many WebSockets are open")
        except DirectoryError as error:
            await refuse(error, scope, send)
            return
        self.open += 1
        try:
            await _Socket(self, scope, receive, send).run()
        finally:
            self.open -= 1


def socket_route(door: SocketDoor) -> WebSocketRoute:
    """The one path of this door."""
    return WebSocketRoute("/graphql", door)


class _Socket:
    def __init__(self, door: SocketDoor, scope: Scope, receive: Receive, send: Send) -> None:
        self._door = door
        self._scope = scope
        self._receive = receive
        self._send = send
        self._running: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._owner: Hashable = None

    async def run(self) -> None:
        """Serve until either side has had enough."""
        end: Closing | None = None
        try:
            await self._live()
        except* Gone:
            pass
        except* Closing as several:
            end = next(error for error in several.exceptions if isinstance(error, Closing))
        except* Exception:
            log.exception("a socket failed")
            end = Closing(messages.INTERNAL, "Internal server error")
        if end is not None:
            with contextlib.suppress(Gone):
                await self._pass({"type": "websocket.close", "code": end.code, "reason": end.reason})

    async def _live(self) -> NoReturn:
        agreed = PROTOCOL if PROTOCOL in self._scope["subprotocols"] else None
        await self._pass({"type": "websocket.accept", "subprotocol": agreed})
        if agreed is None:
            raise Closing(messages.SUBPROTOCOL, "Subprotocol not acceptable")
        init = await self._init()
        try:
            self._scope = introduced(self._scope, init.payload)
        except Unauthenticated:
            raise Closing(messages.FORBIDDEN, "Forbidden") from None
        try:
            await self._actor(self._door.paid, scope := dict(self._scope))
            self._owner = self._door.identify(scope)
        except TooManyRequests as error:
            raise Closing(messages.TRY_AGAIN, error.title) from error
        await self._say(messages.ACKNOWLEDGEMENT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            while True:
                await self._heed(await self._next(), group)

    async def _init(self) -> Init:
        """The message that begins it all; before it, nothing may be asked for."""
        try:
            async with asyncio.timeout(self._door.init_seconds):
                while True:
                    match await self._next(messages.LARGEST_BEFORE):
                        case Init() as init:
                            return init
                        case Ping(payload):
                            await self._say(messages.pong(payload))
                        case Subscribe():
                            raise Closing(messages.UNAUTHORIZED, "Unauthorized")
        except TimeoutError:
            raise Closing(messages.LATE, "Connection initialisation timeout") from None

    async def _watch(self) -> NoReturn:
        """See to it that the credential is still good."""
        while True:
            await asyncio.sleep(self._door.check_seconds)
            await self._actor(self._door.authenticate, self._scope)

    async def _heed(self, message: Message, group: asyncio.TaskGroup) -> None:
        match message:
            case Init():
                raise Closing(messages.TOO_MANY, "Too many initialisation requests")
            case Ping(payload):
                await self._say(messages.pong(payload))
            case Complete(id):
                if task := self._running.pop(id, None):
                    task.cancel()
            case Subscribe(id, request):
                if id in self._running:
                    raise Closing(messages.TAKEN, f"Subscriber for {id} already exists")
                # Where there is no room, this waits, and all that the other side sends waits unread behind it.
                await self._room.acquire()
                task = self._running[id] = group.create_task(self._serve(id, request))
                task.add_done_callback(lambda _: self._room.release())

    async def _serve(self, id: str, request: Request) -> None:
        """Run an operation, and tell what came of it, unless nobody waits for it any more."""
        try:
            async with contextlib.aclosing(self._answers(request)) as answers:
                async for answer in answers:
                    await self._say(messages.following(id, answer))
            last = messages.completed(id)
        except (Closing, Gone):
            raise
        except RequestRefused as error:
            last = messages.failed(id, error.errors)
        except DirectoryError as error:
            last = messages.failed(id, [{"message": error.detail, "extensions": told(error)}])
        except Exception:
            log.exception("an operation failed")
            last = messages.failed(id, [{"message": INTERNAL, "extensions": {"code": "INTERNAL", "errors": []}}])
        # Its id is free again as soon as the other side hears that it is over.
        self._running.pop(id, None)
        await self._say(last)

    async def _answers(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Those of an operation: of a query or mutation, one."""
        if len(request.query.encode()) > self._door.document_limit:
            raise PayloadTooLarge(f"a document may have {self._door.document_limit} bytes")
        yield await self._run(request)

    async def _run(self, request: Request) -> bytes:
        """Its answer, once there is a place for it among all that runs, and it is paid for."""
        scope = dict(self._scope)
        state = scope["app"].state
        place = Place(self._owner)
        await state.gate.enter(place, WAIT_SECONDS)
        try:
            actor = await self._actor(self._door.paid, scope)
            return await self._door.executor.run(request, state.directory, actor, spend=scope.get("spend"))
        finally:
            state.gate.leave(place)

    async def _actor(self, authenticate: Authenticate, scope: Scope) -> Actor:
        """Who asks, as of now; the socket ends where that cannot be said."""
        try:
            return await authenticate(scope)
        except TooManyRequests:
            raise
        except (Unauthenticated, Forbidden):
            raise Closing(messages.FORBIDDEN, "Forbidden") from None
        except DirectoryError as error:
            raise Closing(messages.TRY_AGAIN, error.title) from error

    async def _next(self, most: int = messages.LARGEST) -> Message:
        # A frame may lie ready, and then the next: others have to have their turn in between.
        await asyncio.sleep(0)
        frame = await self._receive()
        if frame["type"] == "websocket.disconnect":
            raise Gone
        return messages.read(frame, most)

    async def _say(self, text: str) -> None:
        await self._pass({"type": "websocket.send", "text": text})

    async def _pass(self, frame: Frame) -> None:
        """Send a frame; `Gone` where nobody takes it."""
        try:
            async with asyncio.timeout(self._door.send_seconds):
                await self._send(frame)
        except OSError as error:
            raise Gone from error
