"""One `graphql-transport-ws` session: initialisation, running operations, charging messages, and the end.

Operations run in the same executor as over HTTP, so that limits, access and responses are the same. Every end of a
socket is an exception in its task group, which cancels all tasks before the close frame is sent.
https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

from starlette.types import Message as Frame
from starlette.types import Receive, Scope, Send

from api.graphql.websocket import messages
from api.graphql.websocket.admission import OpenSocket
from api.graphql.websocket.handshake import MESSAGE_SIZE, request_scope
from api.graphql.websocket.messages import CloseCode, Complete, ConnectionInit, Message, Ping, SocketClosed, Subscribe
from api.http.client_identity import credential_name
from api.http.concurrency import WAIT_SECONDS
from api.http.problem_details import PayloadTooLarge, TooManyRequests
from api.http.request_cost import POINT_BYTES, cost_of_size, text_size
from schema.engine.errors import DirectoryError, Forbidden, Unauthenticated
from schema.engine.model.policy import Actor
from schema.graphql.execution.errors import INTERNAL_ERROR, GraphQLRequestError, directory_error
from schema.graphql.execution.executor import GraphQLRequest

if TYPE_CHECKING:
    from api.graphql.websocket.handler import WebSocketHandler

PROTOCOL = "graphql-transport-ws"
MAX_CONCURRENT_OPERATIONS = 20
# How long a client may leave a message unread on a socket that is not initialised.
UNINITIALISED_SEND_SECONDS = 1.0
log = logging.getLogger("tandem.socket")


class Disconnected(Exception):
    """The client has closed the socket, or the connection is lost."""


class Session:
    """One socket, from its handshake to its end."""

    def __init__(
        self, handler: WebSocketHandler, socket: OpenSocket, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._handler = handler
        self._socket = socket
        self._send_seconds = UNINITIALISED_SEND_SECONDS
        self._scope = scope
        self._receive = receive
        self._send = send
        self._running: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_OPERATIONS)

    async def run(self) -> None:
        """Serve until either side closes the socket."""
        end: SocketClosed | None = None
        try:
            await self._serve()
        except* Disconnected:
            pass
        except* SocketClosed as errors:
            end = next(error for error in errors.exceptions if isinstance(error, SocketClosed))
        except* Exception:
            log.exception("a socket failed")
            end = SocketClosed(CloseCode.INTERNAL_SERVER_ERROR, "Internal server error")
        if end is not None:
            with contextlib.suppress(Disconnected):
                await self._send_frame({"type": "websocket.close", "code": end.code, "reason": end.reason})

    async def _serve(self) -> NoReturn:
        await self._initialise()
        await self._send_text(messages.CONNECTION_ACK)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check_credential())
            while True:
                await self._handle_message(group)

    async def _initialise(self) -> None:
        """Accept the handshake, and wait for a valid `connection_init`, for `init_seconds` in all."""
        initialised = False
        try:
            async with asyncio.timeout(self._handler.init_seconds) as self._socket.deadline:
                await self._accept()
                init = await self._receive_init()
                initialised = True
                self._scope = request_scope(self._scope, init.payload)
                await self._authenticate()
        except Unauthenticated:
            raise SocketClosed(CloseCode.FORBIDDEN, "Forbidden") from None
        except TimeoutError:
            if self._socket.evicted or initialised:
                raise SocketClosed(CloseCode.TRY_AGAIN_LATER, "Try again later") from None
            raise SocketClosed(CloseCode.INITIALISATION_TIMEOUT, "Connection initialisation timeout") from None
        finally:
            self._socket.deadline = None
        self._limit_messages(messages.MAX_SIZE)
        try:
            self._handler.admission.initialise(self._socket, credential_name(self._scope))
        except TooManyRequests as error:
            raise SocketClosed(CloseCode.TRY_AGAIN_LATER, error.detail) from None
        self._send_seconds = self._handler.send_seconds

    async def _accept(self) -> None:
        subprotocol = PROTOCOL if PROTOCOL in self._scope["subprotocols"] else None
        self._limit_messages(messages.MAX_SIZE_BEFORE_ACK)
        headers = list(self._scope.get("response_headers", ()))
        await self._send_frame({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})
        if subprotocol is None:
            raise SocketClosed(CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")

    def _limit_messages(self, max_size: int) -> None:
        """Let the server close the socket at a larger message, before it is complete. Other servers read it first."""
        set_limit = self._scope.get("extensions", {}).get(MESSAGE_SIZE)
        if set_limit is not None:
            set_limit(max_size)

    async def _receive_init(self) -> ConnectionInit:
        """Wait for `connection_init`; before it, no operation may be requested."""
        while True:
            frame, _, refusal = await self._receive_charged()
            if refusal is not None:
                raise SocketClosed(CloseCode.TRY_AGAIN_LATER, refusal.title)
            match await self._parse(frame, messages.MAX_SIZE_BEFORE_ACK):
                case ConnectionInit() as init:
                    return init
                case Ping(payload):
                    await self._send_text(messages.pong(payload))
                case Subscribe():
                    raise SocketClosed(CloseCode.UNAUTHORIZED, "Unauthorized")

    async def _check_credential(self) -> NoReturn:
        """End the socket when its credential is no longer valid."""
        while True:
            await asyncio.sleep(self._handler.check_seconds)
            await self._authenticate()

    async def _handle_message(self, group: asyncio.TaskGroup) -> None:
        """Handle one message. If the rate limit refuses an operation, it gets an error; all else ends the socket."""
        frame, scope, refusal = await self._receive_charged()
        if refusal is not None and _size(frame) > POINT_BYTES:
            raise SocketClosed(CloseCode.TRY_AGAIN_LATER, refusal.title)
        match await self._parse(frame):
            case Subscribe(id) if refusal is not None and id not in self._running:
                await self._send_text(messages.error_message(id, [directory_error(refusal)]))
            case _ if refusal is not None:
                raise SocketClosed(CloseCode.TRY_AGAIN_LATER, refusal.title)
            case ConnectionInit():
                raise SocketClosed(CloseCode.TOO_MANY_INITIALISATION_REQUESTS, "Too many initialisation requests")
            case Ping(payload):
                await self._send_text(messages.pong(payload))
            case Complete(id):
                if task := self._running.pop(id, None):
                    task.cancel()
            case Subscribe(id, request):
                if id in self._running:
                    raise SocketClosed(CloseCode.SUBSCRIBER_EXISTS, f"Subscriber for {id} already exists")
                # While no slot is free, further messages stay unread.
                await self._slots.acquire()
                task = self._running[id] = group.create_task(self._run_operation(id, request, scope))
                task.add_done_callback(lambda _: self._slots.release())

    async def _run_operation(self, id: str, request: GraphQLRequest, scope: Scope) -> None:
        """Run an operation, and send its response."""
        try:
            await self._send_text(messages.next_message(id, await self._execute(request, scope)))
            last = messages.complete_message(id)
        except (SocketClosed, Disconnected):
            raise
        except GraphQLRequestError as error:
            last = messages.error_message(id, error.errors)
        except DirectoryError as error:
            last = messages.error_message(id, [directory_error(error)])
        except Exception:
            log.exception("an operation failed")
            last = messages.error_message(id, [INTERNAL_ERROR])
        # The client may use the id again as soon as it receives this.
        self._running.pop(id, None)
        await self._send_text(last)

    async def _execute(self, request: GraphQLRequest, scope: Scope) -> bytes:
        """Run an operation within the limit on concurrent requests."""
        if len(request.query.encode()) > self._handler.document_limit:
            raise PayloadTooLarge(f"the document must have at most {self._handler.document_limit} bytes")
        state = scope["app"].state
        async with state.concurrency_limit.slot(self._handler.identify(scope), WAIT_SECONDS):
            actor, charge = await self._authenticate(), scope.get("charge_mutations")
            return await self._handler.executor.run(request, state.directory, actor, charge_mutations=charge)

    async def _authenticate(self) -> Actor:
        """The actor as of now; ends the socket if the credential is not valid."""
        try:
            return await self._handler.authenticate(self._scope)
        except (Unauthenticated, Forbidden):
            raise SocketClosed(CloseCode.FORBIDDEN, "Forbidden") from None
        except DirectoryError as error:
            raise SocketClosed(CloseCode.TRY_AGAIN_LATER, error.title) from error

    async def _receive_charged(self) -> tuple[Frame, Scope, TooManyRequests | None]:
        """Receive and charge a message: the frame, the scope that it was charged in, and the refusal, if any."""
        # Frames may be ready one after another: let other tasks run in between.
        await asyncio.sleep(0)
        frame = await self._receive()
        if frame["type"] == "websocket.disconnect":
            raise Disconnected
        scope = dict(self._scope)
        try:
            await self._handler.rates.charge(scope, cost_of_size(_size(frame)))
        except TooManyRequests as refusal:
            return frame, scope, refusal
        return frame, scope, None

    async def _parse(self, frame: Frame, max_size: int = messages.MAX_SIZE) -> Message:
        """Parse a frame; a large one in turn with those of other owners."""
        if _size(frame) <= POINT_BYTES:
            return messages.parse_message(frame, max_size)
        async with self._handler.parsing_turn(self._scope):
            return messages.parse_message(frame, max_size)

    async def _send_text(self, text: str) -> None:
        await self._send_frame({"type": "websocket.send", "text": text})

    async def _send_frame(self, frame: Frame) -> None:
        """Send a frame; raises `Disconnected` if the connection is lost or the client does not read it in time."""
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._send(frame)
        except OSError as error:
            raise Disconnected from error


def _size(frame: Frame) -> int:
    text = frame.get("text")
    return len(frame.get("bytes") or b"") if text is None else text_size(text)
