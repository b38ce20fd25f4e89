"""On the wire, too, whatever is well-formed HTTP comes to the service, and whatever is not is told so in our words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

import pytest
import uvicorn

from api.app import create_app
from api.protocol import protocol
from api.settings import read
from schema.migrations.run import migrate

SMALLEST = b'{"first_name": "Ada", "age": 36}'

pytestmark = pytest.mark.skipif(protocol() == "auto", reason="there is no httptools here, so uvicorn reads by h11")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a real server listens."""
    path = tmp_path_factory.mktemp("protocol") / "tandem.db"
    migrate(str(path))
    app = create_app(read({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))
    server = uvicorn.Server(uvicorn.Config(app, http=protocol(), lifespan="on", log_level="critical"))
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield int(listening.getsockname()[1])
        server.should_exit = True
        thread.join(10)


Answer = tuple[int, dict[str, str], bytes]


def say(port: int, *pieces: bytes, answers: int = 1) -> list[Answer]:
    """So many answers to what is sent over one connection, piece by piece."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02 if len(pieces) > 1 else 0)
        with connection.makefile("rb") as received:
            return [read_answer(received) for _ in range(answers)]


def read_answer(received: BinaryIO) -> Answer:
    status = int(received.readline().split()[1])
    lines = iter(lambda: received.readline().decode().rstrip("\r\n"), "")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return status, headers, received.read(int(headers.get("content-length", 0)))


def request(method: str, target: str, body: bytes = b"") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "method", ["FOO", "get", "PURGE", "UNLINK", "QUERY", "TRACE", "PROPFIND", "A-B_C!", "M-SEARCH"]
)
def test_a_method_that_nobody_knows_is_not_allowed(port, method):
    ((status, headers, body),) = say(port, request(method, "/users", SMALLEST))

    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert json.loads(body)["detail"] == f"{method} is not allowed here"


def test_requests_may_follow_one_another(port):
    asked = [request("POST", "/users", SMALLEST), request("FOO", "/me"), request("GET", "/users?limit=1")]

    together, apart = say(port, asked[0] + asked[2], answers=2), say(port, *asked, answers=3)

    assert [status for status, _, _ in together] == [201, 200]
    assert [status for status, _, _ in apart] == [201, 405, 200]
    assert len(json.loads(apart[-1][2])["items"]) == 1


def test_a_body_that_begins_like_a_request_is_a_body(port):
    body = b'{"name": "FOO /users HTTP/1.1"}'
    head = request("POST", "/greetings", body).removesuffix(body)

    ((status, _, answer),) = say(port, head + body[:10], body[10:])

    assert (status, json.loads(answer)) == (200, {"message": "Hello, FOO /users HTTP/1.1!"})


@pytest.mark.parametrize("size", [8192, 60_000, 65_536, 200_000])
def test_a_url_of_any_length_is_too_long(port, size):
    ((status, headers, body),) = say(port, request("GET", f"/users?first_name={'a' * size}"))

    assert (status, headers["content-type"]) == (414, "application/problem+json")
    assert json.loads(body)["instance"] == "/users"


@pytest.mark.parametrize(
    "sent",
    [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n"],
)
def test_what_is_no_http_is_told_so(port, sent):
    ((status, headers, body),) = say(port, sent)

    assert (status, headers["content-type"], headers["connection"]) == (400, "application/problem+json", "close")
    assert json.loads(body)["code"] == "BAD_REQUEST"
