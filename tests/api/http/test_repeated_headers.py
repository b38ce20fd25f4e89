"""A repeated single-valued header is refused behind every server, before anything reads it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.testclient import TestClient

from api.http.repeated_headers import SINGLE
from tests.conftest import BASE_URL, CLIENT_ADDRESS, settings_for
from tests.fixtures.in_process import in_process_app
from tests.fixtures.raw_http import RawResponse, connected, read_response, serving

# What a client adds by itself, or refuses to send twice, is sent over a bare socket below.
NAMES = sorted(name.decode() for name in SINGLE)
LISTS = [
    "accept", "accept-encoding", "accept-language", "access-control-request-headers", "cache-control", "connection",
    "expect", "forwarded", "if-match", "if-none-match", "prefer", "te", "tracestate", "traceparent", "via",
    "x-forwarded-for", "x-request-id",
]  # fmt: skip
PATHS = ["/users", "/graphql?query={__typename}", "/", "/docs", "/openapi.json", "/health", "/metrics", "/nothing"]
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = ["Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13"]


@pytest.fixture(scope="module")
def local(template) -> Iterator[TestClient]:
    app = in_process_app(settings_for(template, TANDEM_CORS_ORIGINS="https://app.example.org"))
    with TestClient(app, base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        yield http_client


@pytest.fixture(scope="module", params=["wire", "h11"])
def port(request, template) -> Iterator[int]:
    """The ports of the service, behind its own parser and behind h11."""
    app = in_process_app(settings_for(template))
    with serving(app) if request.param == "wire" else behind_h11(app) as opened:
        yield opened


@contextlib.contextmanager
def behind_h11(app) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="websockets-sansio", lifespan="on", log_level="error"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def send_raw(port: int, *lines: str, method: str = "GET", path: str = "/users") -> RawResponse:
    """Send a request with exactly these headers, and return the response."""
    with connected(port) as connection:
        connection.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode())
        with connection.makefile("rb") as received:
            return read_response(received)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "host"])
def test_a_repeated_single_valued_header_is_refused(local, name, path):
    response = local.get(path, headers=[(name, "1"), (name, "1")])

    assert response.status_code == 400
    assert name in response.text.lower()
    assert "BAD_REQUEST" in response.text


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"])
def test_a_repeated_header_is_refused_with_any_method(local, method):
    twice = [("origin", "https://app.example.org")] * 2

    response = local.request(method, "/users", headers=[*twice, ("access-control-request-method", "GET")])

    assert response.status_code == 400
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("name", LISTS)
def test_a_list_header_may_be_repeated(local, name):
    response = local.get("/problems", headers=[(name, "a"), (name, "b")])

    assert response.status_code == 200


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Sec-Fetch-Site", "Cookie", "User-Agent"])
def test_a_repeated_header_is_refused_behind_each_parser(port, name):
    value = f"127.0.0.1:{port}"
    status, _, body = send_raw(port, f"Host: {value}", *([] if name == "Host" else [f"{name}: a"]), f"{name}: {value}")

    assert status == 400
    assert name == "Host" or name in json.loads(body)["detail"]


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Sec-Fetch-Site", "Cookie"])
def test_a_websocket_is_refused_behind_each_parser(port, name):
    host = f"Host: 127.0.0.1:{port}"
    twice = [host] if name == "Host" else [f"{name}: http://127.0.0.1:{port}"] * 2

    status, headers, body = send_raw(port, host, *twice, *HANDSHAKE, path="/graphql")

    assert status == 400
    if name not in ("Host", "Origin"):  # which the parsers refuse by themselves
        assert headers["content-type"] == "application/problem+json"
        assert name in json.loads(body)["detail"]


@pytest.mark.parametrize("line", [KEY, "Sec-WebSocket-Version: 13"])
def test_the_headers_of_a_handshake_must_not_be_repeated(port, line):
    assert send_raw(port, f"Host: 127.0.0.1:{port}", *HANDSHAKE, line, path="/graphql")[0] == 400


def test_websocket_subprotocols_may_be_repeated(port):
    protocols = ["Sec-WebSocket-Protocol: other", "Sec-WebSocket-Protocol: graphql-transport-ws"]

    status, headers, _ = send_raw(port, f"Host: 127.0.0.1:{port}", *HANDSHAKE, *protocols, path="/graphql")

    assert (status, headers["sec-websocket-protocol"]) == (101, "graphql-transport-ws")


@pytest.mark.slow
def test_a_repeated_header_is_refused_in_server_options(port):
    host = f"Host: 127.0.0.1:{port}"

    sent = [send_raw(port, host, *lines, method="OPTIONS", path="*") for lines in ((), ["Origin: a", "Origin: a"])]

    assert [status for status, _, _ in sent] == [204, 400]
