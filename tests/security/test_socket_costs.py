"""A WebSocket gets nothing that a request does not get: its guesses are counted, its operations take places and points,
its address is not in the log with a query, and a peer that reads nothing does not keep the connection."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from api.answer import request_gate
from api.app import create_app
from api.socket import PROTOCOL, SocketDoor
from api.wire.websocket import Socket
from tests.conftest import BASE, settings_for
from tests.security.credentials import bearer, key, production
from tests.wires import connected, read_answer, serving

ACK = {"type": "connection_ack"}
UPGRADE = (
    b"GET /graphql?token=a-secret HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
MUCH = "x" * 30_000_000


@contextlib.contextmanager
def service(database: Path, **more: str) -> Iterator[TestClient]:
    with TestClient(create_app(production(database, **more)), base_url=BASE, client=("192.0.2.1", 5)) as opened:
        yield opened


@contextlib.contextmanager
def opened(client: TestClient, credential: str) -> Iterator[WebSocketTestSession]:
    with client.websocket_connect("/graphql", subprotocols=[PROTOCOL]) as session:
        session.send_json({"type": "connection_init", "payload": {"Authorization": f"Bearer {credential}"}})
        yield session


def ask(session: WebSocketTestSession, query: str) -> Any:
    """What comes first of the answer to an operation; the rest is taken, too."""
    session.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
    first = session.receive_json()
    if first["type"] == "next":
        assert session.receive_json()["type"] == "complete"
    return first


def test_guesses_at_the_beginning_count_against_the_address(database):
    good, codes = key(database, "reader"), []
    with service(database, TANDEM_RATE="3") as client:
        for number in range(5):
            with opened(client, f"guess-{number}") as session, pytest.raises(WebSocketDisconnect) as ended:
                session.receive_json()
            codes.append(ended.value.code)

        other_door = client.get("/users", headers=bearer("guess-5"))
        with opened(client, good) as session, pytest.raises(WebSocketDisconnect) as ended:
            session.receive_json()

    assert codes == [4403, 4403, 4403, 1013, 1013]
    assert other_door.status_code == 429
    assert ended.value.code == 1013


def test_operations_are_paid_for(database):
    """The beginning is a point, a query another, a mutation five."""
    good = key(database, "admin", rate=8)
    group = 'mutation { createGroup(input: {name: "A"}) { group { name } } }'
    with service(database) as client, opened(client, good) as session:
        assert session.receive_json() == ACK

        answers = [ask(session, query) for query in ("{ __typename }", group, "{ __typename }", "{ __typename }")]

    assert [answer["type"] for answer in answers] == ["next", "next", "next", "error"]
    assert answers[-1]["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


def test_a_look_at_the_credential_in_between_costs_nothing(database, monkeypatch):
    monkeypatch.setitem(SocketDoor.__init__.__kwdefaults__, "check_seconds", 0.01)
    good = key(database, "admin", rate=3)
    with service(database) as client, opened(client, good) as session:
        session.receive_json()
        time.sleep(0.2)

        assert ask(session, "{ __typename }")["type"] == "next"


def test_where_there_is_no_place_an_operation_is_turned_away(database):
    with service(database) as client, opened(client, key(database, "reader")) as session:
        session.receive_json()
        gate = client.app.state.gate  # type: ignore[attr-defined]
        usual = gate.free

        ask(session, "{ __typename }")
        left = gate.free
        client.app.state.gate = request_gate(0)  # type: ignore[attr-defined]
        refused = ask(session, "{ __typename }")

    assert (left, refused["type"]) == (usual, "error")
    assert refused["payload"][0]["extensions"]["code"] == "OVERLOADED"


def test_the_query_of_a_socket_is_in_no_line(database, caplog, monkeypatch):
    uvicorn = logging.getLogger("uvicorn.error")
    with serving(create_app(settings_for(database))) as port, connected(port) as connection:
        monkeypatch.setattr(uvicorn, "handlers", [caplog.handler])
        uvicorn.setLevel(logging.INFO)
        uvicorn.info("it is heard")
        connection.sendall(UPGRADE)
        with connection.makefile("rb") as received:
            status, _, _ = read_answer(received)

    assert status == 101
    assert "it is heard" in caplog.text
    assert "a-secret" not in caplog.text


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Says much, and is done."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": MUCH})


def test_who_reads_nothing_does_not_keep_the_connection(monkeypatch):
    monkeypatch.setattr(Socket, "parting", 0.1)

    with serving(flood) as port, connected(port) as connection:
        connection.sendall(UPGRADE)
        time.sleep(4)
        heard = 0
        with contextlib.suppress(ConnectionResetError):
            while some := connection.recv(2**20):
                heard += len(some)

    assert heard < len(MUCH) / 2


def test_who_reads_gets_all():
    with serving(flood) as port, connected(port) as connection:
        connection.sendall(UPGRADE)
        heard = 0
        while some := connection.recv(2**20):
            heard += len(some)

    assert heard > len(MUCH)
