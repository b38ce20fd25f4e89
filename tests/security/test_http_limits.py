"""Malformed, oversized and slow HTTP is refused with a problem document, without delaying others."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.middleware.request_exchange import HEADERS
from api.server.http.limits import ConnectionLimits, ConnectionSweeper
from api.server.protocol import http_protocol
from api.settings import read_settings
from schema.migrations.commands import migrate
from tests.fixtures.raw_http import all_responses, connected, problem, read_response, request, send_raw, serving

pytestmark = pytest.mark.skipif(http_protocol() == "auto", reason="there is no httptools here, so uvicorn reads by h11")

# As in production, with shorter timeouts.
LIMITS = ConnectionLimits(
    read_timeout=0.5,
    request_timeout=1,
    idle_timeout=1,
    close_timeout=0.3,
    write_timeout=0.3,
    sweep_interval=0.05,
    connections=300,
    pipelined=20,
)
LARGE = 8 * 2**20
GOOD = request("GET", "/health/live")


def with_test_endpoints(app: ASGIApp) -> ASGIApp:
    """The service with test endpoints: a late response, a large one, and one in parts."""

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not path.startswith("/test/"):
            await app(scope, receive, send)
            return
        if path == "/test/late":
            await asyncio.sleep(5)
        body = b"x" * (LARGE if path == "/test/much" else 3)
        headers = [(b"content-length", str(len(body)).encode())] if path != "/test/parts" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if path == "/test/parts":
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    return whole


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    path: Path = tmp_path_factory.mktemp("limits") / "tandem.db"
    migrate(str(path))
    settings = read_settings(
        {"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}", "TANDEM_BODY_LIMIT": "100000"}
    )
    with serving(with_test_endpoints(create_app(settings)), LIMITS) as port:
        yield port


def head(*lines: str, start: str = "POST /users HTTP/1.1") -> bytes:
    return "\r\n".join([start, *lines, "", ""]).encode("latin-1")


HOST = "Host: localhost"
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"

MALFORMED: dict[str, tuple[bytes, int]] = {
    # Host and target
    "no host": (head(start="GET /users HTTP/1.1"), 400),
    "two hosts": (head(HOST, "Host: example.com"), 400),
    "the same host twice": (head(HOST, HOST), 400),
    "an empty host": (head("Host:"), 400),
    "a host with a space": (head("Host: a b"), 400),
    "a host with a path": (head("Host: a/b"), 400),
    "a host with a user": (head("Host: a@b"), 400),
    "a host with a strange port": (head("Host: a:b"), 400),
    "a target with a user": (head(HOST, start="GET http://u@localhost/users HTTP/1.1"), 400),
    "a target of another scheme": (head(HOST, start="GET ftp://localhost/users HTTP/1.1"), 400),
    "a target without a host": (head(HOST, start="GET http:///users HTTP/1.1"), 400),
    "a target that is no path": (head(HOST, start="GET users HTTP/1.1"), 400),
    "an asterisk but for OPTIONS": (head(HOST, start="GET * HTTP/1.1"), 400),
    "a proxy's request": (head("Host: a:443", start="CONNECT a:443 HTTP/1.1"), 501),
    # Which HTTP
    "HTTP/0.9": (b"GET /users\r\n\r\n", 505),
    "HTTP/2 in words": (head(HOST, start="GET /users HTTP/2.0"), 505),
    "HTTP/2 by preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3 in words": (head(HOST, start="GET /users HTTP/3"), 505),
    "HTTP/1.2": (head(HOST, start="GET /users HTTP/1.2"), 505),
    "http in lower case": (head(HOST, start="GET /users http/1.1"), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    # Framing
    "two lengths": (head(HOST, "Content-Length: 1", "Content-Length: 2") + b"ab", 400),
    "the same length twice": (head(HOST, "Content-Length: 1", "Content-Length: 1") + b"a", 400),
    "a list of lengths": (head(HOST, "Content-Length: 1, 1") + b"a", 400),
    "a length with a sign": (head(HOST, "Content-Length: +1") + b"a", 400),
    "a negative length": (head(HOST, "Content-Length: -1") + b"a", 400),
    "a length in hexadecimal": (head(HOST, "Content-Length: 0x1") + b"a", 400),
    "a length beyond all bounds": (head(HOST, "Content-Length: 99999999999999999999999"), 400),
    "length before chunks": (head(HOST, "Content-Length: 5", CHUNKED) + END, 400),
    "chunks before length": (head(HOST, CHUNKED, "Content-Length: 5") + END, 400),
    "chunks in HTTP/1.0": (head(HOST, CHUNKED, start="POST /users HTTP/1.0") + END, 400),
    "chunked twice": (head(HOST, "Transfer-Encoding: chunked, chunked") + END, 400),
    "two codings in two lines": (head(HOST, CHUNKED, CHUNKED) + END, 400),
    "a coding after chunked": (head(HOST, "Transfer-Encoding: chunked, gzip") + END, 400),
    "a coding before chunked": (head(HOST, "Transfer-Encoding: gzip, chunked") + END, 501),
    "another coding": (head(HOST, "Transfer-Encoding: identity") + END, 501),
    "almost chunked": (head(HOST, "Transfer-Encoding: xchunked") + END, 501),
    "chunked behind a control character": (head(HOST, "Transfer-Encoding: \x0bchunked") + END, 400),
    "a chunk without a size": (head(HOST, CHUNKED) + b"zz\r\nabc\r\n" + END, 400),
    "a chunk of a negative size": (head(HOST, CHUNKED) + b"-3\r\nabc\r\n" + END, 400),
    "a chunk beyond all bounds": (head(HOST, CHUNKED) + b"ffffffffffffffffff\r\nabc\r\n" + END, 400),
    "a chunk longer than its size": (head(HOST, CHUNKED) + b"1\r\nabc\r\n" + END, 400),
    "chunks in bare lines": (head(HOST, CHUNKED) + b"3\nabc\n0\n\n", 400),
    # Syntax
    "a folded header": (head(HOST, "A: b", " c"), 400),
    "bare line feeds": (b"GET /users HTTP/1.1\nHost: localhost\n\n", 400),
    "a bare line feed": (head(HOST, "A: b\nC: d"), 400),
    "a bare carriage return": (head(HOST, "A: b\rC: d"), 400),
    "a NUL in a header": (head(HOST, "A: b\0c"), 400),
    "a control character in a header": (head(HOST, "A: b\x01c"), 400),
    "a space before the colon": (head("Host : localhost"), 400),
    "a space before the name": (head(" Host: localhost"), 400),
    "a header without a colon": (head(HOST, "Abc"), 400),
    "a header without a name": (head(HOST, ": b"), 400),
    "a name in parentheses": (head(HOST, "A(b): c"), 400),
    "a name beyond ASCII": (head(HOST, "\xe9: c"), 400),
    "a method that is none": (head(HOST, start="G\0T /users HTTP/1.1"), 400),
    "a method without end": (b"A" * 5000 + b" /users HTTP/1.1\r\n", 400),
    "a NUL in the path": (head(HOST, start="GET /\0 HTTP/1.1"), 400),
    "a path beyond ASCII": (head(HOST, start="GET /\xe9 HTTP/1.1"), 400),
    "a space in the path": (head(HOST, start="GET /a b HTTP/1.1"), 400),
    # Size
    "a long header": (head(HOST, "A: " + "a" * 33_000), 431),
    "a header without end": (head(HOST, "A: " + "a" * 300_000)[:-4], 431),
    "many headers": (head(HOST, *(f"A{n}: b" for n in range(100))), 431),
    "one header many times": (head(HOST, *["A: b"] * 100), 431),
    "a long URL": (head(HOST, start=f"GET /{'a' * 8192} HTTP/1.1"), 414),
    "a URL without end": (b"GET /" + b"a" * 300_000, 414),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.slow
def test_a_malformed_request_gets_a_problem_document_and_ends_the_connection(port, name):
    sent, status = MALFORMED[name]

    with connected(port) as connection:
        connection.sendall(sent)
        responses = all_responses(connection)

    assert [response[0] for response in responses] == [status]
    assert problem(responses[0])
    assert responses[0][1]["connection"] == "close"
    assert responses[0][1]["cache-control"] == "no-store"
    assert responses[0][1]["x-request-id"] == problem(responses[0])["request_id"] != ""
    assert set(HEADERS) <= {(name.encode(), value.encode()) for name, value in responses[0][1].items()}


def test_a_refusal_is_logged_with_its_request_id(port, caplog):
    caplog.set_level("DEBUG", "tandem")

    ((_, headers, _),) = send_raw(port, head(HOST, start="GET /users?a=b HTTP/3"))

    (record,) = [item for item in caplog.records if item.getMessage() == "request refused by the HTTP server"]
    assert (vars(record)["request_id"], vars(record)["status"]) == (headers["x-request-id"], 505)


@pytest.mark.parametrize(
    "sent, status",
    [
        (head(HOST, start="GET /health/live HTTP/1.1"), 200),
        (head(start="GET /health/live HTTP/1.0"), 200),
        (head("Host: [::1]:80", start="GET /health/live HTTP/1.1"), 200),
        (head(HOST, "A: \xe9", start="GET /health/live HTTP/1.1"), 200),
        (head(HOST, *(f"A{n}: b" for n in range(99)), start="GET /health/live HTTP/1.1"), 200),
        (head(HOST, "A: " + "a" * 32_000, start="GET /health/live HTTP/1.1"), 200),
        (head("Host: example.com", start="GET http://localhost/health/live HTTP/1.1"), 200),
        (head(HOST, "Connection: Upgrade", "Upgrade: h2c", start="GET /health/live HTTP/1.1"), 200),
        (b"\r\n" + head(HOST, start="GET /health/live HTTP/1.1"), 200),
    ],
)
def test_unusual_valid_requests_are_answered(port, sent, status):
    assert send_raw(port, sent)[0][0] == status


def test_the_host_of_an_absolute_target_replaces_the_header(port):
    near = head("Host: example.com", start="GET http://localhost/users HTTP/1.1")
    far = head(HOST, start="GET http://example.com/users HTTP/1.1")

    assert [send_raw(port, sent)[0][0] for sent in (near, far)] == [200, 403]


def test_options_of_the_server_are_answered(port):
    ((status, headers, _),) = send_raw(port, head(HOST, start="OPTIONS * HTTP/1.1"))

    assert (status, "PATCH" in headers["allow"]) == (204, True)


def test_trailer_fields_are_not_headers(port):
    sent = head(HOST, CHUNKED, "Content-Type: application/json", start="POST /greetings HTTP/1.1")

    response = send_raw(port, sent + b'f\r\n{"name": "Ada"}\r\n0\r\nHost: example.com\r\n\r\n')[0]

    assert response[0] == 200


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /users HTTP/1.1\r\n"] + [b"A: b\r\n"] * 60,
        [head(HOST, "Content-Type: application/json", "Content-Length: 100")] + [b" "] * 60,
        [head(HOST, "Content-Type: application/json", CHUNKED)] + [b"1\r\n \r\n"] * 60,
    ],
    ids=["a head", "a body", "chunks"],
)
@pytest.mark.slow
def test_a_client_that_sends_too_slowly_gets_408(port, pieces):
    with connected(port) as connection:
        for piece in pieces:
            connection.sendall(piece)
            if select.select([connection], [], [], 0.02)[0]:
                break
        responses = all_responses(connection)

    assert [(response[0], problem(response)["code"]) for response in responses] == [(408, "REQUEST_TIMEOUT")]


@pytest.mark.parametrize("sent, answered", [(b"", 0), (GOOD, 1)], ids=["at first", "after a response"])
@pytest.mark.slow
def test_a_silent_connection_is_closed_without_a_response(port, sent, answered):
    with connected(port) as connection:
        connection.sendall(sent)

        assert len(all_responses(connection)) == answered


@pytest.mark.slow
def test_a_response_that_takes_too_long_is_a_503(port):
    ((status, headers, _),) = responses = send_raw(port, request("GET", "/test/late"))

    assert (status, problem(responses[0])["code"]) == (503, "TIMEOUT")
    assert headers["retry-after"] == "1"


@pytest.mark.slow
def test_a_client_that_does_not_read_the_response_is_disconnected(port):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(request("GET", "/test/much"))
        time.sleep(2.5)
        taken = 0
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            while some := connection.recv(2**20):
                taken += len(some)
            raise AssertionError(f"read {taken} bytes without a reset")

    assert taken < LARGE


def test_a_client_that_reads_the_response_gets_all_of_it(port):
    ((status, _, body),) = send_raw(port, request("GET", "/test/much"))

    assert (status, len(body)) == (200, LARGE)


def test_pipelined_requests_are_answered_in_order_and_limited(port):
    with connected(port) as connection:
        connection.sendall(request("GET", "/nowhere") + GOOD * 200)
        responses = all_responses(connection)

    assert [response[0] for response in responses] == [404] + [200] * 20
    assert ["connection" in response[1] for response in responses] == [False] * 20 + [True]


def test_requests_before_a_bad_one_are_answered_first(port):
    with connected(port) as connection:
        connection.sendall(GOOD + GOOD + head(start="GET /users HTTP/1.1"))
        responses = all_responses(connection)

    assert [response[0] for response in responses] == [200, 200, 400]


def test_nothing_is_read_behind_connection_close(port):
    with connected(port) as connection:
        connection.sendall(head(HOST, "Connection: close", start="GET /health/live HTTP/1.1"))
        connection.sendall(request("POST", "/users", b'{"first_name": "Unheard", "age": 1}'))
        responses = all_responses(connection)

    assert [response[0] for response in responses] == [200]
    assert b"Unheard" not in send_raw(port, request("GET", "/users?limit=100"))[0][2]


@pytest.mark.parametrize(
    "sent",
    [
        head(HOST, "Content-Type: application/json", "Content-Length: 100001"),
        head(HOST, "Content-Type: application/json", "Content-Length: 100001", "Expect: 100-continue"),
        head(HOST, "Content-Type: application/json", CHUNKED) + b"1fffe\r\n" + b" " * 0x1FFFE,
    ],
    ids=["by its length", "before it is sent", "as it comes"],
)
def test_a_large_body_is_refused_before_it_is_read(port, sent):
    with connected(port) as connection:
        connection.sendall(sent)
        responses = all_responses(connection)

    assert [(response[0], response[1]["connection"]) for response in responses] == [(413, "close")]


def test_the_framing_of_chunks_is_limited_too(port):
    sent = head(HOST, "Content-Type: application/json", CHUNKED) + (b"1;" + b"e" * 10_000 + b"\r\n \r\n") * 300

    with connected(port) as connection:
        connection.sendall(sent)
        responses = all_responses(connection)

    assert [response[0] for response in responses] == [413]


def test_a_small_refused_body_does_not_end_the_connection(port):
    body = b'{"first_name": "Ada", "age": 36}'
    sent = request("POST", "/nowhere", body)

    responses = send_raw(port, sent[: -len(body)], body, GOOD, responses=2)

    assert [response[0] for response in responses] == [404, 200]


def test_expect_100_continue_is_answered(port):
    with connected(port) as connection, connection.makefile("rb") as received:
        body = b'{"name": "Ada"}'
        lines = (HOST, "Content-Type: application/json", f"Content-Length: {len(body)}", "Expect: 100-continue")
        connection.sendall(head(*lines, start="POST /greetings HTTP/1.1"))
        interim = read_response(received, bodiless=True)
        connection.sendall(body)
        response = read_response(received)

    assert (interim[0], response[0]) == (100, 200)


@pytest.mark.parametrize("target, expected", [("/health/live", 200), ("/test/parts", 200)])
def test_a_client_that_closes_its_side_is_answered(port, target, expected):
    with connected(port) as connection:
        connection.sendall(head(HOST, start=f"GET {target} HTTP/1.1"))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as received:
            whole = received.read()

    assert whole.startswith(f"HTTP/1.1 {expected} ".encode())
    assert whole.endswith((b"}", b"3\r\nxxx\r\n3\r\nxxx\r\n0\r\n\r\n"))


def test_idle_connections_are_evicted_at_the_connection_limit(port):
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(LIMITS.connections)]
    try:
        statuses = {send_raw(port, GOOD)[0][0] for _ in range(10)}
    finally:
        for connection in idle:
            connection.close()

    assert statuses == {200}


@pytest.mark.slow
def test_evicted_connections_that_do_not_close_are_aborted(port):
    """Each would keep a file descriptor of the server open."""
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3 * LIMITS.connections)]
    try:
        for connection in idle:
            while connection.recv(1000):
                pass
        kept, until = idle, time.monotonic() + 10
        while (kept := [item for item in kept if not _is_reset(item)]) and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        for connection in idle:
            connection.close()

    assert kept == []


class FakeConnection:
    """A connection that is idle or busy."""

    transport: asyncio.Transport

    def __init__(self, *, idle: bool) -> None:
        self._idle = idle
        self.evicted = False

    def check(self, now: float) -> None: ...

    def is_evictable(self) -> bool:
        return self._idle

    def evict(self) -> None:
        self.evicted = True


async def test_busy_old_connections_do_not_prevent_evictions():
    sweeper, loop = ConnectionSweeper(ConnectionLimits(connections=201)), asyncio.get_running_loop()
    busy = [FakeConnection(idle=False) for _ in range(200)]
    idle = FakeConnection(idle=True)
    for connection in [*busy, idle]:
        assert sweeper.admit(connection, loop)

    assert [sweeper.admit(FakeConnection(idle=False), loop) for _ in range(3)].count(True) == 1
    assert idle.evicted


@pytest.mark.slow
def test_requests_whose_body_does_not_arrive_are_evicted(tmp_path):
    path = tmp_path / "tandem.db"
    migrate(str(path))
    settings = read_settings({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"})
    limits = replace(LIMITS, read_timeout=30, request_timeout=30, connections=50, upload_timeout=0.1)
    half = head(HOST, "Content-Type: application/json", "Content-Length: 100") + b"{"
    with serving(create_app(settings), limits) as port:
        slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(limits.connections)]
        try:
            for connection in slow:
                connection.sendall(half)
            time.sleep(1)
            statuses = {send_raw(port, GOOD)[0][0] for _ in range(10)}
            refused = problem(all_responses(slow[0])[0])["status"]
        finally:
            for connection in slow:
                connection.close()

    assert (statuses, refused) == ({200}, 503)


def _is_reset(connection: socket.socket) -> bool:
    """Whether the server has closed the connection for reading."""
    try:
        connection.send(b" ")
    except OSError:
        return True
    return False


@pytest.mark.slow
def test_hundreds_of_slow_clients_do_not_delay_others(port):
    slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"GET /users HTTP/1.1\r\nA: ")
        responses = send_raw(port, *[GOOD] * 20, responses=20)
        ends = [problem(all_responses(connection)[0])["status"] for connection in slow]
    finally:
        for connection in slow:
            connection.close()

    assert {response[0] for response in responses} == {200}
    assert set(ends) == {408}
