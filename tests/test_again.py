"""A request whose head is that of the one before on its connection means what the parser would have made of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from api.protocol import protocol
from api.wire import connection
from api.wire.again import LONGEST, Head
from api.wire.patience import Limits
from tests.wires import all_answers, connected, read_answer, serving

pytestmark = [pytest.mark.skipif(protocol() == "auto", reason="there is no httptools here"), pytest.mark.sqlite]

HOST = "host: 127.0.0.1"
OTHERS = "host: localhost\r\naccept: text/html"
LONG = f"{HOST}\r\nx: {'x' * LONGEST}"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked, as it understood it."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    told = {name: str(scope[name]) for name in ("method", "path", "raw_path", "query_string", "http_version", "scheme")}
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    answer = json.dumps({**told, "headers": headers, "body": body.decode()}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(answer)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(echo, Limits(reading=1, request=1, idle=2, every=0.05)) as port:
        yield port


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each request that was compared with the one before, whether it had the same head."""
    seen: list[bool] = []
    compare = Head.again

    def compared(self: Head, data: bytes) -> object:
        found = compare(self, data)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(Head, "again", compared)
    return seen


def raw(line: str, lines: str = HOST, body: str | None = None) -> bytes:
    length = "" if body is None else f"content-length: {len(body)}\r\n"
    return f"{line} HTTP/1.1\r\n{lines}\r\n{length}\r\n{body or ''}".encode()


def told(port: int, *requests: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer, one after another on one connection."""
    made = []
    with connected(port) as wire, wire.makefile("rb") as received:
        for sent in requests:
            wire.sendall(sent)
            status, _, body = read_answer(received, bodiless=sent.startswith(b"HEAD"))
            made.append((status, body))
    return made


def test_the_second_of_two_alike_needs_no_parser(port, again):
    answers = told(port, raw("GET /a?b=c"), raw("GET /d%20e?f=%20g"), raw("DELETE /"))

    assert again == [True, True]
    assert [json.loads(body)["path"] for _, body in answers] == ["/a", "/d e", "/"]
    assert [json.loads(body)["query_string"] for _, body in answers] == ["b'b=c'", "b'f=%20g'", "b''"]


def test_a_body_of_the_same_length_comes_along(port, again):
    answers = told(port, *(raw("POST /a", body=body) for body in ("one", "two", "six")))

    assert again == [True, True]
    assert [json.loads(body)["body"] for _, body in answers] == ["one", "two", "six"]


REQUESTS = [
    raw("GET /"),
    raw("GET /users?limit=2"),
    raw("HEAD /users"),
    raw("GET /users", OTHERS),
    raw("GET /ü".encode().decode("latin-1")),
    raw("GET /a#b"),
    raw("GET http://127.0.0.1/absolute"),
    raw("OPTIONS *"),
    raw("POST /users", body="one"),
    raw("POST /users", body="two"),
    raw("POST /users", body="longer"),
    raw("PATCH /users", body=""),
    raw("POST /users", f"{HOST}\r\ntransfer-encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n",
    raw("GET /", f"{HOST}\r\nconnection: keep-alive"),
    raw("GET /", f"{HOST}\r\nx: 1\r\nx: 2"),
    raw("GET /", f"{HOST}\r\nupgrade: h2c\r\nconnection: upgrade"),
    raw("GET /", LONG),
    raw("REPORT /"),
]


def test_a_connection_that_has_seen_others_answers_like_a_new_one(port, again):
    by_chance = random.Random(7)
    alone = {sent: told(port, sent)[0] for sent in REQUESTS}
    assert all(status in (200, 204) for status, _ in alone.values() if status != 400)
    good = [sent for sent in REQUESTS if alone[sent][0] != 400]

    for _ in range(60):
        asked = [sent for sent in by_chance.choices(good, k=6) for _ in range(by_chance.choice((1, 1, 2, 3)))]
        assert told(port, *asked) == [alone[sent] for sent in asked]
    assert set(again) == {True, False}


@pytest.mark.parametrize(
    "second",
    [
        raw("GET /b") + raw("GET /c"),
        raw("POST /b", body="one") + raw("GET /c"),
        raw("GET /b") + raw("POST /c", body="one"),
    ],
    ids=["two", "one with a body, then one without", "one without a body, then one with"],
)
@pytest.mark.parametrize("first", [raw("GET /a"), raw("POST /a", body="one")], ids=["after none", "after a body"])
def test_what_comes_behind_a_request_is_another_one(port, first, second):
    with connected(port) as wire, wire.makefile("rb") as received:
        wire.sendall(first)
        read_answer(received)
        wire.sendall(second)
        paths = [json.loads(read_answer(received)[2])["path"] for _ in range(2)]

    assert paths == ["/b", "/c"]


@pytest.mark.parametrize(
    "bad",
    [
        raw("GET /b c"),
        raw("GET b"),
        raw("GET /\x00"),
        raw("GET /").replace(b"HTTP/1.1", b"HTTP/3.7"),
        b"\r\n" + raw("G\x01T /"),
        raw("POST /b", f"{HOST}\r\ncontent-length: 3\r\ncontent-length: 4") + b"two",
    ],
)
def test_what_is_no_request_is_none_the_second_time_either(port, bad):
    with connected(port) as wire:
        with wire.makefile("rb") as received:
            wire.sendall(raw("GET /a"))
            assert read_answer(received)[0] == 200
            wire.sendall(bad)
        (status, _, _) = all_answers(wire)[0]

    assert status in (400, 505)


def test_a_request_in_pieces_is_read_piece_by_piece(port):
    whole = raw("POST /b", body="one")
    for cut in range(1, len(whole)):
        with connected(port) as wire, wire.makefile("rb") as received:
            wire.sendall(raw("POST /a", body="six"))
            read_answer(received)
            wire.sendall(whole[:cut])
            wire.sendall(whole[cut:])

            assert json.loads(read_answer(received)[2])["body"] == "one"


def test_heads_that_never_come_again_are_kept_for_nothing_a_few_times(port, again):
    told(port, *(raw("GET /", f"{HOST}\r\nx: {number}") for number in range(20)))

    assert again == [False] * connection.TRIES
