"""One `graphql-transport-ws` session: how it is initialised, what runs at a time, what it pays, when it ends.

Operations go to the executor of the HTTP door, so limits, access and answers are the same. Every way to the end of a
socket is an exception in its group of tasks: whoever raises it, the others are cancelled before the close frame goes.
https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from starlette.types import Message as Frame
from starlette.types import Receive, Scope, Send

from api.graphql.websocket import messages
from api.graphql.websocket.admission import Opening
from api.graphql.websocket.handshake import MESSAGE_SIZE, introduced
from api.graphql.websocket.messages import Closing, Complete, Init, Message, Ping, Subscribe
from api.http.problem_details import PayloadTooLarge, TooManyRequests
from api.middleware.client_identity import credential_name
from api.middleware.request_cost import POINT_BYTES, cost_of_size, text_size
from api.middleware.response import WAIT_SECONDS
from schema.engine.errors import DirectoryError, Forbidden, Unauthenticated
from schema.engine.model.policy import Actor
from schema.graphql.execution.errors import INTERNAL, RequestRefused, graphql_error
from schema.graphql.execution.executor import Request

if TYPE_CHECKING:
    from api.graphql.websocket.handler import WebSocketHandler

PROTOCOL = "graphql-transport-ws"
AT_A_TIME = 20
# How long what is sent may wait on a socket that was never initialised.
UNINITIALISED_SEND_SECONDS = 1.0
log = logging.getLogger("tandem.socket")


class Gone(Exception):
    """The other side is not there any more."""


class Session:
    """One socket, from its handshake to its end."""

    def __init__(self, door: WebSocketHandler, opening: Opening, scope: Scope, receive: Receive, send: Send) -> None:
        self._door = door
        self._opening = opening
        self._send_seconds = UNINITIALISED_SEND_SECONDS
        self._scope = scope
        self._receive = receive
        self._send = send
        self._running: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_A_TIME)

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
        await self._initialise()
        await self._say(messages.ACKNOWLEDGEMENT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            while True:
                await self._heed(group)

    async def _initialise(self) -> None:
        """Accept the handshake, and wait for a valid `connection_init`. All of it has `init_seconds`."""
        begun = False
        try:
            async with asyncio.timeout(self._door.init_seconds) as self._opening.deadline:
                await self._accept()
                init = await self._init()
                begun = True
                self._scope = introduced(self._scope, init.payload)
                await self._authenticate()
        except Unauthenticated:
            raise Closing(messages.FORBIDDEN, "Forbidden") from None
        except TimeoutError:
            if self._opening.evicted or begun:
                raise Closing(messages.TRY_AGAIN, "Try again later") from None
            raise Closing(messages.LATE, "Connection initialisation timeout") from None
        finally:
            self._opening.deadline = None
        self._bound_messages(messages.LARGEST)
        try:
            self._door.admission.initialised(self._opening, credential_name(self._scope))
        except TooManyRequests as refusal:
            raise Closing(messages.TRY_AGAIN, refusal.detail) from None
        self._send_seconds = self._door.send_seconds

    async def _accept(self) -> None:
        agreed = PROTOCOL if PROTOCOL in self._scope["subprotocols"] else None
        headers = {"headers": list(given)} if (given := self._scope.get("response_headers")) else {}
        self._bound_messages(messages.LARGEST_BEFORE)
        await self._pass({"type": "websocket.accept", "subprotocol": agreed, **headers})
        if agreed is None:
            raise Closing(messages.SUBPROTOCOL, "Subprotocol not acceptable")

    def _bound_messages(self, most: int) -> None:
        """Have the server end the socket at a larger message, before it is all there. Other servers read it first."""
        bound = self._scope.get("extensions", {}).get(MESSAGE_SIZE)
        if bound is not None:
            bound(most)

    async def _init(self) -> Init:
        """The message that begins it all; before it, nothing may be asked for."""
        while True:
            frame, _, refusal = await self._next()
            if refusal is not None:
                raise Closing(messages.TRY_AGAIN, refusal.title)
            match await self._read(frame, messages.LARGEST_BEFORE):
                case Init() as init:
                    return init
                case Ping(payload):
                    await self._say(messages.pong(payload))
                case Subscribe():
                    raise Closing(messages.UNAUTHORIZED, "Unauthorized")

    async def _watch(self) -> NoReturn:
        """See to it that the credential is still good."""
        while True:
            await asyncio.sleep(self._door.check_seconds)
            await self._authenticate()

    async def _heed(self, group: asyncio.TaskGroup) -> None:
        """Do as the next message says. Without points, an operation is answered with an error; all else is the end."""
        frame, scope, refusal = await self._next()
        if refusal is not None and _size(frame) > POINT_BYTES:
            raise Closing(messages.TRY_AGAIN, refusal.title)
        match await self._read(frame):
            case Subscribe(id) if refusal is not None and id not in self._running:
                await self._say(messages.failed(id, [_told(refusal)]))
            case _ if refusal is not None:
                raise Closing(messages.TRY_AGAIN, refusal.title)
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
                task = self._running[id] = group.create_task(self._serve(id, request, scope))
                task.add_done_callback(lambda _: self._room.release())

    async def _serve(self, id: str, request: Request, scope: Scope) -> None:
        """Run an operation, and tell what came of it, unless nobody waits for it any more."""
        try:
            async with contextlib.aclosing(self._answers(request, scope)) as answers:
                async for answer in answers:
                    await self._say(messages.following(id, answer))
            last = messages.completed(id)
        except (Closing, Gone):
            raise
        except RequestRefused as error:
            last = messages.failed(id, error.errors)
        except DirectoryError as error:
            last = messages.failed(id, [_told(error)])
        except Exception:
            log.exception("an operation failed")
            last = messages.failed(id, [{"message": INTERNAL, "extensions": {"code": "INTERNAL", "errors": []}}])
        # Its id is free again as soon as the other side hears that it is over.
        self._running.pop(id, None)
        await self._say(last)

    async def _answers(self, request: Request, scope: Scope) -> AsyncGenerator[bytes, None]:
        """Those of an operation: of a query or mutation, one."""
        if len(request.query.encode()) > self._door.document_limit:
            raise PayloadTooLarge(f"a document may have {self._door.document_limit} bytes")
        yield await self._run(request, scope)

    async def _run(self, request: Request, scope: Scope) -> bytes:
        """Its answer, once there is a place for it among all that runs."""
        state = scope["app"].state
        async with state.concurrency_limit.hold(self._door.identify(scope), WAIT_SECONDS):
            actor = await self._authenticate()
            return await self._door.executor.run(request, state.directory, actor, spend=scope.get("charge_mutations"))

    async def _authenticate(self) -> Actor:
        """Who asks, as of now; the socket ends where that cannot be said."""
        try:
            return await self._door.authenticate(self._scope)
        except (Unauthenticated, Forbidden):
            raise Closing(messages.FORBIDDEN, "Forbidden") from None
        except DirectoryError as error:
            raise Closing(messages.TRY_AGAIN, error.title) from error

    async def _next(self) -> tuple[Frame, Scope, TooManyRequests | None]:
        """The next message unread, the scope that it was charged in, and why it cannot be paid for, if it cannot."""
        # A frame may lie ready, and then the next: others have to have their turn in between.
        await asyncio.sleep(0)
        frame = await self._receive()
        if frame["type"] == "websocket.disconnect":
            raise Gone
        scope = dict(self._scope)
        try:
            await self._door.rates.charge(scope, cost_of_size(_size(frame)))
        except TooManyRequests as refusal:
            return frame, scope, refusal
        return frame, scope, None

    async def _read(self, frame: Frame, most: int = messages.LARGEST) -> Message:
        """The message in a frame; a large one when it is its owner's turn."""
        if _size(frame) <= POINT_BYTES:
            return messages.read(frame, most)
        async with self._door.turn(self._scope):
            return messages.read(frame, most)

    async def _say(self, text: str) -> None:
        await self._pass({"type": "websocket.send", "text": text})

    async def _pass(self, frame: Frame) -> None:
        """Send a frame; `Gone` where nobody takes it."""
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._send(frame)
        except OSError as error:
            raise Gone from error


def _told(error: DirectoryError) -> Mapping[str, Any]:
    """An error as GraphQL has it."""
    return {"message": error.detail, "extensions": graphql_error(error)}


def _size(frame: Frame) -> int:
    text = frame.get("text")
    return len(frame.get("bytes") or b"") if text is None else text_size(text)
