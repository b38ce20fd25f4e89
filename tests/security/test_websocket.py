"""A WebSocket keeps to its protocol, its limits and its actor's rights; every violation has its close code.

Most tests pass frames to the handler directly, so that nothing depends on the speed of a network; the last use a real
server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Scope
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.app import create_app
from api.graphql.websocket.handler import WebSocketHandler
from api.graphql.websocket.handshake import check_origin
from api.graphql.websocket.messages import MAX_SIZE
from api.graphql.websocket.session import MAX_CONCURRENT_OPERATIONS, PROTOCOL
from api.http.concurrency import request_limit
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.errors import DatabaseUnavailable, Forbidden, InvalidCredential
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import Executor
from schema.graphql.schema import make_schema
from schema.models import MODELS, User
from tests.conftest import populate, settings_for
from tests.fixtures.clients import ADMIN, READER

INIT = {"type": "connection_init"}
ACK = {"type": "connection_ack"}
CREATE = 'mutation { createUser(input: {firstName: "Ada", age: 36}) { user { firstName } } }'
CREATED = {"createUser": {"user": {"firstName": "Ada"}}}
URL = "ws://127.0.0.1:8000/graphql"
SAFE = 5.0
# The extension of a server that can refuse a handshake with a response.
DENIAL_RESPONSE: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


def subscribe(id: str = "1", query: str = "{ __typename }", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "subscribe", "payload": {"query": query, **more}}


def response(id: str = "1", **data: Any) -> dict[str, Any]:
    return {"id": id, "type": "next", "payload": {"data": data}}


def complete(id: str = "1") -> dict[str, Any]:
    return {"id": id, "type": "complete"}


TYPENAME = response(__typename="Query")


@cache
def executor() -> Executor:
    return Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))


class FakeAuthenticator:
    """Authenticates every request as `actor`, or raises `error`; waits while `allowed` is cleared."""

    def __init__(self, actor: Actor = ADMIN) -> None:
        self.actor = actor
        self.error: Exception | None = None
        self.seen: list[Scope] = []
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.waiting = 0

    async def __call__(self, scope: Scope) -> Actor:
        self.seen.append(scope)
        self.waiting += 1
        try:
            await self.allowed.wait()
        finally:
            self.waiting -= 1
        if self.error:
            raise self.error
        return self.actor


class Peer:
    """The client's end of a socket."""

    def __init__(
        self,
        handler: WebSocketHandler,
        directory: Directory,
        *,
        unread: int = 0,
        concurrency_limit: ConcurrencyLimit | None = None,
        **scope: Any,
    ) -> None:
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received: asyncio.Queue[Any] = asyncio.Queue(unread)
        self.frames.put_nowait({"type": "websocket.connect"})
        limit = concurrency_limit or request_limit(64)
        defaults = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/graphql",
            "headers": [(b"host", b"localhost")],
            "subprotocols": [PROTOCOL],
            "client": ("127.0.0.1", 50000),
            "app": SimpleNamespace(state=SimpleNamespace(directory=directory, concurrency_limit=limit)),
        }
        self.task = asyncio.create_task(self._run(handler, {**defaults, **scope}))

    async def _run(self, handler: WebSocketHandler, scope: Scope) -> None:
        await handler(scope, self.frames.get, self.received.put)
        if not self.received.full():
            self.received.put_nowait({"type": "ended"})

    def send(self, *sent: Any) -> None:
        for message in sent:
            text = message if isinstance(message, str) else json.dumps(message)
            self.frames.put_nowait({"type": "websocket.receive", "text": text})

    def disconnect(self) -> None:
        self.frames.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def receive(self) -> Any:
        """The next message, or the frame if it is no message."""
        async with asyncio.timeout(SAFE):
            frame = await self.received.get()
        return json.loads(frame["text"]) if frame["type"] == "websocket.send" else frame

    async def receive_all(self, count: int) -> list[Any]:
        return [await self.receive() for _ in range(count)]

    async def close_code(self) -> int:
        """The code that the socket is closed with, after any messages; asserts that nothing follows."""
        while (frame := await self.receive()).get("type") != "websocket.close":
            assert frame["type"] != "ended", "it was not closed"
        assert (await self.receive())["type"] == "ended"
        return int(frame["code"])


OpenSocket = Callable[..., Peer]


@pytest.fixture
async def authenticator() -> FakeAuthenticator:
    return FakeAuthenticator()


@pytest.fixture
async def open_socket(directory: Directory, authenticator: FakeAuthenticator) -> AsyncIterator[OpenSocket]:
    """Opens sockets; asserts at the end that none of their tasks is left."""
    peers: list[Peer] = []

    def opened(handler: WebSocketHandler | None = None, **scope: Any) -> Peer:
        peers.append(Peer(handler or WebSocketHandler(executor(), authenticator, sockets=10), directory, **scope))
        return peers[-1]

    yield opened
    for peer in peers:
        peer.disconnect()
    async with asyncio.timeout(SAFE):
        await asyncio.gather(*(peer.task for peer in peers))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def peer(open_socket: OpenSocket) -> Peer:
    """A socket that has been acknowledged."""
    opened = open_socket()
    opened.send(INIT)
    assert (await opened.receive()) == {"type": "websocket.accept", "subprotocol": PROTOCOL, "headers": []}
    assert (await opened.receive()) == ACK
    return opened


# Responses.


@pytest.mark.parametrize(
    "query, more, data",
    [
        ("{ __typename }", {}, {"__typename": "Query"}),
        ("query A { __typename } query B { b: __typename }", {"operationName": "B"}, {"b": "Query"}),
        ("query($x: Boolean!) { __typename @skip(if: $x) a: __typename }", {"variables": {"x": True}}, {"a": "Query"}),
        ("{ __typename }", {"variables": None, "operationName": None, "extensions": None}, {"__typename": "Query"}),
        ("{ users { nodes { firstName } } }", {}, {"users": {"nodes": []}}),
        (CREATE, {}, CREATED),
    ],
)
async def test_a_query_or_mutation_gets_one_response(peer, query, more, data):
    peer.send(subscribe(query=query, **more))

    assert await peer.receive_all(2) == [response(**data), complete()]


@pytest.mark.parametrize(
    "query, code",
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { users { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query($id: ID!) { user(id: $id) { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ " + " ".join(f"a{i}: __typename" for i in range(100)) + " }", "QUERY_TOO_COMPLEX"),
        ("{ __typename }" + " " * 128 * 1024, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_a_request_error_leaves_the_socket_open(peer, query, code):
    peer.send(subscribe(query=query), subscribe("2"))

    received = {message["type"]: message for message in await peer.receive_all(3)}

    assert received["error"]["id"] == "1"
    assert [error["extensions"]["code"] for error in received["error"]["payload"]] == [code]
    assert received["next"] == {**TYPENAME, "id": "2"}


async def test_field_errors_are_part_of_the_response(peer, authenticator):
    authenticator.actor = READER
    peer.send(subscribe(query=CREATE))

    message, end = await peer.receive_all(2)

    assert (message["type"], end) == ("next", complete())
    assert [error["extensions"]["code"] for error in message["payload"]["errors"]] == ["FORBIDDEN"]


async def test_each_operation_is_authenticated_again(peer, authenticator):
    outcomes = []
    for authenticator.actor in (ADMIN, READER):
        peer.send(subscribe(query=CREATE))
        outcomes += [message["payload"]["data"] for message in await peer.receive_all(2) if message["type"] == "next"]

    assert outcomes == [CREATED, None]


async def test_concurrent_operations_are_told_apart_by_id(peer):
    ids = [str(number) for number in range(MAX_CONCURRENT_OPERATIONS)]
    peer.send(*(subscribe(id) for id in ids))

    received = await peer.receive_all(2 * len(ids))

    assert sorted(m["id"] for m in received if m["type"] == "next") == sorted(ids)
    assert sorted(m["id"] for m in received if m["type"] == "complete") == sorted(ids)


async def test_an_id_may_be_used_again_after_complete(peer):
    for _ in range(3):
        peer.send(subscribe())
        assert await peer.receive_all(2) == [TYPENAME, complete()]


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {"a": [1]}}])
async def test_a_pong_carries_the_payload_of_the_ping(open_socket, payload):
    """Also before the socket is acknowledged."""
    peer = open_socket()
    peer.send({"type": "ping", **payload}, {"type": "pong", **payload}, INIT, {"type": "ping", **payload})

    _, first, ack, second = await peer.receive_all(4)

    pong = {"type": "pong", **({"payload": payload["payload"]} if payload.get("payload") else {})}
    assert (first, ack, second) == (pong, ACK, pong)


# Messages that end a socket.

VIOLATIONS = [
    ("no JSON", "{", 4400),
    ("nothing", "", 4400),
    ("an array", [INIT], 4400),
    ("null", "null", 4400),
    ("NaN", '{"type": "ping", "payload": {"a": NaN}}', 4400),
    ("a key twice", '{"type": "ping", "type": "ping"}', 4400),
    ("too deep", '{"type": "ping", "payload": {"a": ' + "[" * 40 + "]" * 40 + "}}", 4400),
    ("too many digits", '{"type": "ping", "payload": {"a": ' + "1" * 5000 + "}}", 4400),
    ("a lone surrogate", '{"type": "ping", "payload": {"a": "\\ud800"}}', 4400),
    ("no type", {"id": "1"}, 4400),
    ("an unknown type", {"type": "start"}, 4400),
    ("a type that is no string", {"type": ["ping"]}, 4400),
    ("a message of the server's: ack", ACK, 4400),
    ("a message of the server's: next", TYPENAME, 4400),
    ("a message of the server's: error", {"id": "1", "type": "error", "payload": []}, 4400),
    ("one member too many", {"type": "ping", "token": "x"}, 4400),
    ("a ping with a text", {"type": "ping", "payload": "x"}, 4400),
    ("a pong with a list", {"type": "pong", "payload": []}, 4400),
    ("subscribe without an id", {"type": "subscribe", "payload": {"query": "{ a }"}}, 4400),
    ("subscribe with a number", {"id": 1, "type": "subscribe", "payload": {"query": "{ a }"}}, 4400),
    ("subscribe with an empty id", subscribe(""), 4400),
    ("subscribe without a payload", {"id": "1", "type": "subscribe"}, 4400),
    ("subscribe without a query", {"id": "1", "type": "subscribe", "payload": {}}, 4400),
    ("a query that is no text", {"id": "1", "type": "subscribe", "payload": {"query": 1}}, 4400),
    ("variables in a list", subscribe(variables=[]), 4400),
    ("an operation named 1", subscribe(operationName=1), 4400),
    ("extensions in a text", subscribe(extensions="x"), 4400),
    ("complete without an id", {"type": "complete"}, 4400),
    ("too large", '{"type": "ping", "payload": {"a": "' + "x" * MAX_SIZE + '"}}', 1009),
]


@pytest.mark.parametrize("message, code", [pytest.param(*case[1:], id=case[0]) for case in VIOLATIONS])
@pytest.mark.parametrize("acknowledged", [True, False])
async def test_an_invalid_message_ends_the_socket(open_socket, acknowledged, message, code):
    peer = open_socket()
    peer.send(*([INIT] if acknowledged else []), message)

    assert await peer.close_code() == code


async def test_a_binary_frame_ends_the_socket(peer):
    peer.frames.put_nowait({"type": "websocket.receive", "bytes": json.dumps(subscribe()).encode()})

    assert await peer.close_code() == 4400


@pytest.mark.parametrize("init", [{"payload": "x"}, {"payload": []}, {"payload": 1}])
async def test_an_invalid_init_payload_ends_the_socket(open_socket, init):
    peer = open_socket()
    peer.send({**INIT, **init})

    assert await peer.close_code() == 4400


async def test_an_operation_before_the_acknowledgement_is_unauthorized(open_socket):
    peer = open_socket()
    peer.send(subscribe())

    assert await peer.close_code() == 4401


async def test_a_second_init_ends_the_socket(peer):
    peer.send(INIT)

    assert await peer.close_code() == 4429


async def test_a_missing_init_times_out(open_socket, authenticator):
    peer = open_socket(WebSocketHandler(executor(), authenticator, sockets=1, init_seconds=0.05))
    peer.send({"type": "ping"})

    assert await peer.close_code() == 4408


@pytest.mark.parametrize("offered", [[], ["graphql-ws"], ["graphql-transport-ws2", "GRAPHQL-TRANSPORT-WS"]])
async def test_another_subprotocol_is_not_acceptable(open_socket, offered):
    peer = open_socket(subprotocols=offered)

    assert (await peer.receive()) == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    assert await peer.close_code() == 4406


async def test_the_supported_subprotocol_is_selected(open_socket):
    peer = open_socket(subprotocols=["graphql-ws", PROTOCOL])

    assert (await peer.receive())["subprotocol"] == PROTOCOL


async def test_a_duplicate_id_ends_the_socket(peer, authenticator):
    authenticator.allowed.clear()
    peer.send(subscribe("x" * 500), subscribe("x" * 500))

    frame = await peer.receive()

    assert (frame["code"], frame["reason"][:16]) == (4409, "Subscriber for x")
    assert len(frame["reason"].encode()) <= 123


async def test_an_invalid_credential_is_forbidden(open_socket, authenticator):
    authenticator.error = InvalidCredential("no")
    peer = open_socket()
    peer.send(INIT)

    _, frame = await peer.receive_all(2)

    assert frame == {"type": "websocket.close", "code": 4403, "reason": "Forbidden"}


# Authentication.


@pytest.mark.parametrize(
    "header, payload, seen",
    [
        (None, {}, []),
        (b"Bearer a", {}, [b"Bearer a"]),
        (None, {"Authorization": "Bearer a"}, [b"Bearer a"]),
        (None, {"authorization": " Bearer a "}, [b"Bearer a"]),
        (None, {"AUTHORIZATION": "Bearer a", "other": 1}, [b"Bearer a"]),
        (b"Bearer a", {"authorization": "Bearer a"}, [b"Bearer a"]),
    ],
)
async def test_the_credential_comes_with_the_handshake_or_the_init(open_socket, authenticator, header, payload, seen):
    headers = [(b"host", b"localhost"), *([(b"authorization", header)] if header else [])]
    peer = open_socket(headers=headers)
    peer.send({**INIT, "payload": payload})

    assert (await peer.receive_all(2))[1] == ACK
    assert [value for name, value in authenticator.seen[0]["headers"] if name == b"authorization"] == seen
    assert authenticator.seen[0]["scheme"] == "http"


@pytest.mark.parametrize(
    "header, payload",
    [
        (b"Bearer a", {"Authorization": "Bearer b"}),
        (None, {"Authorization": "Bearer a", "authorization": "Bearer b"}),
        (None, {"Authorization": 1}),
        (None, {"Authorization": None}),
        (None, {"Authorization": "Bearer ä"}),
        (None, {"Authorization": "Bearer a\r\nx: y"}),
    ],
)
async def test_an_ambiguous_or_malformed_credential_is_refused(open_socket, header, payload):
    headers = [(b"host", b"localhost"), *([(b"authorization", header)] if header else [])]
    peer = open_socket(headers=headers)
    peer.send({**INIT, "payload": payload})

    assert await peer.close_code() == 4403


async def test_a_revoked_credential_ends_an_idle_socket(open_socket, authenticator):
    peer = open_socket(WebSocketHandler(executor(), authenticator, sockets=1, check_seconds=0.02))
    peer.send(INIT)
    await peer.receive_all(2)
    authenticator.error = InvalidCredential("revoked")

    assert await peer.close_code() == 4403


async def test_a_revoked_credential_cancels_running_operations(open_socket, authenticator):
    """Running and waiting operations alike: none of them gets a response."""
    peer = open_socket(WebSocketHandler(executor(), authenticator, sockets=1, check_seconds=0.02))
    peer.send(INIT)
    await peer.receive_all(2)
    authenticator.allowed.clear()
    peer.send(*(subscribe(str(number)) for number in range(2 * MAX_CONCURRENT_OPERATIONS)))
    await until(lambda: authenticator.waiting > MAX_CONCURRENT_OPERATIONS)
    authenticator.error = InvalidCredential("revoked")
    authenticator.allowed.set()

    assert (await peer.receive())["code"] == 4403


async def test_the_credential_is_checked_before_each_operation(peer, authenticator):
    authenticator.error = InvalidCredential("revoked")
    peer.send(subscribe(query=CREATE))

    assert await peer.close_code() == 4403


async def test_a_credential_that_cannot_be_checked_is_not_accepted(peer, authenticator):
    authenticator.error = DatabaseUnavailable("down")
    peer.send(subscribe())

    assert await peer.close_code() == 1013


@pytest.mark.parametrize("message", ["init", "operation"])
async def test_an_internal_error_hides_its_cause(open_socket, authenticator, caplog, message):
    peer = open_socket()
    if message == "operation":
        peer.send(INIT)
        await peer.receive_all(2)
    authenticator.error = RuntimeError("secret")
    peer.send(INIT if message == "init" else subscribe())

    received = await peer.receive_all(2 if message == "init" else 1)

    assert "secret" not in json.dumps(received)
    assert received[-1].get("code") == 4500 if message == "init" else received[-1]["type"] == "error"
    assert "secret" in caplog.text


# Limits.


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SAFE):
        while not condition():  # noqa: ASYNC110, because no event signals the condition
            await asyncio.sleep(0.001)


async def test_twenty_operations_run_and_the_rest_stay_unread(peer, authenticator):
    authenticator.allowed.clear()
    peer.send(*(subscribe(str(number)) for number in range(MAX_CONCURRENT_OPERATIONS + 10)))
    await until(lambda: authenticator.waiting == MAX_CONCURRENT_OPERATIONS)
    await asyncio.sleep(0.02)

    unread = peer.frames.qsize()
    authenticator.allowed.set()

    assert (authenticator.waiting, unread) == (MAX_CONCURRENT_OPERATIONS, 9)
    received = await peer.receive_all(2 * (MAX_CONCURRENT_OPERATIONS + 10))
    assert len({message["id"] for message in received}) == MAX_CONCURRENT_OPERATIONS + 10


async def test_a_completed_operation_sends_nothing(peer, authenticator):
    authenticator.allowed.clear()
    peer.send(subscribe("1"), subscribe("2"))
    await until(lambda: authenticator.waiting == 2)
    peer.send(complete("1"), complete("unheard of"))
    await until(lambda: authenticator.waiting == 1)
    authenticator.allowed.set()

    assert await peer.receive_all(2) == [{**TYPENAME, "id": "2"}, complete("2")]
    peer.send(subscribe("1"))
    assert await peer.receive_all(2) == [TYPENAME, complete("1")]


async def test_completing_frees_a_slot(peer, authenticator):
    """Also for operations that have not begun."""
    authenticator.allowed.clear()
    for _ in range(3):
        ids = [str(number) for number in range(MAX_CONCURRENT_OPERATIONS)]
        peer.send(*(subscribe(id) for id in ids), *(complete(id) for id in ids))
    await until(lambda: peer.frames.empty() and not authenticator.waiting)
    authenticator.allowed.set()
    peer.send(subscribe("last"))

    assert [message["id"] for message in await peer.receive_all(2)] == ["last", "last"]


async def initialised(peer: Peer) -> Peer:
    peer.send(INIT)
    assert (await peer.receive_all(2))[1] == ACK
    return peer


async def test_sockets_over_the_limit_are_refused(open_socket, authenticator):
    handler = WebSocketHandler(executor(), authenticator, sockets=2)
    first, _ = [await initialised(open_socket(handler)) for _ in range(2)]

    with_response = open_socket(handler, extensions={"websocket.http.response": {}})
    without = open_socket(handler)

    start, body, _ = await with_response.receive_all(3)
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "OVERLOADED")
    assert dict(start["headers"])[b"retry-after"]
    assert await without.close_code() == 1013
    first.disconnect()
    await first.task
    assert (await open_socket(handler).receive())["type"] == "websocket.accept"


async def test_the_oldest_uninitialised_socket_is_evicted_at_the_limit(open_socket, authenticator):
    handler = WebSocketHandler(executor(), authenticator, sockets=3)
    lasting = await initialised(open_socket(handler))
    idle = [open_socket(handler) for _ in range(2)]
    assert [(await peer.receive())["type"] for peer in idle] == ["websocket.accept"] * 2

    newcomers = [open_socket(handler) for _ in range(2)]

    assert [(await peer.receive())["type"] for peer in newcomers] == ["websocket.accept"] * 2
    for peer in idle:
        assert await peer.receive() == {"type": "websocket.close", "code": 1013, "reason": "Try again later"}
    lasting.send(subscribe())
    assert await lasting.receive_all(2) == [TYPENAME, complete()]
    assert len(handler.admission) == 3


@pytest.mark.slow
async def test_a_socket_whose_initialisation_failed_is_evicted_safely(open_socket, authenticator):
    """Its close frame is still unread."""
    handler = WebSocketHandler(executor(), authenticator, sockets=1, init_seconds=0.01)
    late = open_socket(handler, unread=1)
    await until(lambda: late.received.full() and len(handler.admission) == 1)
    await asyncio.sleep(0.05)

    newcomer = open_socket(handler)

    assert (await newcomer.receive())["type"] == "websocket.accept"


class KnownCredential(FakeAuthenticator):
    """Accepts any credential, under one name."""

    async def __call__(self, scope: Scope) -> Actor:
        if any(name == b"authorization" for name, _ in scope["headers"]):
            scope["credential"] = SimpleNamespace(name="key", rate=None, expires=None)
        return await super().__call__(scope)


async def test_sockets_without_a_credential_are_limited_by_address(open_socket):
    handler = WebSocketHandler(executor(), KnownCredential(), sockets=10, sockets_per_address=2)
    first, _ = [open_socket(handler) for _ in range(2)]
    await until(lambda: len(handler.admission) == 2)

    start, body, _ = await open_socket(handler, **DENIAL_RESPONSE).receive_all(3)
    first.send({**INIT, "payload": {"Authorization": "Bearer a"}})
    await first.receive_all(2)
    others = [open_socket(handler, client=("192.0.2.1", 1)), open_socket(handler)]

    assert (start["status"], json.loads(body["body"])["code"]) == (429, "RATE_LIMITED")
    assert dict(start["headers"])[b"retry-after"] == b"5"
    assert [(await peer.receive())["type"] for peer in others] == ["websocket.accept"] * 2
    assert (await open_socket(handler, **DENIAL_RESPONSE).receive())["status"] == 429


class NamedCredential(FakeAuthenticator):
    """Accepts any credential, and names it by its text."""

    async def __call__(self, scope: Scope) -> Actor:
        for name, value in scope["headers"]:
            if name == b"authorization":
                scope["credential"] = SimpleNamespace(name=value.decode(), rate=None, expires=None)
        return await super().__call__(scope)


async def test_a_credential_leaves_sockets_for_others(open_socket):
    """It has a quarter, and more while fewer than half of all are open."""
    handler = WebSocketHandler(executor(), NamedCredential(), sockets=8, sockets_per_address=2)

    async def ends_with(credential: str) -> list[Any]:
        peer = open_socket(handler)
        peer.send({**INIT, "payload": {"Authorization": credential}})
        return [frame.get("code") for frame in await peer.receive_all(2)]

    busy = [await ends_with("busy") for _ in range(6)]
    others = [await ends_with(other) for other in ("a", "a", "a", "b", "b")]

    assert busy == [[None, None]] * 4 + [[None, 1013]] * 2
    assert others == [[None, None]] * 2 + [[None, 1013]] + [[None, None]] * 2
    assert len(handler.admission) == 8


async def test_a_credential_in_the_handshake_counts_at_once(open_socket):
    handler = WebSocketHandler(executor(), KnownCredential(), sockets=8)
    known = {"credential": SimpleNamespace(name="busy"), "extensions": {"websocket.http.response": {}}}
    peers = [open_socket(handler, **known) for _ in range(4)]
    await until(lambda: len(handler.admission) == 4)

    refused = await open_socket(handler, **known).receive()
    peers[0].disconnect()
    await peers[0].task

    assert refused["status"] == 429
    assert (await open_socket(handler, **known).receive())["type"] == "websocket.accept"


@pytest.mark.parametrize("initialises", [True, False])
async def test_a_socket_without_a_credential_counts_until_it_ends(open_socket, initialises):
    """In development it can be initialised."""
    handler = WebSocketHandler(executor(), KnownCredential(), sockets=10, sockets_per_address=1)
    peer = open_socket(handler)
    if initialises:
        await initialised(peer)
    await until(lambda: len(handler.admission) == 1)

    refused = await open_socket(handler, **DENIAL_RESPONSE).receive()
    peer.disconnect()
    await peer.task

    assert refused["status"] == 429
    assert (await open_socket(handler, **DENIAL_RESPONSE).receive())["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "first, second, same",
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
async def test_addresses_of_one_ipv6_network_share_a_limit(open_socket, authenticator, first, second, same):
    handler = WebSocketHandler(executor(), authenticator, sockets=10, sockets_per_address=1)
    open_socket(handler, client=(first, 1))
    await until(lambda: len(handler.admission) == 1)

    received = await open_socket(handler, client=(second, 1), extensions={"websocket.http.response": {}}).receive()

    assert received.get("status") == (429 if same else None)


@pytest.mark.slow
async def test_a_client_that_reads_nothing_before_the_init_is_disconnected(open_socket, authenticator):
    """Unsent messages do not keep the socket either."""
    handler = WebSocketHandler(executor(), authenticator, sockets=1, init_seconds=0.05)
    peer = open_socket(handler, unread=1)
    peer.send(*[{"type": "ping"}] * 10)
    began = time.monotonic()

    await asyncio.wait_for(peer.task, SAFE)

    assert time.monotonic() - began < SAFE
    assert len(handler.admission) == 0


async def test_a_client_that_sends_continuously_yields_to_others(peer):
    """Although its next frame is always ready."""
    turns = 0
    peer.send(*[{"type": "ping"}] * 500)

    while not peer.frames.empty():
        await asyncio.sleep(0)
        turns += 1

    assert turns >= 500


async def test_large_messages_are_parsed_one_at_a_time(open_socket, authenticator):
    handler, turns = WebSocketHandler(executor(), authenticator, sockets=30), 0
    peers = [await initialised(open_socket(handler)) for _ in range(30)]
    for peer in peers:
        peer.send({"type": "ping", "payload": {"a": "x" * 20_000}})

    while any(peer.received.empty() for peer in peers):
        await asyncio.sleep(0)
        turns += 1

    assert turns >= 30


async def test_large_messages_are_parsed_in_turn_by_owner(open_socket, authenticator):
    handler, large = (
        WebSocketHandler(executor(), authenticator, sockets=50),
        {"type": "ping", "payload": {"a": "x" * 20_000}},
    )
    busy = [await initialised(open_socket(handler, client=("192.0.2.1", 1))) for _ in range(40)]
    other = await initialised(open_socket(handler, client=("192.0.2.2", 1)))
    for peer in busy:
        peer.send(large)
    for peer in (busy[0], other):
        if peer is other:
            other.send(large)
        for _ in range(1000):
            if peer.received.empty():
                await asyncio.sleep(0)

    assert not other.received.empty()
    assert sum(not peer.received.empty() for peer in busy) <= 10


async def test_a_client_that_does_not_read_is_disconnected(open_socket, authenticator):
    """And stops counting."""
    handler = WebSocketHandler(executor(), authenticator, sockets=1, send_seconds=0.05)
    peer = open_socket(handler, unread=3)
    peer.send(INIT, *(subscribe(str(number)) for number in range(10)))

    await until(lambda: len(handler.admission) == 1)
    await until(lambda: len(handler.admission) == 0)

    assert peer.received.qsize() == 3


# Disconnects.


@pytest.mark.parametrize("waits", [0, 1, 2, 3, 5, 8])
@pytest.mark.sqlite  # a pool has tasks of its own, which end by themselves
async def test_a_disconnect_during_a_write_leaves_no_lock(peer, directory, waits):
    """At any moment: the write is committed or not, and the next one succeeds."""
    peer.send(*(subscribe(str(number), CREATE) for number in range(MAX_CONCURRENT_OPERATIONS)))
    for _ in range(waits):
        await asyncio.sleep(0)
    peer.disconnect()
    await asyncio.wait_for(peer.task, SAFE)

    other = await executor().run(request(CREATE), directory, ADMIN)

    assert json.loads(other) == {"data": CREATED}


def request(query: str) -> Any:
    return SimpleNamespace(query=query, variables={}, operation_name=None)


async def test_a_disconnected_socket_is_not_counted(open_socket, authenticator):
    handler = WebSocketHandler(executor(), authenticator, sockets=1)
    for count in range(4):
        peer = open_socket(handler)
        peer.send(*[INIT, subscribe("1"), subscribe("2", CREATE)][:count])
        await peer.receive()
        peer.disconnect()
        await asyncio.wait_for(peer.task, SAFE)

    assert len(handler.admission) == 0


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_types = st.sampled_from(["connection_init", "ping", "pong", "subscribe", "complete", "next", "x"])
_payloads = _json | st.fixed_dictionaries({"query": st.sampled_from(["{ __typename }", "{", CREATE]) | st.text()})
_messages = st.fixed_dictionaries(
    {"type": _types | _json}, optional={"id": st.sampled_from(["1", "2"]) | _json, "payload": _payloads}
)
_frames = st.one_of(
    _messages.map(lambda sent: {"text": json.dumps(sent)}),
    _json.map(lambda sent: {"text": json.dumps(sent)}),
    st.text(max_size=40).map(lambda sent: {"text": sent}),
    st.binary(max_size=10).map(lambda sent: {"bytes": sent}),
)


@given(frames=st.lists(_frames, max_size=12), acknowledged=st.booleans())
@settings(max_examples=150, deadline=None)
@pytest.mark.slow
def test_any_input_ends_the_socket_in_order(template, frames, acknowledged):
    """With a code of the protocol, or at the client's disconnect; never with an internal error."""

    async def run() -> list[Any]:
        async with Directory(str(template)) as directory:
            authenticator = FakeAuthenticator(READER)
            peer = Peer(WebSocketHandler(executor(), authenticator, sockets=1), directory)
            peer.send(*([INIT] if acknowledged else []))
            for frame in frames:
                peer.frames.put_nowait({"type": "websocket.receive", **frame})
            peer.disconnect()
            await asyncio.wait_for(peer.task, SAFE)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return [peer.received.get_nowait() for _ in range(peer.received.qsize())]

    received = asyncio.run(run())

    codes = [frame["code"] for frame in received if frame["type"] == "websocket.close"]
    assert set(codes) <= {4400, 4401, 4409, 4429}
    assert len(codes) <= 1
    assert all("INTERNAL" not in frame.get("text", "") for frame in received)


# The handshake, in the whole application.


@pytest.fixture(scope="module")
def service_with_origin(template: Path) -> TestClient:
    """An application that accepts every request as an administrator, and allows one other origin."""

    async def authenticate(scope: Scope) -> Actor:
        return ADMIN

    return TestClient(create_app(settings_for(template, TANDEM_CORS_ORIGINS="https://app.example.com"), authenticate))


@pytest.mark.parametrize(
    "origin",
    [None, "http://127.0.0.1:8000", "https://127.0.0.1:8000", "https://app.example.com", "HTTPS://APP.example.com"],
)
def test_own_and_listed_origins_may_open_a_socket(service_with_origin, origin):
    headers = {} if origin is None else {"origin": origin}

    with service_with_origin.websocket_connect(URL, [PROTOCOL], headers=headers) as opened:
        assert opened.accepted_subprotocol == PROTOCOL


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1",
        "http://127.0.0.1:8001",
        "http://evil.example.com",
        "https://app.example.com.evil.example.com",
        "http://127.0.0.1:8000, http://evil.example.com",
        "null",
        "",
    ],
)
def test_other_origins_may_not_open_a_socket(service_with_origin, origin):
    opening = service_with_origin.websocket_connect(URL, [PROTOCOL], headers={"origin": origin})

    with pytest.raises(WebSocketDenialResponse) as refused, opening:
        pass

    assert (refused.value.status_code, refused.value.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    "scheme, host, origin, allowed",
    [
        ("ws", "Directory.Example.com", "https://directory.example.com", True),
        ("ws", "directory.example.com", "http://directory.example.com", True),
        ("wss", "directory.example.com", "https://directory.example.com", True),
        ("wss", "directory.example.com", "http://directory.example.com", False),
        ("wss", "directory.example.com:8443", "https://directory.example.com", False),
        ("wss", "", "https://", False),
    ],
)
def test_an_origin_is_own_with_the_same_host_and_no_weaker_scheme(scheme, host, origin, allowed):
    """Behind a proxy that terminates TLS, the scheme is `ws`."""
    scope = {"scheme": scheme, "headers": [(b"host", host.encode()), (b"origin", origin.encode())]}

    with contextlib.nullcontext() if allowed else pytest.raises(Forbidden):
        check_origin(scope, ())


@pytest.mark.parametrize("path", ["/", "/users", "/graphql/", "/health/live", "/nowhere"])
def test_other_paths_refuse_websockets(service, path):
    with pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)), service.websocket_connect(path, [PROTOCOL]):
        pass


def test_production_requires_a_credential(production):
    with production.websocket_connect("/graphql", [PROTOCOL]) as opened:
        opened.send_json(INIT)

        with pytest.raises(WebSocketDisconnect) as ended:
            opened.receive_json()

    assert ended.value.code == 4403


# A real server.


@pytest.fixture(scope="module")
def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[uvicorn.Server, str]]:
    """A real server in development, and its address."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("sockets") / "tandem.db"))
    config = uvicorn.Config(
        create_app(settings_for(path)),
        lifespan="on",
        log_level="critical",
        ws="websockets-sansio",
        ws_max_size=MAX_SIZE,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        try:
            populate(f"http://{address}")
            yield server, address
        finally:
            server.should_exit = True
            thread.join(10)


def call(address: str, **more: Any) -> Any:
    return connect(f"ws://{address}/graphql", subprotocols=[Subprotocol(PROTOCOL)], proxy=None, **more)


@contextlib.contextmanager
def acknowledged(address: str) -> Iterator[ClientConnection]:
    with call(address) as opened:
        opened.send(json.dumps(INIT))
        assert json.loads(opened.recv(SAFE)) == ACK
        yield opened


@pytest.mark.slow
def test_a_real_client_gets_responses(server):
    with acknowledged(server[1]) as opened:
        opened.send(
            json.dumps(
                subscribe(query="{ users(sort: [{field: FIRST_NAME, direction: ASC}]) { nodes { firstName } } }")
            )
        )

        received = [json.loads(opened.recv(SAFE)) for _ in range(2)]

    names = [{"firstName": name} for name in ("Ada", "Charles", "Mary")]
    assert received == [response(users={"nodes": names}), complete()]


@pytest.mark.parametrize(
    "sent, code",
    [
        ("{", 4400),
        (b"{}", 4400),
        (json.dumps(INIT), 4429),
        ("x" * (MAX_SIZE + 1), 1009),
    ],
    ids=["no JSON", "binary", "init twice", "too large"],
)
def test_a_real_client_gets_the_close_code(server, sent, code):
    with acknowledged(server[1]) as opened:
        opened.send(sent)

        with pytest.raises(ConnectionClosed) as ended:
            opened.recv(SAFE)

    assert ended.value.rcvd
    assert ended.value.rcvd.code == code


def test_a_real_handshake_from_another_origin_is_refused(server):
    with pytest.raises(InvalidStatus) as refused, call(server[1], origin="http://evil.example.com"):
        pass

    assert refused.value.response.status_code == 403
    assert refused.value.response.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
def test_shutdown_closes_sockets_with_service_restart(server):
    with acknowledged(server[1]) as opened:
        server[0].should_exit = True

        with pytest.raises(ConnectionClosed) as ended:
            opened.recv(SAFE)

    assert ended.value.rcvd
    assert ended.value.rcvd.code == 1012
