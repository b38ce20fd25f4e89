"""A WebSocket costs what a request costs: rates, concurrency and guesses count there too.

Its query string is not logged, and a client that reads nothing is disconnected.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from api.app import create_app
from api.graphql.websocket.handler import CHECK_SECONDS
from api.graphql.websocket.session import PROTOCOL
from api.http.concurrency import request_limit
from api.server.protocol import websocket_protocol
from tests.conftest import BASE_URL, settings_for
from tests.fixtures.credentials import bearer, key, production
from tests.fixtures.raw_http import connected, read_response, serving

ACK = {"type": "connection_ack"}
UPGRADE = (
    b"GET /graphql?token=a-secret HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
LARGE_TEXT = "x" * 30_000_000


@contextlib.contextmanager
def service(database: Path, **more: str) -> Iterator[TestClient]:
    with TestClient(create_app(production(database, **more)), base_url=BASE_URL, client=("192.0.2.1", 5)) as opened:
        yield opened


@contextlib.contextmanager
def opened(http_client: TestClient, credential: str) -> Iterator[WebSocketTestSession]:
    with http_client.websocket_connect("/graphql", subprotocols=[PROTOCOL]) as session:
        session.send_json({"type": "connection_init", "payload": {"Authorization": f"Bearer {credential}"}})
        yield session


def ask(session: WebSocketTestSession, query: str) -> Any:
    """Run an operation; returns the first message of its response, and reads the rest."""
    session.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
    first = session.receive_json()
    if first["type"] == "next":
        assert session.receive_json()["type"] == "complete"
    return first


def remaining(http_client: TestClient) -> int:
    """The points that remain for the client's address after this request, which takes one."""
    match = re.search(r"r=(\d+)", http_client.get("/nothing").headers["ratelimit"])
    assert match
    return int(match[1])


def test_invalid_credentials_are_charged_to_the_address(database):
    """Handshake and init cost a point each."""
    good, codes = key(database, "reader"), []
    with service(database, TANDEM_RATE="6") as http_client:
        for number in range(3):
            with opened(http_client, f"guess-{number}") as session, pytest.raises(WebSocketDisconnect) as ended:
                session.receive_json()
            codes.append(ended.value.code)

        with pytest.raises(WebSocketDenialResponse) as refused, opened(http_client, good):
            pass
        rest = http_client.get("/users", headers=bearer("guess-5"))

    assert codes == [4403] * 3
    assert refused.value.status_code == rest.status_code == 429
    assert refused.value.json()["code"] == "RATE_LIMITED"
    assert {"retry-after", "ratelimit", "ratelimit-policy", "x-request-id"} <= set(refused.value.headers)


def test_a_handshake_with_a_valid_credential_is_charged_to_it(database):
    good = key(database, "reader", rate=10)
    with service(database, TANDEM_RATE="3") as http_client:
        http_client.get("/users", headers=bearer(good))
        while http_client.get("/nothing").status_code != 429:
            pass
        with http_client.websocket_connect("/graphql", subprotocols=[PROTOCOL], headers=bearer(good)) as session:
            session.send_json({"type": "connection_init"})
            ack = session.receive_json()
        response = http_client.get("/users", headers=bearer(good))

    assert ack == ACK
    assert response.headers["ratelimit"].startswith('"default";r=6;')  # two requests, a handshake, an init


@pytest.mark.parametrize(
    "path, headers",
    [
        ("/graphql", {"origin": "https://evil.example"}),
        ("/graphql", {"host": "evil.example"}),
        ("/nothing", {}),
        ("/users", {}),
        ("/health", {}),
    ],
)
def test_a_refused_handshake_costs_a_point(database, path, headers):
    with service(database, TANDEM_RATE="100", TANDEM_ALLOWED_HOSTS="127.0.0.1,testserver") as http_client:
        before = remaining(http_client)

        with (
            pytest.raises(WebSocketDisconnect),
            http_client.websocket_connect(path, subprotocols=[PROTOCOL], headers=headers),
        ):
            pass

        assert remaining(http_client) == before - 2


@pytest.mark.parametrize(
    "sent, ends",
    [
        ('{"type": "ping"}', False),
        ('{"type": "pong"}', False),
        (json.dumps({"type": "ping", "payload": {"a": "x" * 7000}}), False),
        ("{", True),
        ("", True),
        (json.dumps({"type": "subscribe", "id": "1", "payload": {"query": "{ a }"}}), True),
    ],
    ids=["ping", "pong", "7 kB", "no JSON", "nothing", "too early"],
)
def test_a_message_before_the_init_is_charged_to_the_address(database, sent, ends):
    with service(database, TANDEM_RATE="1000") as http_client:
        before = remaining(http_client)
        with http_client.websocket_connect("/graphql", subprotocols=[PROTOCOL]) as session:
            session.send_text(sent)
            session.send_text("[]")
            with contextlib.suppress(WebSocketDisconnect):
                while session.receive_json():
                    pass
        after = remaining(http_client)

    handshake, messages, last_request = 1, 1 if ends else 2, 1
    assert before - after == handshake + messages + last_request


@pytest.mark.slow
def test_messages_are_charged_by_size(database):
    """After the init, to the credential."""
    good = key(database, "reader", rate=1000)
    sizes = {1: 1, 16_000: 1, 17_000: 2, 100_000: 7}
    with service(database, TANDEM_RATE="1000") as http_client, opened(http_client, good) as session:
        assert session.receive_json() == ACK
        points = []
        for size in sizes:
            before = http_client.get("/users", headers=bearer(good)).headers["ratelimit"]
            session.send_json({"type": "ping", "payload": {"a": "x" * size}})
            session.receive_json()
            after = http_client.get("/users", headers=bearer(good)).headers["ratelimit"]
            points.append(int(before.split("r=")[1].split(";")[0]) - int(after.split("r=")[1].split(";")[0]) - 1)

    assert points == list(sizes.values())


def test_operations_are_charged(database):
    """A query costs a point, a mutation five."""
    good = key(database, "admin", rate=7)
    group = 'mutation { createGroup(input: {name: "A"}) { group { name } } }'
    with service(database) as http_client, opened(http_client, good) as session:
        assert session.receive_json() == ACK

        responses = [ask(session, query) for query in ("{ __typename }", group, "{ __typename }", "{ __typename }")]

    assert [response["type"] for response in responses] == ["next", "next", "next", "error"]
    assert responses[-1]["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ping"},
        {"type": "pong"},
        {"type": "complete", "id": "1"},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }" + " " * 17_000}},
    ],
    ids=["ping", "pong", "complete", "large operation"],
)
def test_without_points_only_a_small_operation_gets_an_error(database, message):
    good = key(database, "admin", rate=2)
    with service(database) as http_client, opened(http_client, good) as session:
        assert session.receive_json() == ACK
        assert [ask(session, "{ __typename }")["type"] for _ in range(3)] == ["next", "next", "error"]
        session.send_json(message)

        with pytest.raises(WebSocketDisconnect) as ended:
            session.receive_json()

    assert ended.value.code == 1013


def test_an_operation_refused_by_overload_is_charged(database):
    good = key(database, "admin", rate=1)
    with service(database) as http_client, opened(http_client, good) as session:
        assert session.receive_json() == ACK
        http_client.app.state.concurrency_limit = request_limit(0)  # type: ignore[attr-defined]

        responses = [ask(session, "{ __typename }") for _ in range(2)]

    assert [response["payload"][0]["extensions"]["code"] for response in responses] == ["OVERLOADED", "RATE_LIMITED"]


@pytest.mark.slow
def test_checking_the_credential_is_free(database):
    good = key(database, "admin", rate=1)
    with service(database) as http_client, opened(http_client, good) as session:
        session.receive_json()
        time.sleep(CHECK_SECONDS + 0.2)

        assert ask(session, "{ __typename }")["type"] == "next"


def test_operations_count_for_the_concurrency_limit(database):
    with service(database) as http_client, opened(http_client, key(database, "reader")) as session:
        session.receive_json()
        limit = http_client.app.state.concurrency_limit  # type: ignore[attr-defined]
        before = limit.available

        ask(session, "{ __typename }")
        after = limit.available
        http_client.app.state.concurrency_limit = request_limit(0)  # type: ignore[attr-defined]
        refused = ask(session, "{ __typename }")

    assert (after, refused["type"]) == (before, "error")
    assert refused["payload"][0]["extensions"]["code"] == "OVERLOADED"


@pytest.mark.slow
def test_the_query_string_of_a_socket_is_not_logged(database, caplog, monkeypatch):
    uvicorn = logging.getLogger("uvicorn.error")
    with serving(create_app(settings_for(database))) as port, connected(port) as connection:
        monkeypatch.setattr(uvicorn, "handlers", [caplog.handler])
        uvicorn.setLevel(logging.INFO)
        uvicorn.info("logged")
        connection.sendall(UPGRADE)
        with connection.makefile("rb") as received:
            status, _, _ = read_response(received)

    assert status == 101
    assert "logged" in caplog.text
    assert "a-secret" not in caplog.text


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that sends one large message."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": LARGE_TEXT})


@pytest.mark.slow
def test_a_connection_that_reads_nothing_is_closed():
    with serving(flood, websocket=websocket_protocol(close_seconds=0.1)) as port, connected(port) as connection:
        connection.sendall(UPGRADE)
        time.sleep(4)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(2**20):
                received += len(chunk)

    assert received < len(LARGE_TEXT) / 2


@pytest.mark.slow
def test_a_connection_that_reads_gets_everything():
    with serving(flood) as port, connected(port) as connection:
        connection.sendall(UPGRADE)
        received = 0
        while chunk := connection.recv(2**20):
            received += len(chunk)

    assert received > len(LARGE_TEXT)
