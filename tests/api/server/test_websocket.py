"""Limits of a WebSocket connection below its subprotocol: frames, seconds, log lines."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.app import create_app
from api.graphql.websocket.handler import WebSocketHandler
from api.server.http import websocket
from api.server.http.websocket import MAX_SMALL_FRAMES, SLICE
from api.server.protocol import websocket_protocol
from tests.conftest import settings_for
from tests.fixtures.raw_http import connected, send_raw, serving
from tests.fixtures.websocket_frames import (
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    close_code,
    frame,
    handshake,
    open_websocket,
    read_frame,
    received,
    text,
)

pytestmark = pytest.mark.sqlite

INIT = text('{"type": "connection_init"}')
ACK = (TEXT, b'{"type":"connection_ack"}')
BEGUN = frame(TEXT, b"{", fin=False)


@pytest.fixture
def port(database, monkeypatch) -> Iterator[int]:
    """The port of the service with short timeouts."""
    monkeypatch.setitem(WebSocketHandler.__init__.__kwdefaults__, "init_seconds", 0.5)
    with serving(create_app(settings_for(database)), websocket=websocket_protocol(close_seconds=0.2)) as port:
        yield port


def acknowledged(connection: socket.socket) -> socket.socket:
    """Complete the handshake and `connection_init`."""
    open_websocket(connection).sendall(INIT)
    assert read_frame(connection) == ACK
    return connection


def send_all(connection: socket.socket, pieces: Iterable[bytes], pause: float = 0) -> None:
    """Send until the server closes the connection."""
    for piece in pieces:
        try:
            connection.sendall(piece)
        except OSError:
            return
        time.sleep(pause)


# Frames.


@pytest.mark.parametrize(
    "first, repeated",
    [
        (b"", frame(PING)),
        (b"", frame(PING, b"x" * 125)),
        (b"", frame(PONG, b"x")),
        (BEGUN, frame(CONT, fin=False)),
        (BEGUN, frame(CONT, b" " * 1000, fin=False)),
        (BEGUN, frame(CONT, b" ", fin=False) + frame(PING)),
    ],
    ids=["pings", "large pings", "pongs", "empty fragments", "small fragments", "both"],
)
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.slow
def test_too_many_small_frames_end_the_connection(port, first, repeated, at_once):
    pieces = [repeated] * (MAX_SMALL_FRAMES + 1)
    with connected(port) as connection:
        acknowledged(connection).sendall(first)

        send_all(connection, [b"".join(pieces)] if at_once else pieces)
        frames = received(connection)

    assert close_code(frames) == 1008
    assert len([opcode for opcode, _ in frames if opcode == PONG]) <= MAX_SMALL_FRAMES


@pytest.mark.slow
def test_small_frames_within_the_limit_are_answered(port):
    with connected(port) as connection:
        acknowledged(connection)
        fragments = BEGUN + frame(CONT, b" " * 2000, fin=False) * 200 + frame(CONT, b'"type": "ping"}')
        connection.sendall(frame(PING, b"x") * 50 + fragments + frame(PING, b"y") * 40)
        frames = [read_frame(connection) for _ in range(50 + 40 + 1)]
        connection.sendall(frame(CLOSE, struct.pack("!H", 1000)))
        end = received(connection)

    assert frames.count((PONG, b"x")) == 50
    assert frames.count((PONG, b"y")) == 40
    assert [read for read in frames if read and read[0] == TEXT] == [(TEXT, b'{"type":"pong"}')]
    assert close_code(end) == 1000


@pytest.mark.slow
def test_the_limit_of_small_frames_applies_per_second(port, monkeypatch):
    class Hours:
        """A clock that advances an hour with each call."""

        now = 0.0

        def monotonic(self) -> float:
            self.now += 3600
            return self.now

    monkeypatch.setattr(websocket, "time", Hours())
    with connected(port) as connection:
        open_websocket(connection).sendall(INIT + frame(PING) * (2 * MAX_SMALL_FRAMES) + frame(CLOSE))
        frames = received(connection)

    assert len([opcode for opcode, _ in frames if opcode == PONG]) == 2 * MAX_SMALL_FRAMES


class Transport(asyncio.Transport):
    """Records whether reading is paused, and what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 2)})
        self.reading, self.closing, self.written = True, False, b""

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True


async def test_messages_are_parsed_only_as_they_are_taken():
    taken = asyncio.Semaphore(0)
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            heard.append(message["text"])
            await taken.acquire()

    config = uvicorn.Config(app, ws=websocket_protocol(), lifespan="off", log_config=None)
    config.load()
    make: Any = config.ws_protocol_class
    protocol, transport = make(config, ServerState(), {}), Transport()
    protocol.connection_made(transport)
    protocol.data_received(handshake())
    await asyncio.sleep(0.01)
    messages = [str(number) for number in range(10_000)]

    protocol.data_received(b"".join(map(text, messages)))
    await asyncio.sleep(0.01)
    waiting, reading = protocol.queue.qsize(), transport.reading
    for _ in messages:
        taken.release()
    async with asyncio.timeout(10):
        while len(heard) < len(messages) or not transport.reading:  # noqa: ASYNC110 there is no event to wait for
            await asyncio.sleep(0.01)

    assert waiting <= SLICE / len(text("0"))
    assert not reading
    assert heard == messages
    protocol.connection_lost(None)
    await asyncio.sleep(0.01)


# Timeouts.

PINGS = text(json.dumps({"type": "ping", "payload": {"a": "x" * 5000}}))
IDLE = {
    "sends nothing": [],
    "sends a byte now and then": [INIT[n : n + 1] for n in range(20)],
    "never finishes a frame": [PINGS[:-1]],
    "never finishes a message": [BEGUN, *[frame(CONT, b" ", fin=False)] * 40],
    "sends pings of the transport": [frame(PING)] * 40,
    "sends pings of the protocol": [text('{"type": "ping"}')] * 40,
    "reads nothing that it asks for": [PINGS * 2000],
    "begins to close": [frame(CLOSE)[:3]],
}


@pytest.mark.slow
def test_a_socket_without_an_init_ends_whatever_it_sends(port):
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(port)) for _ in IDLE]
        for connection in connections:
            open_websocket(connection).settimeout(0.1)
        began = time.monotonic()
        for step in range(40):
            for connection, pieces in zip(connections, IDLE.values(), strict=True):
                send_all(connection, pieces[step : step + 1])
            time.sleep(0.05)
            if time.monotonic() - began > 2:
                break
        ended = {name: _ended(connection) for name, connection in zip(IDLE, connections, strict=True)}

    assert ended == dict.fromkeys(IDLE, True)


def _ended(connection: socket.socket, seconds: float = 10) -> bool:
    """Whether the server closes the connection in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if not connection.recv(2**20):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.slow
def test_the_number_of_closing_sockets_is_limited(database, monkeypatch):
    monkeypatch.setitem(WebSocketHandler.__init__.__kwdefaults__, "init_seconds", 0.5)
    app, protocol = create_app(settings_for(database)), websocket_protocol(close_seconds=3600, max_closing=2)
    with serving(app, websocket=protocol) as port, ExitStack() as stack:
        connections = []
        for _ in range(4):
            connections.append(open_websocket(stack.enter_context(connected(port))))
            connections[-1].sendall(text("[]"))
            assert connections[-1].recv(2)[0] & 15 == CLOSE
            connections[-1].settimeout(0.1)

        ended = [_ended(connection, seconds) for connection, seconds in zip(connections, (10, 10, 1, 1), strict=True)]

    assert ended == [True, True, False, False]


# Logging.


@pytest.mark.parametrize(
    "path, line, status", [("/graphql", "Origin: http://example.com", 403), ("/nowhere", "X: y", 404)]
)
@pytest.mark.slow
def test_a_refused_handshake_gets_a_problem_document_and_is_not_logged(port, caplog, path, line, status):
    caplog.set_level(logging.INFO)

    ((answered, headers, body),) = send_raw(port, handshake(path, "localhost", line))

    assert (answered, headers["content-type"]) == (status, "application/problem+json")
    assert json.loads(body)["status"] == status
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.slow
def test_a_socket_logs_nothing_at_info(port, caplog):
    caplog.set_level(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "websockets", "websockets.server", "tandem"):
        caplog.set_level(logging.INFO, name)
    logging.getLogger("uvicorn.error").info("logging works")
    endings = [frame(CLOSE), frame(3), frame(TEXT, b"\xff"), frame(PING) * 200, b"", text("[]")]

    for last in endings:
        with connected(port) as connection:
            open_websocket(connection).sendall(INIT + last)
            if last:
                received(connection)

    messages = [record.getMessage() for record in caplog.records]
    # The server's own lines may be logged before or after the level is set.
    own = ("Uvicorn running", "Shutting down")
    assert [message for message in messages if not message.startswith(own)] == ["logging works"]
