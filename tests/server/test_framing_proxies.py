"""Behind nginx and haproxy the server sees the requests that they pass on, and no client gets another's response.

The proxies keep their connections to the server, so that what is left over from one caller's request would be read
together with the next caller's.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import string
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api.server.http.limits import ConnectionLimits
from api.server.protocol import http_protocol
from tests.fixtures.framing_corpus import TAG, sequences
from tests.fixtures.protocol_harness import Echo, SeenRequest
from tests.fixtures.proxies import PROXIES, Proxy
from tests.fixtures.raw_http import serving

pytestmark = [pytest.mark.skipif(http_protocol() == "auto", reason="there is no httptools here"), pytest.mark.sqlite]

SEQUENCES = sequences()
CALLERS = 12
# Seconds without a response after which a caller stops waiting; its connection stays open until all are done.
QUIET = 0.05
LONGEST = 30
_ECHOED = re.compile(rb'(?:\r\n\r\n|^)\["[^"]+", "([^"]*)", "')
TAGS = ["".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=3)]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest, tmp_path: Path, echo: Echo) -> Iterator[Proxy]:
    program = Proxy.program(request.param)
    if program is None:
        pytest.skip(f"there is no {request.param.partition(' ')[0]} here")
    with (
        serving(echo, ConnectionLimits(read_timeout=60, request_timeout=60)) as upstream,
        Proxy(request.param, tmp_path, upstream).running(program) as proxy,
    ):
        yield proxy


class Caller:
    """Sends sequences through a proxy one after another, and a request of its own after each."""

    def __init__(self, port: int, work: Iterator[tuple[str, str, bytes]]) -> None:
        self._port, self._work = port, work
        self._open: list[asyncio.StreamWriter] = []
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Send all."""
        for tag, name, sent in self._work:
            received = await self._send(sent.replace(TAG, tag.encode()))
            if not all(f"/{tag}" in target or target in ("/", "*", "") for target in _targets(received)):
                self.wrong.append(f"{name}: was answered with {received!r}")
            probe = f"GET /probe/{tag} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
            received = await self._send(probe, until=f"/probe/{tag}".encode())
            if _targets(received) != [f"/probe/{tag}"]:
                self.wrong.append(f"{name}: the next caller was answered with {received!r}")

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._open:
            writer.close()

    async def _send(self, sent: bytes, until: bytes | None = None) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        received, ended = b"", False
        try:
            writer.write(sent)
            while not ended and (until is None or until not in received):
                data = await asyncio.wait_for(reader.read(65536), QUIET if until is None else LONGEST)
                received, ended = received + data, not data
        except TimeoutError:
            self._open.append(writer)
            return received
        except ConnectionError:
            pass
        writer.close()
        return received


def _targets(received: bytes) -> list[str]:
    """The targets of the requests that were answered, as the application saw them."""
    return [target.decode() for target in _ECHOED.findall(received)]


async def test_server_and_proxy_see_the_same_requests(proxy, echo):
    work = iter([(tag, name, sent) for tag, (name, sent) in zip(TAGS, SEQUENCES.items(), strict=False)])
    callers = [Caller(proxy.port, work) for _ in range(CALLERS)]

    await asyncio.gather(*(caller.run() for caller in callers))
    until = time.monotonic() + 10
    while (seen := _counted(echo.seen, proxy)) != (passed := _counted(proxy.passed(), proxy)):
        if time.monotonic() > until:
            break
        await asyncio.sleep(0.1)
    for caller in callers:
        caller.hang_up()

    assert not [wrong for caller in callers for wrong in caller.wrong]
    assert (seen - passed, passed - seen) == (Counter(), Counter())
    assert len(seen) > len(SEQUENCES) * 3 // 2


def _counted(requests: Iterable[SeenRequest], proxy: Proxy) -> Counter[tuple[Any, ...]]:
    return Counter(request.framing if proxy.knows_bodies else request.framing[:2] for request in requests)
