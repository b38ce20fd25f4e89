"""A real server and a bare socket, for what no client library would send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from api.protocol import protocol, socket_protocol
from api.server import WEBSOCKET_MESSAGE, Server
from api.wire.patience import Limits

Answer = tuple[int, dict[str, str], bytes]


@contextlib.contextmanager
def serving(app: ASGIApp, limits: Limits | None = None) -> Iterator[int]:
    """Where a real server listens."""
    on_refusal = app.state.on_refusal if isinstance(app, Starlette) else None
    config = uvicorn.Config(
        app,
        http=protocol(limits, on_refusal),
        ws=socket_protocol(),
        ws_max_size=WEBSOCKET_MESSAGE,
        ws_per_message_deflate=False,
        lifespan="on",
        log_level="critical",
    )
    server = Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    port = int(listening.getsockname()[1])
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join(20)


def free_port() -> int:
    """One for a server that is still to come. Below 32768 the system gives none to a connection in the meantime."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection without a mind of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def say(port: int, *pieces: bytes, answers: int = 1) -> list[Answer]:
    """So many answers to what is sent over one connection, piece by piece."""
    with connected(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02 if len(pieces) > 1 else 0)
        with connection.makefile("rb") as received:
            return [read_answer(received) for _ in range(answers)]


def all_answers(connection: socket.socket) -> list[Answer]:
    """All that is answered until the other side hangs up, which it must do without a reset."""
    made = []
    with connection.makefile("rb") as received:
        while received.peek(1):
            made.append(read_answer(received))
    return made


def read_answer(received: BinaryIO, bodiless: bool = False) -> Answer:
    status = int(received.readline().split()[1])
    lines = iter(lambda: received.readline().decode().rstrip("\r\n"), "")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return status, headers, b"" if bodiless else received.read(int(headers.get("content-length", 0)))


def request(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def problem(answer: Answer) -> dict[str, Any]:
    """The problem document of an answer, which must be one, and agree with its status."""
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(body)
    assert document["status"] == status
    return document
