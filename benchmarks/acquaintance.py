"""Getting to know a peer before it is measured: how it wants to be asked, and whether it answers like the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.answers import Answer, difference, normal
from benchmarks.environments import Unavailable
from benchmarks.people import Size
from benchmarks.roster import Peer
from benchmarks.servers import Server
from benchmarks.workloads import MARKED, NUMBER, Ask, Dialect, Workload, marks

LOOKED_AT = 8
PATIENCE = 20


@dataclass(frozen=True, slots=True)
class Known:
    """A workload as a peer is asked for it: the file of its requests, and how large its answers are."""

    workload: Workload
    requests: Path
    size: float


class Acquaintance:
    """Checks each peer's answers against those of the first who gave any."""

    def __init__(self, workloads: Sequence[Workload], size: Size, folder: Path) -> None:
        self._workloads = workloads
        self._size = size
        self._folder = folder
        self._expected: dict[str, list[Any]] = {}
        self.field_errors: list[str] = []

    def meet(self, server: Server) -> list[Known]:
        """The workloads that the peer can be asked for; what it answers differently is left out, and told."""
        peer = server.peer
        asked = [workload for workload in self._workloads if workload.door in peer.serves]
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
            dialect = _dialect(peer, connection, self._size, asked)
            return [known for it in asked if (known := self._known(it, peer, dialect, connection))]

    def _known(self, workload: Workload, peer: Peer, dialect: Dialect, connection: HTTPConnection) -> Known | None:
        asks = workload.asks(dialect, self._size)
        answers = list(_answers(peer, connection, asks[:LOOKED_AT]))
        found = [normal(workload.name, answer) for answer in answers]
        expected = self._expected.setdefault(workload.name, found)
        told = difference(expected, found)
        if answers[0].status != workload.status:
            told = f"the status is {answers[0].status}, not {workload.status}: {answers[0].body[:200]!r}"
        if told:
            self.field_errors.append(f"{peer.name}, {workload.name}: {told}")
            return None
        requests = load.write(self._folder / f"{peer.name}.{workload.name}", [ask.raw(peer.headers) for ask in asks])
        return Known(workload, requests, sum(answer.size for answer in answers) / len(answers))


def _answers(peer: Peer, connection: HTTPConnection, asks: Sequence[Ask]) -> Iterator[Answer]:
    for number, ask in enumerate(asks):
        body = ask.body.replace(NUMBER.encode(), b"%010d" % number)
        yield answer(connection, Ask(ask.method, ask.path, body), peer)


def answer(connection: HTTPConnection, ask: Ask, peer: Peer) -> Answer:
    """What a peer answers."""
    kind = {"content-type": "application/json"} if ask.body else {}
    connection.request(ask.method, ask.path, ask.body or None, {**kind, **peer.headers})
    response = connection.getresponse()
    body = response.read()
    size = (
        len(body) + len("HTTP/1.1 200 OK\r\n\r\n") + sum(len(f"{it}: {its}\r\n") for it, its in response.getheaders())
    )
    return Answer(response.status, response.headers.get("content-type", ""), body, size)


def _dialect(peer: Peer, connection: HTTPConnection, size: Size, asked: Sequence[Workload]) -> Dialect:
    """Tandem's cursors are its own: whoever wants one has to turn the pages, so they are turned once."""
    if peer.runtime != "tandem":
        return Dialect()
    paged = any(workload.name.endswith(("list", "nested")) for workload in asked)
    return Dialect(dict(_turned(peer, connection, size)) if paged else {}, nodes=True)


def _turned(peer: Peer, connection: HTTPConnection, size: Size) -> Iterator[tuple[int, str]]:
    after = ""
    for number in marks(size):
        page = answer(connection, Ask("GET", f"/users?limit={MARKED}{after}"), peer)
        cursor = normal_cursor(page)
        yield number, cursor
        after = f"&after={cursor}"


def normal_cursor(page: Answer) -> str:
    """Where the next page starts."""
    found = normal("", page)[2]
    if page.status != 200 or not isinstance(found, dict) or not isinstance(found.get("next"), str):
        raise Unavailable(f"tandem's pages cannot be turned: {page.status}, {page.body[:200]!r}")
    cursor: str = found["next"]
    return cursor
