"""Requests do not depend on how their bytes are segmented or on earlier requests; reading takes linear work."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any

import httptools
import pytest

from api.server.http.limits import ConnectionLimits
from api.server.protocol import http_protocol
from tests.fixtures.framing_corpus import mutations, sequences
from tests.fixtures.protocol_harness import Outcome, ProtocolHarness

pytestmark = [pytest.mark.skipif(http_protocol() == "auto", reason="there is no httptools here"), pytest.mark.sqlite]

SEQUENCES = sequences()
HEAD = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
TIGHT = ConnectionLimits(url=30, head=180, headers=5, body=40)


def cut(sent: bytes, places: Sequence[int]) -> list[bytes]:
    return [sent[start:end] for start, end in pairwise([0, *sorted(places), len(sent)]) if start < end]


def by_bytes(sent: bytes) -> list[bytes]:
    return cut(sent, range(len(sent)))


def made_of(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.seen, outcome.statuses, outcome.ended


def depends_on_time(outcome: Outcome) -> bool:
    """Bytes that arrive with a handshake are refused; later ones belong to the WebSocket."""
    return b"a WebSocket handshake must be answered before more data is sent" in outcome.written


@pytest.fixture
def harness() -> ProtocolHarness:
    return ProtocolHarness(http_protocol(ConnectionLimits()))


@pytest.mark.slow
async def test_segments_of_any_size_are_the_same_requests(harness):
    by_chance = random.Random(3)
    for name, sent in {**SEQUENCES, **mutations(1500, 3)}.items():
        whole = await harness.send(sent)
        if depends_on_time(whole):
            continue
        places = [by_chance.randrange(len(sent)) for _ in range(by_chance.choice((2, 4, 30)))]

        assert made_of(await harness.send(*by_bytes(sent))) == made_of(whole), name
        assert made_of(await harness.send(*cut(sent, places))) == made_of(whole), name


@pytest.mark.parametrize("part", range(4))
@pytest.mark.slow
async def test_a_split_at_any_byte_changes_nothing(harness, part):
    for name, sent in list(SEQUENCES.items())[part::16]:
        whole = await harness.send(sent)
        if len(sent) > 600 or depends_on_time(whole):
            continue
        for place in range(1, len(sent)):
            assert made_of(await harness.send(*cut(sent, [place]))) == made_of(whole), (name, place)


@pytest.mark.slow
async def test_responses_in_between_change_nothing(harness):
    by_chance = random.Random(5)
    for name, sent in list(SEQUENCES.items())[::3]:
        whole = await harness.send(sent)
        places = [by_chance.randrange(len(sent)) for _ in range(3)]
        if not depends_on_time(whole):
            assert made_of(await harness.send(*cut(sent, places), answering=True)) == made_of(whole), name


@pytest.mark.slow
async def test_limits_apply_to_segments_of_any_size():
    harness = ProtocolHarness(http_protocol(TIGHT))
    for name, sent in {**SEQUENCES, **mutations(1000, 4)}.items():
        whole, pieces = await harness.send(sent), await harness.send(*by_bytes(sent))

        # Which limit is named first depends on what has come.
        assert depends_on_time(whole) or pieces.seen == whole.seen, name
        assert depends_on_time(whole) or pieces.ended == whole.ended, name


@pytest.mark.slow
async def test_a_used_connection_answers_like_a_new_one(harness):
    by_chance = random.Random(7)
    alone = {}
    for sent in SEQUENCES.values():
        outcome = await harness.send(sent)
        if outcome.seen and not outcome.ended:
            alone[sent] = outcome.seen
    assert len(alone) > 200

    for _ in range(400):
        chosen = [sent for sent in by_chance.choices(list(alone), k=5) for _ in range(by_chance.choice((1, 1, 2, 3)))]

        together = await harness.send(*chosen, answering=by_chance.random() < 0.5)

        assert together.seen == [request for sent in chosen for request in alone[sent]]


async def test_an_application_may_change_its_headers(harness):
    sent = HEAD + b"X: y\r\nContent-Length: 0\r\n\r\n"
    fed = []

    async def changes(scope, receive, send):
        fed.append(list(scope["headers"]))
        scope["headers"].append((b"authorization", b"mine"))
        await harness.echo(scope, receive, send)

    await ProtocolHarness(http_protocol(ConnectionLimits()), changes).send(sent, sent, answering=True)

    assert fed == [[(b"host", b"a"), (b"x", b"y"), (b"content-length", b"0")]] * 2


class Parser(httptools.HttpRequestParser):
    """A parser that counts the bytes it is given."""

    fed = 0

    def feed_data(self, data: Any) -> None:
        """Parse."""
        Parser.fed += len(data)
        super().feed_data(data)


GROWING: dict[str, Callable[[int], list[bytes]]] = {
    "a target by bytes": lambda size: by_bytes(b"GET /" + b"a" * size),
    "a field by bytes": lambda size: by_bytes(HEAD + b"X: " + b"y" * size),
    "fields by bytes": lambda size: by_bytes(HEAD + b"a:\r\n" * (size // 4)),
    "blank lines": lambda size: [b"\r\n" * size],
    "blank lines by bytes": lambda size: by_bytes(b"\r\n" * size),
    "a body by bytes": lambda size: by_bytes(HEAD + b"Content-Length: %d\r\n\r\n" % size + b"a" * size),
    "a chunk of blank lines": lambda size: [CHUNKED + b"%x\r\n" % (4 * size), b"\r\n\r\n" * size],
    "a chunk of blank lines by bytes": lambda size: by_bytes(CHUNKED + b"%x\r\n" % (4 * size) + b"\r\n\r\n" * size),
    "a chunk of ends": lambda size: [CHUNKED + b"%x\r\n" % (5 * size), b"0\r\n\r\n" * size],
    "chunks of one byte": lambda size: [CHUNKED + b"1\r\na\r\n" * size],
    "chunks of one byte, one by one": lambda size: [CHUNKED, *[b"1\r\na\r\n"] * size],
    "chunks of one byte by bytes": lambda size: by_bytes(CHUNKED + b"1\r\na\r\n" * size),
    "an extension by bytes": lambda size: by_bytes(CHUNKED + b"5;" + b"a" * size),
    "trailer fields by bytes": lambda size: by_bytes(CHUNKED + b"0\r\n" + b"a: b\r\n" * size),
    "requests sent ahead": lambda size: [(HEAD + b"\r\n") * (size // 50)],
    "bodies sent ahead": lambda size: [(CHUNKED + b"1\r\na\r\n0\r\n\r\n") * (size // 50)],
}


@pytest.mark.parametrize("growing", GROWING)
async def test_eight_times_the_bytes_take_eight_times_the_steps(monkeypatch, growing):
    """Steps are function calls and bytes parsed. The sizes of a head and of a packet bound the work of one call."""
    monkeypatch.setattr(httptools, "HttpRequestParser", Parser)
    harness = ProtocolHarness(http_protocol(ConnectionLimits(url=64 * 1024, head=64 * 1024)))

    few, many = [await _steps(harness, GROWING[growing](size)) for size in (500, 4000)]

    assert 0 < few <= many < 10 * few


async def _steps(harness: ProtocolHarness, pieces: list[bytes]) -> int:
    calls, Parser.fed = 0, 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    with harness.connected() as (connection, _):
        sys.setprofile(count)
        try:
            for piece in pieces:
                connection.data_received(piece)
        finally:
            sys.setprofile(None)
    return calls + Parser.fed
