"""GraphQL over WebSocket keeps to `graphql-transport-ws`, to the limits, and to who may: each breach has its code.

Frames are put into the door by hand, so that nothing depends on the pace of a network; a real server comes at the end.
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
from api.graphql.websocket.messages import LARGEST
from api.graphql.websocket.session import AT_A_TIME, PROTOCOL
from api.middleware.response import request_limit
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.errors import DatabaseUnavailable, Forbidden, InvalidCredential
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import Executor
from schema.graphql.schema import make_schema
from schema.models import MODELS, User
from tests.conftest import furnish, settings_for
from tests.fixtures.clients import ADMIN, READER

INIT = {"type": "connection_init"}
ACK = {"type": "connection_ack"}
CREATE = 'mutation { createUser(input: {firstName: "Ada", age: 36}) { user { firstName } } }'
CREATED = {"createUser": {"user": {"firstName": "Ada"}}}
URL = "ws://127.0.0.1:8000/graphql"
SAFE = 5.0
# What a server says of itself that can refuse a handshake by an answer.
REFUSING: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


def subscribe(id: str = "1", query: str = "{ __typename }", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": "subscribe", "payload": {"query": query, **more}}


def answer(id: str = "1", **data: Any) -> dict[str, Any]:
    return {"id": id, "type": "next", "payload": {"data": data}}


def over(id: str = "1") -> dict[str, Any]:
    return {"id": id, "type": "complete"}


TYPENAME = answer(__typename="Query")


@cache
def executor() -> Executor:
    return Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))


class Guard:
    """Knows everybody, until told otherwise; where its gate is shut, whoever asks has to wait."""

    def __init__(self, actor: Actor = ADMIN) -> None:
        self.actor = actor
        self.error: Exception | None = None
        self.seen: list[Scope] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0

    async def __call__(self, scope: Scope) -> Actor:
        self.seen.append(scope)
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        if self.error:
            raise self.error
        return self.actor


class Peer:
    """The other end of a socket."""

    def __init__(
        self,
        handler: WebSocketHandler,
        directory: Directory,
        *,
        unread: int = 0,
        gate: ConcurrencyLimit | None = None,
        **scope: Any,
    ) -> None:
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received: asyncio.Queue[Any] = asyncio.Queue(unread)
        self.frames.put_nowait({"type": "websocket.connect"})
        usual = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/graphql",
            "headers": [(b"host", b"localhost")],
            "subprotocols": [PROTOCOL],
            "client": ("127.0.0.1", 50000),
            "app": SimpleNamespace(state=SimpleNamespace(directory=directory, gate=gate or request_limit(64))),
        }
        self.task = asyncio.create_task(self._run(handler, {**usual, **scope}))

    async def _run(self, handler: WebSocketHandler, scope: Scope) -> None:
        await handler(scope, self.frames.get, self.received.put)
        if not self.received.full():
            self.received.put_nowait({"type": "the end"})

    def say(self, *sent: Any) -> None:
        for message in sent:
            text = message if isinstance(message, str) else json.dumps(message)
            self.frames.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self.frames.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def hear(self) -> Any:
        """The next message, or the whole frame where it is none."""
        async with asyncio.timeout(SAFE):
            frame = await self.received.get()
        return json.loads(frame["text"]) if frame["type"] == "websocket.send" else frame

    async def hear_all(self, count: int) -> list[Any]:
        return [await self.hear() for _ in range(count)]

    async def code(self) -> int:
        """With what the socket is closed, whatever was said before. Behind it comes nothing."""
        while (frame := await self.hear()).get("type") != "websocket.close":
            assert frame["type"] != "the end", "it was not closed"
        assert (await self.hear())["type"] == "the end"
        return int(frame["code"])


Opening = Callable[..., Peer]


@pytest.fixture
async def guard() -> Guard:
    return Guard()


@pytest.fixture
async def open_socket(directory: Directory, guard: Guard) -> AsyncIterator[Opening]:
    """Opens sockets; at the end none of their tasks may be left."""
    peers: list[Peer] = []

    def opened(handler: WebSocketHandler | None = None, **scope: Any) -> Peer:
        peers.append(Peer(handler or WebSocketHandler(executor(), guard, sockets=10), directory, **scope))
        return peers[-1]

    yield opened
    for peer in peers:
        peer.leave()
    async with asyncio.timeout(SAFE):
        await asyncio.gather(*(peer.task for peer in peers))
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def peer(open_socket: Opening) -> Peer:
    """A socket that has been acknowledged."""
    opened = open_socket()
    opened.say(INIT)
    assert (await opened.hear()) == {"type": "websocket.accept", "subprotocol": PROTOCOL}
    assert (await opened.hear()) == ACK
    return opened


# What is answered.


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
async def test_a_query_or_mutation_has_one_answer(peer, query, more, data):
    peer.say(subscribe(query=query, **more))

    assert await peer.hear_all(2) == [answer(**data), over()]


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
async def test_what_cannot_be_run_is_an_error_and_the_socket_stays(peer, query, code):
    peer.say(subscribe(query=query), subscribe("2"))

    heard = {message["type"]: message for message in await peer.hear_all(3)}

    assert heard["error"]["id"] == "1"
    assert [error["extensions"]["code"] for error in heard["error"]["payload"]] == [code]
    assert heard["next"] == {**TYPENAME, "id": "2"}


async def test_errors_of_fields_come_with_the_answer(peer, guard):
    guard.actor = READER
    peer.say(subscribe(query=CREATE))

    message, end = await peer.hear_all(2)

    assert (message["type"], end) == ("next", over())
    assert [error["extensions"]["code"] for error in message["payload"]["errors"]] == ["FORBIDDEN"]


async def test_each_operation_is_by_whoever_the_credential_stands_for_then(peer, guard):
    outcomes = []
    for guard.actor in (ADMIN, READER):
        peer.say(subscribe(query=CREATE))
        outcomes += [message["payload"]["data"] for message in await peer.hear_all(2) if message["type"] == "next"]

    assert outcomes == [CREATED, None]


async def test_several_run_at_once_and_each_answer_has_its_id(peer):
    ids = [str(number) for number in range(AT_A_TIME)]
    peer.say(*(subscribe(id) for id in ids))

    heard = await peer.hear_all(2 * len(ids))

    assert sorted(m["id"] for m in heard if m["type"] == "next") == sorted(ids)
    assert sorted(m["id"] for m in heard if m["type"] == "complete") == sorted(ids)


async def test_an_id_may_be_used_again_once_it_is_over(peer):
    for _ in range(3):
        peer.say(subscribe())
        assert await peer.hear_all(2) == [TYPENAME, over()]


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {"a": [1]}}])
async def test_a_ping_is_answered_with_what_it_brought(open_socket, payload):
    """Before the socket is acknowledged, too."""
    peer = open_socket()
    peer.say({"type": "ping", **payload}, {"type": "pong", **payload}, INIT, {"type": "ping", **payload})

    _, first, ack, second = await peer.hear_all(4)

    pong = {"type": "pong", **({"payload": payload["payload"]} if payload.get("payload") else {})}
    assert (first, ack, second) == (pong, ACK, pong)


# What ends a socket.

BREACHES = [
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
    ("too large", '{"type": "ping", "payload": {"a": "' + "x" * LARGEST + '"}}', 1009),
]


@pytest.mark.parametrize("message, code", [pytest.param(*case[1:], id=case[0]) for case in BREACHES])
@pytest.mark.parametrize("acknowledged", [True, False])
async def test_a_message_that_is_none_ends_the_socket(open_socket, acknowledged, message, code):
    peer = open_socket()
    peer.say(*([INIT] if acknowledged else []), message)

    assert await peer.code() == code


async def test_a_binary_frame_ends_the_socket(peer):
    peer.frames.put_nowait({"type": "websocket.receive", "bytes": json.dumps(subscribe()).encode()})

    assert await peer.code() == 4400


@pytest.mark.parametrize("init", [{"payload": "x"}, {"payload": []}, {"payload": 1}])
async def test_an_init_of_the_wrong_form_ends_the_socket(open_socket, init):
    peer = open_socket()
    peer.say({**INIT, **init})

    assert await peer.code() == 4400


async def test_who_asks_before_being_acknowledged_is_not_answered(open_socket):
    peer = open_socket()
    peer.say(subscribe())

    assert await peer.code() == 4401


async def test_a_socket_is_initialised_once(peer):
    peer.say(INIT)

    assert await peer.code() == 4429


async def test_an_init_that_does_not_come_is_not_waited_for(open_socket, guard):
    peer = open_socket(WebSocketHandler(executor(), guard, sockets=1, init_seconds=0.05))
    peer.say({"type": "ping"})

    assert await peer.code() == 4408


@pytest.mark.parametrize("offered", [[], ["graphql-ws"], ["graphql-transport-ws2", "GRAPHQL-TRANSPORT-WS"]])
async def test_another_subprotocol_is_not_acceptable(open_socket, offered):
    peer = open_socket(subprotocols=offered)

    assert (await peer.hear()) == {"type": "websocket.accept", "subprotocol": None}
    assert await peer.code() == 4406


async def test_one_of_several_subprotocols_is_chosen(open_socket):
    peer = open_socket(subprotocols=["graphql-ws", PROTOCOL])

    assert (await peer.hear())["subprotocol"] == PROTOCOL


async def test_an_id_in_use_is_taken(peer, guard):
    guard.gate.clear()
    peer.say(subscribe("x" * 500), subscribe("x" * 500))

    frame = await peer.hear()

    assert (frame["code"], frame["reason"][:16]) == (4409, "Subscriber for x")
    assert len(frame["reason"].encode()) <= 123


async def test_who_is_not_known_is_forbidden(open_socket, guard):
    guard.error = InvalidCredential("no")
    peer = open_socket()
    peer.say(INIT)

    _, frame = await peer.hear_all(2)

    assert frame == {"type": "websocket.close", "code": 4403, "reason": "Forbidden"}


# Who asks.


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
async def test_the_credential_comes_with_the_handshake_or_the_init(open_socket, guard, header, payload, seen):
    headers = [(b"host", b"localhost"), *([(b"authorization", header)] if header else [])]
    peer = open_socket(headers=headers)
    peer.say({**INIT, "payload": payload})

    assert (await peer.hear_all(2))[1] == ACK
    assert [value for name, value in guard.seen[0]["headers"] if name == b"authorization"] == seen
    assert guard.seen[0]["scheme"] == "http"


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
async def test_a_credential_that_is_doubtful_is_refused(open_socket, header, payload):
    headers = [(b"host", b"localhost"), *([(b"authorization", header)] if header else [])]
    peer = open_socket(headers=headers)
    peer.say({**INIT, "payload": payload})

    assert await peer.code() == 4403


async def test_a_credential_that_ends_takes_an_idle_socket_with_it(open_socket, guard):
    peer = open_socket(WebSocketHandler(executor(), guard, sockets=1, check_seconds=0.02))
    peer.say(INIT)
    await peer.hear_all(2)
    guard.error = InvalidCredential("revoked")

    assert await peer.code() == 4403


async def test_a_credential_that_ends_takes_what_is_running_with_it(open_socket, guard):
    """Whether they wait for their turn or not: none of them is answered."""
    peer = open_socket(WebSocketHandler(executor(), guard, sockets=1, check_seconds=0.02))
    peer.say(INIT)
    await peer.hear_all(2)
    guard.gate.clear()
    peer.say(*(subscribe(str(number)) for number in range(2 * AT_A_TIME)))
    await until(lambda: guard.waiting > AT_A_TIME)
    guard.error = InvalidCredential("revoked")
    guard.gate.set()

    assert (await peer.hear())["code"] == 4403


async def test_a_credential_is_looked_at_before_each_operation(peer, guard):
    guard.error = InvalidCredential("revoked")
    peer.say(subscribe(query=CREATE))

    assert await peer.code() == 4403


async def test_a_credential_that_cannot_be_looked_at_is_not_trusted(peer, guard):
    guard.error = DatabaseUnavailable("down")
    peer.say(subscribe())

    assert await peer.code() == 1013


@pytest.mark.parametrize("step", ["init", "operation"])
async def test_what_nobody_foresaw_is_told_in_a_fixed_sentence(open_socket, guard, caplog, step):
    peer = open_socket()
    if step == "operation":
        peer.say(INIT)
        await peer.hear_all(2)
    guard.error = RuntimeError("secret")
    peer.say(INIT if step == "init" else subscribe())

    heard = await peer.hear_all(2 if step == "init" else 1)

    assert "secret" not in json.dumps(heard)
    assert heard[-1].get("code") == 4500 if step == "init" else heard[-1]["type"] == "error"
    assert "secret" in caplog.text


# How much.


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SAFE):
        while not condition():  # noqa: ASYNC110, because what is waited for tells nobody
            await asyncio.sleep(0.001)


async def test_twenty_run_at_a_time_and_the_rest_wait_unread(peer, guard):
    guard.gate.clear()
    peer.say(*(subscribe(str(number)) for number in range(AT_A_TIME + 10)))
    await until(lambda: guard.waiting == AT_A_TIME)
    await asyncio.sleep(0.02)

    unread = peer.frames.qsize()
    guard.gate.set()

    assert (guard.waiting, unread) == (AT_A_TIME, 9)
    heard = await peer.hear_all(2 * (AT_A_TIME + 10))
    assert len({message["id"] for message in heard}) == AT_A_TIME + 10


async def test_who_completes_hears_no_more_of_it(peer, guard):
    guard.gate.clear()
    peer.say(subscribe("1"), subscribe("2"))
    await until(lambda: guard.waiting == 2)
    peer.say(over("1"), over("unheard of"))
    await until(lambda: guard.waiting == 1)
    guard.gate.set()

    assert await peer.hear_all(2) == [{**TYPENAME, "id": "2"}, over("2")]
    peer.say(subscribe("1"))
    assert await peer.hear_all(2) == [TYPENAME, over("1")]


async def test_completing_makes_room(peer, guard):
    """Also where the operation had not begun yet."""
    guard.gate.clear()
    for _ in range(3):
        ids = [str(number) for number in range(AT_A_TIME)]
        peer.say(*(subscribe(id) for id in ids), *(over(id) for id in ids))
    await until(lambda: peer.frames.empty() and not guard.waiting)
    guard.gate.set()
    peer.say(subscribe("last"))

    assert [message["id"] for message in await peer.hear_all(2)] == ["last", "last"]


async def initialised(peer: Peer) -> Peer:
    peer.say(INIT)
    assert (await peer.hear_all(2))[1] == ACK
    return peer


async def test_so_many_sockets_are_open_and_no_more(open_socket, guard):
    handler = WebSocketHandler(executor(), guard, sockets=2)
    first, _ = [await initialised(open_socket(handler)) for _ in range(2)]

    with_answer = open_socket(handler, extensions={"websocket.http.response": {}})
    without = open_socket(handler)

    start, body, _ = await with_answer.hear_all(3)
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "OVERLOADED")
    assert dict(start["headers"])[b"retry-after"]
    assert await without.code() == 1013
    first.leave()
    await first.task
    assert (await open_socket(handler).hear())["type"] == "websocket.accept"


async def test_where_all_are_taken_the_oldest_uninitialised_socket_is_evicted(open_socket, guard):
    handler = WebSocketHandler(executor(), guard, sockets=3)
    lasting = await initialised(open_socket(handler))
    idle = [open_socket(handler) for _ in range(2)]
    assert [(await peer.hear())["type"] for peer in idle] == ["websocket.accept"] * 2

    newcomers = [open_socket(handler) for _ in range(2)]

    assert [(await peer.hear())["type"] for peer in newcomers] == ["websocket.accept"] * 2
    for peer in idle:
        assert await peer.hear() == {"type": "websocket.close", "code": 1013, "reason": "Try again later"}
    lasting.say(subscribe())
    assert await lasting.hear_all(2) == [TYPENAME, over()]
    assert handler.open == 3


async def test_a_socket_that_ends_is_not_evicted_again(open_socket, guard):
    """One whose initialisation has failed waits for its close frame to be taken."""
    handler = WebSocketHandler(executor(), guard, sockets=1, init_seconds=0.01)
    late = open_socket(handler, unread=1)
    await until(lambda: late.received.full() and handler.open == 1)
    await asyncio.sleep(0.05)

    newcomer = open_socket(handler)

    assert (await newcomer.hear())["type"] == "websocket.accept"


class Known(Guard):
    """Finds a valid credential wherever there is one."""

    async def __call__(self, scope: Scope) -> Actor:
        if any(name == b"authorization" for name, _ in scope["headers"]):
            scope["credential"] = SimpleNamespace(name="key", rate=None, expires=None)
        return await super().__call__(scope)


async def test_an_address_has_a_share_of_the_sockets_without_a_valid_credential(open_socket):
    handler = WebSocketHandler(executor(), Known(), sockets=10, sockets_per_address=2)
    first, _ = [open_socket(handler) for _ in range(2)]
    await until(lambda: handler.open == 2)

    start, body, _ = await open_socket(handler, **REFUSING).hear_all(3)
    first.say({**INIT, "payload": {"Authorization": "Bearer a"}})
    await first.hear_all(2)
    others = [open_socket(handler, client=("192.0.2.1", 1)), open_socket(handler)]

    assert (start["status"], json.loads(body["body"])["code"]) == (429, "RATE_LIMITED")
    assert dict(start["headers"])[b"retry-after"] == b"5"
    assert [(await peer.hear())["type"] for peer in others] == ["websocket.accept"] * 2
    assert (await open_socket(handler, **REFUSING).hear())["status"] == 429


class Named(Guard):
    """Finds a credential good, and has it named as it is spelled."""

    async def __call__(self, scope: Scope) -> Actor:
        for name, value in scope["headers"]:
            if name == b"authorization":
                scope["credential"] = SimpleNamespace(name=value.decode(), rate=None, expires=None)
        return await super().__call__(scope)


async def test_a_credential_leaves_room_for_sockets_of_others(open_socket):
    """It may have a quarter, and more as long as fewer than half of all are open."""
    handler = WebSocketHandler(executor(), Named(), sockets=8, sockets_per_address=2)

    async def ends_with(credential: str) -> list[Any]:
        peer = open_socket(handler)
        peer.say({**INIT, "payload": {"Authorization": credential}})
        return [frame.get("code") for frame in await peer.hear_all(2)]

    greedy = [await ends_with("greedy") for _ in range(6)]
    others = [await ends_with(other) for other in ("a", "a", "a", "b", "b")]

    assert greedy == [[None, None]] * 4 + [[None, 1013]] * 2
    assert others == [[None, None]] * 2 + [[None, 1013]] + [[None, None]] * 2
    assert handler.open == 8


async def test_a_credential_in_the_handshake_counts_from_there(open_socket):
    handler = WebSocketHandler(executor(), Known(), sockets=8)
    known = {"credential": SimpleNamespace(name="greedy"), "extensions": {"websocket.http.response": {}}}
    peers = [open_socket(handler, **known) for _ in range(4)]
    await until(lambda: handler.open == 4)

    refused = await open_socket(handler, **known).hear()
    peers[0].leave()
    await peers[0].task

    assert refused["status"] == 429
    assert (await open_socket(handler, **known).hear())["type"] == "websocket.accept"


@pytest.mark.parametrize("initialises", [True, False])
async def test_a_socket_without_a_credential_counts_for_good(open_socket, initialises):
    """In development it may be initialised all the same."""
    handler = WebSocketHandler(executor(), Known(), sockets=10, sockets_per_address=1)
    peer = open_socket(handler)
    if initialises:
        await initialised(peer)
    await until(lambda: handler.open == 1)

    refused = await open_socket(handler, **REFUSING).hear()
    peer.leave()
    await peer.task

    assert refused["status"] == 429
    assert (await open_socket(handler, **REFUSING).hear())["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
async def test_shares_are_by_what_one_customer_gets(open_socket, guard, one, other, same):
    handler = WebSocketHandler(executor(), guard, sockets=10, sockets_per_address=1)
    open_socket(handler, client=(one, 1))
    await until(lambda: handler.open == 1)

    heard = await open_socket(handler, client=(other, 1), extensions={"websocket.http.response": {}}).hear()

    assert heard.get("status") == (429 if same else None)


async def test_who_does_not_read_before_the_init_is_not_waited_for(open_socket, guard):
    """Neither does what is left to be said keep the socket."""
    handler = WebSocketHandler(executor(), guard, sockets=1, init_seconds=0.05)
    peer = open_socket(handler, unread=1)
    peer.say(*[{"type": "ping"}] * 10)
    began = time.monotonic()

    await asyncio.wait_for(peer.task, SAFE)

    assert time.monotonic() - began < SAFE
    assert handler.open == 0


async def test_who_sends_without_a_pause_leaves_others_their_turn(peer):
    """The event loop is everybody's, though the next frame lies ready."""
    turns = 0
    peer.say(*[{"type": "ping"}] * 500)

    while not peer.frames.empty():
        await asyncio.sleep(0)
        turns += 1

    assert turns >= 500


async def test_of_large_messages_one_is_parsed_in_a_turn_whichever_sockets_they_come_by(open_socket, guard):
    handler, turns = WebSocketHandler(executor(), guard, sockets=30), 0
    peers = [await initialised(open_socket(handler)) for _ in range(30)]
    for peer in peers:
        peer.say({"type": "ping", "payload": {"a": "x" * 20_000}})

    while any(peer.received.empty() for peer in peers):
        await asyncio.sleep(0)
        turns += 1

    assert turns >= 30


async def test_large_messages_of_others_wait_for_one_of_each_owner(open_socket, guard):
    handler, large = WebSocketHandler(executor(), guard, sockets=50), {"type": "ping", "payload": {"a": "x" * 20_000}}
    greedy = [await initialised(open_socket(handler, client=("192.0.2.1", 1))) for _ in range(40)]
    other = await initialised(open_socket(handler, client=("192.0.2.2", 1)))
    for peer in greedy:
        peer.say(large)
    for peer in (greedy[0], other):
        if peer is other:
            other.say(large)
        for _ in range(1000):
            if peer.received.empty():
                await asyncio.sleep(0)

    assert not other.received.empty()
    assert sum(not peer.received.empty() for peer in greedy) <= 10


async def test_who_does_not_read_is_not_waited_for(open_socket, guard):
    """Nor is room kept for them."""
    handler = WebSocketHandler(executor(), guard, sockets=1, send_seconds=0.05)
    peer = open_socket(handler, unread=3)
    peer.say(INIT, *(subscribe(str(number)) for number in range(10)))

    await until(lambda: handler.open == 1)
    await until(lambda: handler.open == 0)

    assert peer.received.qsize() == 3


# What is left behind.


@pytest.mark.parametrize("waits", [0, 1, 2, 3, 5, 8])
@pytest.mark.sqlite  # a pool has tasks of its own, which end by themselves
async def test_who_vanishes_while_writing_leaves_no_lock(peer, directory, waits):
    """At whatever moment: the write is done or it is not, and the next one is."""
    peer.say(*(subscribe(str(number), CREATE) for number in range(AT_A_TIME)))
    for _ in range(waits):
        await asyncio.sleep(0)
    peer.leave()
    await asyncio.wait_for(peer.task, SAFE)

    other = await executor().run(request(CREATE), directory, ADMIN)

    assert json.loads(other) == {"data": CREATED}


def request(query: str) -> Any:
    return SimpleNamespace(query=query, variables={}, operation_name=None)


async def test_who_vanishes_leaves_room(open_socket, guard):
    handler = WebSocketHandler(executor(), guard, sockets=1)
    for moment in range(4):
        peer = open_socket(handler)
        peer.say(*[INIT, subscribe("1"), subscribe("2", CREATE)][:moment])
        await peer.hear()
        peer.leave()
        await asyncio.wait_for(peer.task, SAFE)

    assert handler.open == 0


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
def test_whatever_is_sent_the_socket_ends_in_order(template, frames, acknowledged):
    """With a code of the protocol, or when the other side leaves; never with a failure of ours."""

    async def play() -> list[Any]:
        async with Directory(str(template)) as directory:
            guard = Guard(READER)
            peer = Peer(WebSocketHandler(executor(), guard, sockets=1), directory)
            peer.say(*([INIT] if acknowledged else []))
            for frame in frames:
                peer.frames.put_nowait({"type": "websocket.receive", **frame})
            peer.leave()
            await asyncio.wait_for(peer.task, SAFE)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return [peer.received.get_nowait() for _ in range(peer.received.qsize())]

    heard = asyncio.run(play())

    codes = [frame["code"] for frame in heard if frame["type"] == "websocket.close"]
    assert set(codes) <= {4400, 4401, 4409, 4429}
    assert len(codes) <= 1
    assert all("INTERNAL" not in frame.get("text", "") for frame in heard)


# The handshake, in the whole service.


@pytest.fixture(scope="module")
def listing(template: Path) -> TestClient:
    """A service that knows everybody, and lists one other origin."""

    async def anybody(scope: Scope) -> Actor:
        return ADMIN

    return TestClient(create_app(settings_for(template, TANDEM_CORS_ORIGINS="https://app.example.com"), anybody))


@pytest.mark.parametrize(
    "origin",
    [None, "http://127.0.0.1:8000", "https://127.0.0.1:8000", "https://app.example.com", "HTTPS://APP.example.com"],
)
def test_pages_of_ours_and_those_listed_may_open_a_socket(listing, origin):
    headers = {} if origin is None else {"origin": origin}

    with listing.websocket_connect(URL, [PROTOCOL], headers=headers) as opened:
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
def test_pages_of_other_sites_may_not_open_a_socket(listing, origin):
    opening = listing.websocket_connect(URL, [PROTOCOL], headers={"origin": origin})

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
def test_a_page_is_ours_if_it_has_our_name_and_no_weaker_scheme(scheme, host, origin, allowed):
    """Where a proxy has ended the encryption, `ws` is all that we see of it."""
    scope = {"scheme": scheme, "headers": [(b"host", host.encode()), (b"origin", origin.encode())]}

    with contextlib.nullcontext() if allowed else pytest.raises(Forbidden):
        check_origin(scope, ())


@pytest.mark.parametrize("path", ["/", "/users", "/graphql/", "/health/live", "/nowhere"])
def test_no_other_path_takes_a_socket(service, path):
    with pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)), service.websocket_connect(path, [PROTOCOL]):
        pass


def test_in_production_nobody_is_served_without_a_credential(production):
    with production.websocket_connect("/graphql", [PROTOCOL]) as opened:
        opened.send_json(INIT)

        with pytest.raises(WebSocketDisconnect) as ended:
            opened.receive_json()

    assert ended.value.code == 4403


# On the wire.


@pytest.fixture(scope="module")
def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[uvicorn.Server, str]]:
    """A real server in development, and its address."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("sockets") / "tandem.db"))
    config = uvicorn.Config(
        create_app(settings_for(path)),
        lifespan="on",
        log_level="critical",
        ws="websockets-sansio",
        ws_max_size=LARGEST,
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
            furnish(f"http://{address}")
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


def test_a_real_client_is_answered(server):
    with acknowledged(server[1]) as opened:
        opened.send(
            json.dumps(
                subscribe(query="{ users(sort: [{field: FIRST_NAME, direction: ASC}]) { nodes { firstName } } }")
            )
        )

        heard = [json.loads(opened.recv(SAFE)) for _ in range(2)]

    names = [{"firstName": name} for name in ("Ada", "Charles", "Mary")]
    assert heard == [answer(users={"nodes": names}), over()]


@pytest.mark.parametrize(
    "sent, code",
    [
        ("{", 4400),
        (b"{}", 4400),
        (json.dumps(INIT), 4429),
        ("x" * (LARGEST + 1), 1009),
    ],
    ids=["no JSON", "binary", "init twice", "too large"],
)
def test_a_real_client_is_told_the_code(server, sent, code):
    with acknowledged(server[1]) as opened:
        opened.send(sent)

        with pytest.raises(ConnectionClosed) as ended:
            opened.recv(SAFE)

    assert ended.value.rcvd
    assert ended.value.rcvd.code == code


def test_a_real_browser_page_of_another_site_is_refused(server):
    with pytest.raises(InvalidStatus) as refused, call(server[1], origin="http://evil.example.com"):
        pass

    assert refused.value.response.status_code == 403
    assert refused.value.response.headers["content-type"] == "application/problem+json"


def test_a_server_that_leaves_says_that_it_will_be_back(server):
    with acknowledged(server[1]) as opened:
        server[0].should_exit = True

        with pytest.raises(ConnectionClosed) as ended:
            opened.recv(SAFE)

    assert ended.value.rcvd
    assert ended.value.rcvd.code == 1012
