"""Inputs that once took quadratic time are refused by a real server before it reads the credential."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.app import create_app
from api.graphql.websocket.messages import MAX_SIZE, MAX_SIZE_BEFORE_ACK
from api.graphql.websocket.session import PROTOCOL
from api.settings import read_settings
from schema.migrations.commands import migrate
from tests.conftest import settings_for
from tests.fixtures import websocket_frames
from tests.fixtures.credentials import SECRET
from tests.fixtures.raw_http import RawResponse, connected, request, send_raw, serving

SAFE = 10.0
INIT = json.dumps({"type": "connection_init"})
BRACKETS = b"[" * 33 + b'\\"' * 50_000
TWICE = json.dumps({f"{n:x}": 1 for n in range(14_000)}, separators=(",", ":")).encode()[:-1] + b', "0": 2}'
TWICE_IN_FEW = json.dumps({f"k{n}": 1 for n in range(2_400)}).encode()[:-1] + b', "k0": 2}'


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real server in development, where no credential is needed to send a body."""
    path: Path = tmp_path_factory.mktemp("hostile") / "tandem.db"
    migrate(str(path))
    with serving(create_app(settings_for(path))) as port:
        yield port


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real server in production that accepts tokens."""
    path: Path = tmp_path_factory.mktemp("tokens") / "tandem.db"
    migrate(str(path))
    with serving(
        create_app(
            read_settings({"TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{path}", "SECRET_KEY": SECRET})
        )
    ) as port:
        yield port


def code_of(response: RawResponse) -> str:
    body = json.loads(response[2])
    return str(body["code"] if "code" in body else body["errors"][0]["extensions"]["code"])


@contextlib.contextmanager
def opened(port: int) -> Iterator[ClientConnection]:
    with connect(
        f"ws://127.0.0.1:{port}/graphql",
        subprotocols=[Subprotocol(PROTOCOL)],
        proxy=None,
        extensions=[ClientPerMessageDeflateFactory()],
    ) as connection:
        yield connection


def closed(connection: ClientConnection) -> tuple[int, str]:
    """Return the code and reason with which the server closes the WebSocket."""
    with pytest.raises(ConnectionClosed) as ended:
        connection.recv(SAFE)
    assert ended.value.rcvd
    return ended.value.rcvd.code, ended.value.rcvd.reason


@pytest.mark.parametrize("path", ["/users", "/greetings", "/graphql"])
@pytest.mark.parametrize(
    "body, code",
    [
        (BRACKETS, "BAD_REQUEST"),
        (TWICE_IN_FEW, "BAD_REQUEST"),
        (TWICE, "QUERY_TOO_COMPLEX"),
        (b"[" * 100_000, "BAD_REQUEST"),
        (b'"' + b"\\\\" * 50_000, "BAD_REQUEST"),
        (b"[" + b"[]," * 40_000 + b"[]]", "QUERY_TOO_COMPLEX"),
    ],
    ids=["brackets", "a key twice in 2,400", "a key twice in 14,000", "deep", "backslashes", "empty lists"],
)
def test_a_hostile_body_is_refused(port, path, body, code):
    response, after = send_raw(port, request("POST", path, body), request("GET", "/users"), responses=2)

    assert (response[0], code_of(response)) == (400, code)
    assert after[0] == 200


@pytest.mark.parametrize(
    "frame, code",
    [
        (BRACKETS.decode(), 1009),
        (TWICE.decode(), 1009),
        (BRACKETS[: MAX_SIZE_BEFORE_ACK - 1].decode(), 4400),
        ('{"type": "ping", "payload": {"a": "' + "x" * MAX_SIZE_BEFORE_ACK + '"}}', 1009),
        ("[" * MAX_SIZE_BEFORE_ACK, 4400),
    ],
    ids=["brackets", "a key twice", "brackets that fit", "a large ping", "deep"],
)
def test_a_hostile_first_frame_closes_the_websocket(port, frame, code):
    with opened(port) as connection:
        connection.send(frame)

        assert closed(connection)[0] == code


@pytest.mark.parametrize("type_", ["connection_init", "ping", "pong", "subscribe", "complete"])
def test_values_are_counted_in_each_message(port, type_):
    payload = {"query": "{ __typename }", "variables": {"ids": ["x"] * 2500}}
    with opened(port) as connection:
        connection.send(INIT)
        assert json.loads(connection.recv(SAFE)) == {"type": "connection_ack"}

        connection.send(json.dumps({"type": type_, "id": "1", "payload": payload}))

        code, reason = closed(connection)
        assert code == 4400
        assert "2500 values" in reason


def test_a_message_may_be_large_after_the_acknowledgement(port):
    text = "x" * (MAX_SIZE - 200)
    with opened(port) as connection:
        connection.send(INIT)
        connection.recv(SAFE)

        connection.send(json.dumps({"type": "ping", "payload": {"a": text}}))

        assert json.loads(connection.recv(SAFE)) == {"type": "pong", "payload": {"a": text}}


def test_a_large_message_before_the_acknowledgement_closes_the_websocket(port):
    with connected(port) as connection:
        websocket_frames.open_websocket(connection)
        connection.sendall(websocket_frames.text("x" * MAX_SIZE_BEFORE_ACK * 2)[:100])

        ended = websocket_frames.read_frame(connection)

    assert ended is not None
    assert (ended[0], ended[1][:2]) == (websocket_frames.CLOSE, (1009).to_bytes(2, "big"))


def test_websocket_messages_are_not_compressed(port):
    with opened(port) as connection:
        response = connection.response

        assert response is not None
        assert "sec-websocket-extensions" not in response.headers
        assert connection.protocol.extensions == []


@pytest.mark.parametrize("size", [33, 3_000, 5_900])
def test_a_hostile_token_header_is_refused_quickly(production, size):
    head, rest = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (BRACKETS[:size], b"{}"))
    lines = f"GET /users HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {head}.{rest}.a\r\n\r\n"

    response = send_raw(production, lines.encode())[0]

    assert (response[0], code_of(response)) == (401, "UNAUTHENTICATED")
    assert response[1]["www-authenticate"] == 'Bearer error="invalid_token"'
