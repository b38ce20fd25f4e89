"""Measures the same requests with ten thousand, a hundred thousand and a million users.

The service is measured for time, the database for the cost of the statements; `report.py` decides what grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from http.client import HTTPConnection
from time import perf_counter

from benchmarks import environments, servers
from benchmarks.data.databases import DatabaseServer
from benchmarks.data.dataset import Size
from benchmarks.environments import HERE, Unavailable
from benchmarks.peer import PEERS
from benchmarks.peer_check import send_request
from benchmarks.scaling.queries import Query, queries
from benchmarks.scaling.query_cost import query_costs
from benchmarks.scaling.report import CostsByQuery, RequestCost, growing_queries, report
from benchmarks.servers import Server
from benchmarks.workloads import NUMBER_PLACEHOLDER, Request

SIZES = tuple(Size(10**power) for power in (4, 5, 6, 7))
REPETITIONS, MAX_SECONDS = 30, 1.0
TIMEOUT = 60  # seconds


def run(sizes: Sequence[Size], database_server: DatabaseServer) -> list[str]:
    """Measure each size, print and write the report, and return a sentence for each query whose cost grows."""
    costs = {size: _measure(size, database_server) for size in sizes}
    page = report(costs, database_server.system)
    path = HERE / "results" / ("growth.md" if database_server.system == "sqlite" else "growth-postgres.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"\n{page}\nWritten: {path.relative_to(HERE.parent)}")
    return growing_queries(costs, database_server.system)


def _measure(size: Size, database_server: DatabaseServer) -> CostsByQuery:
    (peer,) = (peer for peer in PEERS if peer.name == "tandem")
    with database_server.copy("tandem", size) as database:
        measured = list(queries(size, database))
        costs = query_costs(database, measured)
        with servers.running_server(peer, environments.prepare(peer), database) as server:
            times = dict(_times(server, measured))
    print(f"{size.users:,} users: {len(measured)} queries measured", flush=True)
    return {query.name: RequestCost(times[query.name], costs[query.name]) for query in measured}


def _times(server: Server, measured: Sequence[Query]) -> Iterator[tuple[str, float]]:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)) as connection:
        for query in measured:
            yield query.name, _median_time(server, connection, query)


def _median_time(server: Server, connection: HTTPConnection, query: Query) -> float:
    """The median time in milliseconds of sequential requests, for at most `MAX_SECONDS`."""
    times: list[float] = []
    until = perf_counter() + MAX_SECONDS
    for number in range(REPETITIONS):
        request = query.requests[number % len(query.requests)]
        body = request.body.replace(NUMBER_PLACEHOLDER.encode(), b"%010d" % (number + 1))
        started = perf_counter()
        response = send_request(connection, Request(request.method, request.path, body), server.peer)
        times.append(perf_counter() - started)
        if response.status >= 400:
            raise Unavailable(f"{request.method} {request.path} failed: {response.status}, {response.body[:200]!r}")
        if perf_counter() > until:
            break
    return sorted(times)[len(times) // 2] * 1000
