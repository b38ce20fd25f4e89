"""Well-formed HTTP reaches the application; anything else gets a problem document."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from api.app import create_app
from api.server.protocol import http_protocol
from api.settings import read_settings
from schema.migrations.commands import migrate
from tests.fixtures.raw_http import request, send_raw, serving

SMALLEST = b'{"first_name": "Ada", "age": 36}'

pytestmark = pytest.mark.skipif(http_protocol() == "auto", reason="without httptools uvicorn reads with h11")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real server."""
    path = tmp_path_factory.mktemp("protocol") / "tandem.db"
    migrate(str(path))
    with serving(create_app(read_settings({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{path}"}))) as port:
        yield port


@pytest.mark.parametrize(
    "method", ["FOO", "get", "PURGE", "UNLINK", "QUERY", "TRACE", "PROPFIND", "A-B_C!", "M-SEARCH"]
)
@pytest.mark.slow
def test_an_unknown_method_is_not_allowed(port, method):
    ((status, headers, body),) = send_raw(port, request(method, "/users", SMALLEST))

    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert json.loads(body)["detail"] == f"{method} is not allowed here"


def test_requests_may_be_pipelined(port):
    requests = [request("POST", "/users", SMALLEST), request("FOO", "/me"), request("GET", "/users?limit=1")]

    together, apart = send_raw(port, requests[0] + requests[2], responses=2), send_raw(port, *requests, responses=3)

    assert [status for status, _, _ in together] == [201, 200]
    assert [status for status, _, _ in apart] == [201, 405, 200]
    assert len(json.loads(apart[-1][2])["items"]) == 1


def test_a_body_that_begins_like_a_request_is_a_body(port):
    body = b'{"name": "FOO /users HTTP/1.1"}'
    head = request("POST", "/greetings", body).removesuffix(body)

    ((status, _, response),) = send_raw(port, head + body[:10], body[10:])

    assert (status, json.loads(response)) == (200, {"message": "Hello, FOO /users HTTP/1.1!"})


@pytest.mark.parametrize("size", [8192, 60_000, 65_536, 200_000])
def test_a_url_of_any_length_is_too_long(port, size):
    ((status, headers, body),) = send_raw(port, request("GET", f"/users?first_name={'a' * size}"))

    assert (status, headers["content-type"]) == (414, "application/problem+json")
    assert json.loads(body)["instance"] == "/users"


@pytest.mark.parametrize(
    "sent",
    [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n"],
)
@pytest.mark.slow
def test_bytes_that_are_not_http_get_a_problem_document(port, sent):
    ((status, headers, body),) = send_raw(port, sent)

    assert (status, headers["content-type"], headers["connection"]) == (400, "application/problem+json", "close")
    assert json.loads(body)["code"] == "BAD_REQUEST"
