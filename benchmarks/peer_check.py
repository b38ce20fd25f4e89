"""Checks a peer before it is measured: whether its responses are those of the other peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.data.dataset import Size
from benchmarks.environments import Unavailable
from benchmarks.peer import Peer
from benchmarks.responses import Response, first_difference, normalized
from benchmarks.servers import Server
from benchmarks.workloads import CURSOR_SPACING, NUMBER_PLACEHOLDER, Dialect, Request, Workload, cursor_positions

CHECKED_REQUESTS = 8
TIMEOUT = 20  # seconds


@dataclass(frozen=True, slots=True)
class CheckedWorkload:
    """A workload for one peer: the file of its requests, and the average size of the responses in bytes."""

    workload: Workload
    request_file: Path
    size: float


class PeerCheck:
    """Compares each peer's responses with those of the first peer that was checked."""

    def __init__(self, workloads: Sequence[Workload], size: Size, folder: Path) -> None:
        self._workloads = workloads
        self._size = size
        self._folder = folder
        self._expected: dict[str, list[Any]] = {}
        self.differences: list[str] = []

    def check(self, server: Server) -> list[CheckedWorkload]:
        """The workloads that the peer answers as expected; notes the differences of the others."""
        peer = server.peer
        workloads = [workload for workload in self._workloads if workload.api in peer.serves]
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)) as connection:
            dialect = _dialect(peer, connection, self._size, workloads)
            checked = (self._check(workload, peer, dialect, connection) for workload in workloads)
            return [workload for workload in checked if workload]

    def _check(
        self, workload: Workload, peer: Peer, dialect: Dialect, connection: HTTPConnection
    ) -> CheckedWorkload | None:
        requests = workload.requests(dialect, self._size)
        responses = list(_responses(peer, connection, requests[:CHECKED_REQUESTS]))
        actual = [normalized(workload.name, response) for response in responses]
        expected = self._expected.setdefault(workload.name, actual)
        difference = first_difference(expected, actual)
        if responses[0].status != workload.status:
            difference = f"the status is {responses[0].status}, not {workload.status}: {responses[0].body[:200]!r}"
        if difference:
            self.differences.append(f"{peer.name}, {workload.name}: {difference}")
            return None
        path = self._folder / f"{peer.name}.{workload.name}"
        request_file = load.write_requests(path, [request.raw(peer.headers) for request in requests])
        return CheckedWorkload(workload, request_file, sum(response.size for response in responses) / len(responses))


def send_request(connection: HTTPConnection, request: Request, peer: Peer) -> Response:
    content_type = {"content-type": "application/json"} if request.body else {}
    connection.request(request.method, request.path, request.body or None, {**content_type, **peer.headers})
    response = connection.getresponse()
    body = response.read()
    head = "HTTP/1.1 200 OK\r\n\r\n" + "".join(f"{name}: {value}\r\n" for name, value in response.getheaders())
    return Response(response.status, response.headers.get("content-type", ""), body, len(head) + len(body))


def _responses(peer: Peer, connection: HTTPConnection, requests: Sequence[Request]) -> Iterator[Response]:
    for number, request in enumerate(requests):
        body = request.body.replace(NUMBER_PLACEHOLDER.encode(), b"%010d" % number)
        yield send_request(connection, Request(request.method, request.path, body), peer)


def _dialect(peer: Peer, connection: HTTPConnection, size: Size, workloads: Sequence[Workload]) -> Dialect:
    """Tandem's cursors are opaque, so they are collected by reading all pages once."""
    if peer.runtime != "tandem":
        return Dialect()
    paged = any(workload.name.endswith(("list", "nested")) for workload in workloads)
    return Dialect(dict(_cursors(peer, connection, size)) if paged else {}, nodes=True)


def _cursors(peer: Peer, connection: HTTPConnection, size: Size) -> Iterator[tuple[int, str]]:
    after = ""
    for number in cursor_positions(size):
        page = send_request(connection, Request("GET", f"/users?limit={CURSOR_SPACING}{after}"), peer)
        cursor = _next_cursor(page)
        yield number, cursor
        after = f"&after={cursor}"


def _next_cursor(page: Response) -> str:
    body = normalized("", page)[2]
    if page.status != 200 or not isinstance(body, dict) or not isinstance(body.get("next"), str):
        raise Unavailable(f"tandem's pages cannot be read: {page.status}, {page.body[:200]!r}")
    cursor: str = body["next"]
    return cursor
