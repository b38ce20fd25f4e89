"""Proxies and other servers split the same bytes into the same requests, or one of them refuses.

Compares this server with h11 and with uvicorn's two protocols: what two of them accept as the n-th request on a
connection is the same for both.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import h11
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.server.http.limits import ConnectionLimits
from api.server.protocol import http_protocol
from tests.fixtures.framing_corpus import NEXT, mutations, sequences
from tests.fixtures.protocol_harness import ProtocolHarness, SeenRequest

pytestmark = [pytest.mark.skipif(http_protocol() == "auto", reason="there is no httptools here"), pytest.mark.sqlite]

Framing = tuple[str, str, bytes]
SEQUENCES = sequences()


def by_h11(sent: bytes) -> list[Framing]:
    """The requests that h11 accepts, each answered as soon as it is complete."""
    connection, seen = h11.Connection(h11.SERVER, 65_536), []
    connection.receive_data(sent)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                seen.append(SeenRequest(request.method.decode(), request.target.decode("latin-1"), body).framing)
                if request.method == b"CONNECT":
                    return seen
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return seen
                connection.start_next_cycle()
            else:
                return seen
    except h11.RemoteProtocolError:
        return seen


class Peers:
    """Sends the same bytes to all servers, but for `OPTIONS *`, which uvicorn leaves to the application."""

    def __init__(self) -> None:
        self.own = ProtocolHarness(http_protocol(ConnectionLimits()))
        self.uvicorn_httptools, self.uvicorn_h11 = ProtocolHarness(HttpToolsProtocol), ProtocolHarness(H11Protocol)

    async def differences(self, sent: bytes) -> list[str]:
        """Return the servers that split these bytes otherwise than this one."""
        own = _counting((await self.own.send(sent)).framing)
        pure = _counting(by_h11(sent))
        wrong = [] if _agree(own, pure) else [f"h11: {own} and {pure}"]
        with_h11 = await _by_uvicorn(self.uvicorn_h11, sent)
        if not _agree(own, with_h11):
            wrong.append(f"uvicorn with h11: {own} and {with_h11}")
        with_httptools = await _by_uvicorn(self.uvicorn_httptools, sent)
        if not _agree(own, with_httptools) and not (_agree(own, pure) and _skips_a_body(sent, own, with_httptools)):
            wrong.append(f"uvicorn with httptools: {own} and {with_httptools}")
        return wrong


async def _by_uvicorn(harness: ProtocolHarness, sent: bytes) -> list[Framing]:
    before = len(harness.echo.seen)
    with contextlib.suppress(h11.LocalProtocolError):  # it may fail to say what it refuses; the connection ends then
        await harness.send(sent)
    return _counting([request.framing for request in harness.echo.seen[before:]])


def _counting(framing: list[Framing]) -> list[Framing]:
    return [request for request in framing if request[1] != "*"]


def _agree(some: list[Framing], others: list[Framing]) -> bool:
    return all(one == another for one, another in zip(some, others, strict=False))


def _skips_a_body(sent: bytes, own: list[Framing], others: list[Framing]) -> bool:
    """Whether uvicorn is known to be wrong: with any `Upgrade` it skips a body as another protocol's bytes."""
    one, another = next(pair for pair in zip(own, others, strict=False) if pair[0] != pair[1])
    return b"\nupgrade:" in sent.lower() and one[:2] == another[:2] and another[2] == b"" and others[-1] == another


@pytest.fixture
def peers() -> Peers:
    return Peers()


@pytest.mark.slow
async def test_all_servers_see_the_same_requests_in_known_sequences(peers):
    wrong = {name: differences for name, sent in SEQUENCES.items() if (differences := await peers.differences(sent))}

    assert not wrong


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.slow
async def test_all_servers_see_the_same_requests_in_random_sequences(peers, seed):
    sequences = mutations(2000, seed)

    wrong = {name: differences for name, sent in sequences.items() if (differences := await peers.differences(sent))}

    assert not wrong


@pytest.mark.slow
async def test_nothing_is_read_after_a_refusal(peers):
    for name, sent in {**SEQUENCES, **mutations(3000, 7)}.items():
        outcome = await peers.own.send(sent + NEXT)
        refusals = [status for status in outcome.statuses if status >= 400]

        assert refusals in ([], outcome.statuses[-1:]), name
        assert outcome.ended or not refusals, name


async def test_the_corpus_has_accepted_and_refused_sequences_of_each_kind(peers):
    accepted, refused = Counter[str](), Counter[str]()
    for name, sent in SEQUENCES.items():
        outcome = await peers.own.send(sent)
        accepted[name.partition(":")[0]] += len(outcome.seen) > 1
        refused[name.partition(":")[0]] += any(status >= 400 for status in outcome.statuses)

    assert all(count > 3 for kind, count in accepted.items() if kind != "both")
    assert all(count > 3 for kind, count in refused.items() if kind not in ("bodies", "connections"))
