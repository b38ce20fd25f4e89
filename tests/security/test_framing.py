"""The end of a request is determined in one way (RFC 9112, 9110, 6455).

No bytes of one request are read as another, and nothing is read after a refusal.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from api.server.http.limits import ConnectionLimits
from api.server.protocol import http_protocol
from tests.fixtures.protocol_harness import Echo
from tests.fixtures.raw_http import RawResponse, all_responses, connected, problem, read_response, send_raw, serving

pytestmark = [pytest.mark.skipif(http_protocol() == "auto", reason="there is no httptools here"), pytest.mark.sqlite]

HOST = "Host: 127.0.0.1"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = f"{HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket"
WHOLE = f"{HANDSHAKE}\r\n{KEY}\r\nSec-WebSocket-Version: 13"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nx:y\r\n\r\n"
NEXT = f"GET /next HTTP/1.1\r\n{HOST}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module")
def port(echo: Echo) -> Iterator[int]:
    limits = ConnectionLimits(
        read_timeout=2, request_timeout=5, idle_timeout=5, sweep_interval=0.05, url=200, head=2000, body=1000
    )
    with serving(echo, limits) as port:
        yield port


def raw(line: str, fields: str = HOST, body: str = "") -> bytes:
    return f"{line}\r\n{fields}\r\n\r\n{body}".encode("latin-1")


def counted(body: str) -> str:
    return f"Content-Length: {len(body)}"


def chunked(body: str) -> str:
    return f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"


def all_of(port: int, *pieces: bytes) -> list[RawResponse]:
    """All responses to bytes whose last request ends the connection."""
    with connected(port) as harness:
        for piece in pieces:
            harness.sendall(piece)
            time.sleep(0.02 if len(pieces) > 1 else 0)
        return all_responses(harness)


def seen(response: RawResponse) -> Any:
    """Method, target and body of the request as the application got it."""
    assert response[0] == 200, response
    return json.loads(response[2])[:3]


@pytest.mark.parametrize("options", ["Upgrade", "upgrade", "keep-alive, Upgrade", "Upgrade, HTTP2-Settings"])
@pytest.mark.parametrize("token", ["foo", "h2c", "TLS/1.0", "websocket, foo", "foo\r\nUpgrade: websocket"])
@pytest.mark.parametrize("framing", ["length", "chunks", "none"])
def test_a_body_is_read_as_a_body_beside_upgrade(port, echo, options, token, framing):
    body = "" if framing == "none" else SMUGGLED
    lines = {"length": counted(body), "chunks": "Transfer-Encoding: chunked", "none": "X: y"}[framing]
    fields = f"{HOST}\r\nConnection: {options}\r\nUpgrade: {token}\r\nHTTP2-Settings: AAMAAABk\r\n{lines}"
    sent = raw("POST /users HTTP/1.1", fields, chunked(body) if framing == "chunks" else body)
    echo.seen.clear()

    responses = send_raw(port, sent + NEXT, responses=2)

    assert [seen(response) for response in responses] == [["POST", "/users", body], ["GET", "/next", ""]]
    assert len(echo.seen) == 2


def test_request_smuggling_by_upgrade_gets_one_response(port, echo):
    """The body of a request with an unknown `Upgrade` was once read as a request of its own."""
    body = f"GET /smuggled HTTP/1.1\r\n{HOST}\r\n\r\n"
    fields = f"{HOST}\r\nConnection: Upgrade, close\r\nUpgrade: foo\r\n{counted(body)}"
    echo.seen.clear()

    responses = all_of(port, raw("POST /users HTTP/1.1", fields, body))

    assert [seen(response) for response in responses] == [["POST", "/users", body]]
    assert [request.target for request in echo.seen] == ["/users"]


@pytest.mark.parametrize("token", ["h2c", "websocket"])
def test_upgrade_in_http_1_0_is_ignored(port, token):
    fields = f"{WHOLE.replace('websocket', token)}\r\n{counted(SMUGGLED)}"

    responses = all_of(port, raw("GET /users HTTP/1.0", fields, SMUGGLED) + NEXT)

    assert [seen(response) for response in responses] == [["GET", "/users", SMUGGLED]]


def test_an_ignored_upgrade_is_not_passed_on(port, echo):
    send_raw(
        port, raw("GET /users HTTP/1.1", f"Upgrade: a\r\n{HOST}\r\nUPGRADE: b\r\nConnection: upgrade\r\nX: upgrade: c")
    )

    assert echo.seen[-1].headers == (("host", "127.0.0.1"), ("connection", "upgrade"), ("x", "upgrade: c"))


@pytest.mark.parametrize(
    "fields",
    [
        WHOLE.replace("Connection: Upgrade", "X: y"),
        WHOLE.replace("Connection: Upgrade", "Connection: keep-alive"),
        WHOLE.replace("Connection: Upgrade", "Proxy-Connection: Upgrade"),
        WHOLE.replace("Upgrade: websocket", "Upgrade: websocket, websocket"),
        f"{WHOLE}\r\nUpgrade: websocket",
    ],
    ids=["no Connection", "keep-alive", "Proxy-Connection", "twice in one field", "two fields"],
)
def test_a_request_for_other_protocols_too_is_an_ordinary_request(port, fields):
    responses = send_raw(
        port, raw("POST /socket HTTP/1.1", f"{fields}\r\n{counted(SMUGGLED)}", SMUGGLED) + NEXT, responses=2
    )

    assert [seen(response) for response in responses] == [["POST", "/socket", SMUGGLED], ["GET", "/next", ""]]


@pytest.mark.parametrize(
    "line, fields, body, sentence",
    [
        ("POST /socket HTTP/1.1", WHOLE, "", "a GET request without a body"),
        ("GET /socket HTTP/1.1", f"{WHOLE}\r\n{counted(SMUGGLED)}", SMUGGLED, "a GET request without a body"),
        ("GET /socket HTTP/1.1", f"{WHOLE}\r\nTransfer-Encoding: chunked", chunked(SMUGGLED), "a GET request without"),
        ("GET /socket HTTP/1.1", f"{WHOLE}\r\nTransfer-Encoding: chunked", "0\r\n\r\n", "a GET request without a body"),
        ("GET /socket HTTP/1.1", WHOLE.replace("13", "8"), "", "Sec-WebSocket-Version must be 13"),
        ("GET /socket HTTP/1.1", WHOLE.replace("13", "13, 8"), "", "Sec-WebSocket-Version must be 13"),
        ("GET /socket HTTP/1.1", f"{HANDSHAKE}\r\n{KEY}", "", "Sec-WebSocket-Version must be 13"),
        ("GET /socket HTTP/1.1", f"{HANDSHAKE}\r\nSec-WebSocket-Version: 13", "", "Sec-WebSocket-Key must be 16 bytes"),
        ("GET /socket HTTP/1.1", WHOLE.replace("dGhl", ""), "", "Sec-WebSocket-Key must be 16 bytes in base64"),
        ("GET /socket HTTP/1.1", WHOLE.replace("ZQ==", "ZR=="), "", "Sec-WebSocket-Key must be 16 bytes in base64"),
        ("GET /socket HTTP/1.1", WHOLE, SMUGGLED, "a WebSocket handshake must be answered before more data is sent"),
    ],
)
def test_an_invalid_handshake_ends_the_connection(port, echo, line, fields, body, sentence):
    echo.seen.clear()

    (response,) = all_of(port, raw(line, fields, body) + (NEXT if body else b""))

    assert response[0] == 400
    assert sentence in problem(response)["detail"]
    assert response[1].get("sec-websocket-version") == ("13" if "Version" in sentence else None)
    assert not echo.seen


def test_a_handshake_may_have_content_length_0(port):
    ((status, headers, _),) = send_raw(port, raw("GET /socket HTTP/1.1", f"{WHOLE}\r\nContent-Length: 0"))

    assert (status, headers["upgrade"]) == (101, "websocket")


def test_a_handshake_behind_an_active_request_is_refused(port):
    responses = all_of(port, NEXT + raw("GET /socket HTTP/1.1", WHOLE))

    assert [response[0] for response in responses] == [200, 400]
    assert "must be sent after the responses to earlier requests" in problem(responses[1])["detail"]


def test_a_handshake_behind_an_answered_request_is_accepted(port):
    responses = send_raw(port, NEXT, raw("GET /socket HTTP/1.1", WHOLE), responses=2)

    assert [response[0] for response in responses] == [200, 101]


@pytest.mark.parametrize("status", [403, 404, 429, 200])
def test_nothing_is_read_behind_a_refused_handshake(port, echo, status):
    echo.refusal = status
    echo.seen.clear()

    for pause in (0, 0.03):
        with connected(port) as harness, harness.makefile("rb") as received:
            harness.sendall(raw("GET /elsewhere HTTP/1.1", WHOLE))
            time.sleep(pause)
            harness.sendall(NEXT)

            # What follows at once may be seen with the handshake, and be refused together with it.
            assert read_response(received, bodiless=True)[0] in ({status} if pause else {status, 400})
            assert b"HTTP/1.1" not in _rest(harness)
    assert not echo.seen


def _rest(harness: socket.socket) -> bytes:
    rest = b""
    with contextlib.suppress(ConnectionResetError):
        while data := harness.recv(65536):
            rest += data
    return rest


@pytest.mark.parametrize(
    "line, status",
    [
        ("GET  /a HTTP/1.1", 400),
        ("GET /a  HTTP/1.1", 400),
        ("GET\t/a HTTP/1.1", 400),
        ("GET /a\tHTTP/1.1", 400),
        ("GET /a HTTP/1.1 ", 400),
        ("GET /a HTTP/1.1\t", 400),
        (" GET /a HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /a\x0b HTTP/1.1", 400),
        ("GET /a\x7f HTTP/1.1", 400),
        ("GET /\xfc HTTP/1.1", 400),
        ("G(T /a HTTP/1.1", 400),
        (f"{'G' * 41} /a HTTP/1.1", 400),
        ("GET /a http/1.1", 400),
        ("GET /a HTTP/1.1x", 400),
        ("GET /a HTTP/ 1.1", 400),
        ("GET /a RTSP/1.1", 400),
        ("GET /a ICE/1.0", 400),
        ("GET /a HTTPS/1.1", 400),
        ("GET /a HTTP/1.2", 505),
        ("GET /a HTTP/1.10", 505),
        ("GET /a HTTP/01.1", 505),
        ("GET /a HTTP/2.0", 505),
        ("GET /a HTTP/0.9", 505),
        ("GET /a HTTP/3", 505),
        ("GET /a", 505),
        ("PRI * HTTP/2.0", 505),
        ("CONNECT a:80 HTTP/1.1", 501),
        (f"GET /{'a' * 200} HTTP/1.1", 414),
    ],
)
def test_request_lines_follow_the_standard(port, echo, line, status):
    echo.seen.clear()

    for fields in (HOST, f"{HOST}\r\nConnection: keep-alive"):
        (response,) = all_of(port, raw(line, fields) + NEXT)

        assert response[0] == problem(response)["status"] == status
    assert not echo.seen


@pytest.mark.parametrize("pieces", [[b"\r\n"], [b"\r\n" * 50], [b"\r", b"\n"], [b"\r\n\r", b"\n\r", b"\n"]])
@pytest.mark.slow
def test_blank_lines_before_a_request_are_ignored(port, pieces):
    before = send_raw(port, *pieces, NEXT)
    between = send_raw(port, NEXT, *pieces, NEXT, responses=2)
    together = send_raw(port, NEXT + b"".join(pieces) + NEXT + b"".join(pieces) + NEXT, responses=3)

    assert [seen(response) for response in before + between + together] == [["GET", "/next", ""]] * 6


@pytest.mark.parametrize("blank", [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b" \r\n", b"\t\r\n", b"\x00\r\n", b"\r\n\n"])
def test_an_incomplete_blank_line_before_a_request_is_refused(port, blank):
    (first,) = all_of(port, blank + NEXT)
    responses = all_of(port, NEXT + blank + NEXT)

    assert first[0] == 400
    assert [response[0] for response in responses] == [200, 400]


@pytest.mark.slow
def test_blank_lines_do_not_keep_a_connection_open(port):
    """They are no request, so the timeout for the first one continues."""
    with connected(port) as harness:
        harness.settimeout(0.1)

        assert any(_hangs_up(harness, half) for half in [b"\r", b"\n"] * 75)


def _hangs_up(harness: socket.socket, sent: bytes) -> bool:
    try:
        harness.sendall(sent)
        return harness.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


BOTH = ["/next", "/last"]
LAST = [
    "Connection: close",
    "Connection: Close",
    "Connection: keep-alive, close",
    "Connection: close, keep-alive",
    "Connection: foo,\tclose ,",
    "Connection: keep-alive\r\nConnection: close",
    "Connection: close\r\nConnection: keep-alive",
]


@pytest.mark.parametrize("fields", [*LAST, None], ids=lambda fields: fields or "HTTP/1.0 with keep-alive")
@pytest.mark.parametrize("framing", ["none", "length", "chunks"])
def test_nothing_is_read_behind_the_last_request_of_a_connection(port, echo, fields, framing):
    if fields is None and framing == "chunks":
        return
    line = "POST /last HTTP/1.0" if fields is None else "POST /last HTTP/1.1"
    lines = {"none": "X: y", "length": counted(SMUGGLED), "chunks": "Transfer-Encoding: chunked"}[framing]
    body = {"none": "", "length": SMUGGLED, "chunks": chunked(SMUGGLED)}[framing]
    last = raw(line, f"{HOST}\r\n{fields or 'Connection: keep-alive'}\r\n{lines}", body)

    for pieces, targets in (([last + NEXT], ["/last"]), ([last, NEXT], ["/last"]), ([NEXT + last + NEXT], BOTH)):
        echo.seen.clear()
        responses = all_of(port, *pieces)

        assert [request.target for request in echo.seen] == [seen(response)[1] for response in responses] == targets
        assert responses[-1][1]["connection"] == "close"
        assert echo.seen[-1].body.decode() == ("" if framing == "none" else SMUGGLED)


@pytest.mark.parametrize("fields", ["Proxy-Connection: close", "Proxy-Connection: upgrade\r\nUpgrade: foo"])
def test_proxy_connection_does_not_end_a_connection(port, fields):
    """Otherwise a caller could end the connection between a proxy and this server for the next caller."""
    sent = raw("POST /a HTTP/1.1", f"{HOST}\r\n{fields}\r\n{counted('hello')}", "hello")

    responses = send_raw(port, sent + NEXT, responses=2) + send_raw(port, sent, NEXT, sent, NEXT, responses=4)

    assert [seen(response)[2] for response in responses] == ["hello", ""] * 3


@pytest.mark.parametrize(
    "trailer", ["Connection: close", "Proxy-Connection: close", "Upgrade: x\r\nConnection: upgrade"]
)
@pytest.mark.parametrize("fields", ["X: y", "Connection: upgrade\r\nUpgrade: foo"])
def test_trailer_fields_do_not_end_a_connection(port, trailer, fields):
    body = f"5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"
    sent = raw("POST /a HTTP/1.1", f"{HOST}\r\n{fields}\r\nTransfer-Encoding: chunked", body)

    responses = send_raw(port, sent + NEXT, responses=2) + send_raw(port, sent, NEXT, responses=2)

    assert [seen(response)[2] for response in responses] == ["hello", ""] * 2


def test_bodies_with_different_framing_may_follow_one_another(port):
    kinds = {
        "": raw("GET /none HTTP/1.1"),
        SMUGGLED: raw("POST /length HTTP/1.1", f"{HOST}\r\n{counted(SMUGGLED)}", SMUGGLED),
        "hello": raw("PUT /chunks HTTP/1.1", f"{HOST}\r\nTransfer-Encoding: chunked", chunked("hello")),
    }

    for first in kinds:
        for second in kinds:
            for third in kinds:
                responses = send_raw(port, kinds[first] + kinds[second] + kinds[third] + NEXT, responses=4)

                assert [seen(response)[2] for response in responses] == [first, second, third, ""]


def test_pipelined_requests_do_not_count_towards_the_size_of_a_body(port):
    sent = raw("POST /a HTTP/1.1", f"{HOST}\r\n{counted('a' * 800)}", "a" * 800)
    coded = raw("POST /a HTTP/1.1", f"{HOST}\r\nTransfer-Encoding: chunked", chunked("a" * 800))

    responses = send_raw(port, (sent + coded) * 3, responses=6)

    assert [seen(response)[2] for response in responses] == ["a" * 800] * 6


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_that_is_too_large_on_the_wire_ends_the_connection(port, echo, framing):
    body = "a" * 1001
    lines = counted(body) if framing == "length" else "Transfer-Encoding: chunked"
    sent = raw("POST /a HTTP/1.1", f"{HOST}\r\n{lines}", body if framing == "length" else chunked(body))
    echo.seen.clear()

    (whole,) = all_of(port, sent + NEXT)
    (pieces,) = all_of(port, sent[:500], sent[500:] + NEXT)

    assert whole[0] == pieces[0] == 413
    assert not echo.seen


def test_blanks_around_a_header_value_are_removed(port, echo):
    send_raw(port, raw("GET /a HTTP/1.1", f"{HOST}\r\nX: \t y z \t \r\nY:\r\nZ:1"))

    assert dict(echo.seen[-1].headers) == {"host": "127.0.0.1", "x": "y z", "y": "", "z": "1"}


@pytest.mark.parametrize("host", ["a", "a:", "a:0", "a:00080", "a:65535", "[::1]", "[::1]:65535", "a,b"])
def test_a_host_may_have_a_port(port, host):
    responses = send_raw(
        port, raw("GET /a HTTP/1.1", f"Host: {host}") + raw(f"GET http://{host}/a HTTP/1.1"), responses=2
    )

    assert [response[0] for response in responses] == [200, 200]


@pytest.mark.parametrize(
    "host",
    [*("", ":80", "a b", "u@a", "[::1", "a:1:2", "a:-1", "a:+80", "a:8o"), *("a:65536", "a:99999", "a:080000")],
)
def test_an_invalid_host_or_port_is_refused(port, host):
    for sent in (raw("GET /a HTTP/1.1", f"Host: {host}"), raw(f"GET http://{host}/a HTTP/1.1")):
        assert [response[0] for response in all_of(port, sent + NEXT)] == [400]


def test_an_http_1_0_client_gets_no_100_continue(port):
    body = "hello"

    ((status, _, _),) = all_of(port, raw("POST /a HTTP/1.0", f"Expect: 100-continue\r\n{counted(body)}", body))

    assert status == 200


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in two parts without Content-Length."""
    if scope["type"] == "lifespan":
        await Echo()(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


@pytest.mark.slow
def test_an_http_1_0_client_gets_no_chunks():
    with serving(stream) as port, connected(port) as harness, harness.makefile("rb") as received:
        harness.sendall(raw("GET /a HTTP/1.0", "Connection: keep-alive"))
        received_bytes = received.read()
    with serving(stream) as port, connected(port) as harness, harness.makefile("rb") as received:
        harness.sendall(raw("GET /a HTTP/1.1", f"{HOST}\r\nConnection: close"))
        chunks = received.read()

    head, _, body = received_bytes.partition(b"\r\n\r\n")
    assert body == b"one, two"
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert chunks.endswith(b"\r\n\r\n5\r\none, \r\n3\r\ntwo\r\n0\r\n\r\n")
