"""Metrics: what a process counts about its requests, and `/metrics`, which shows it in Prometheus's text format.

Requests only add to plain numbers. Prometheus's library is imported on the first scrape: 0.1 s that most processes
never spend.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hmac import compare_digest
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.client_identity import Authenticate
from api.http.paths import METRICS
from schema.engine.cache import Cache
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.errors import DatabaseUnavailable, Forbidden
from schema.engine.metrics import QUERY_OBSERVER, SECONDS, Connections, Histogram
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import EXECUTION_PATHS, REFUSED, Executor

if TYPE_CHECKING:
    from prometheus_client import Metric

# The operation of a request that no endpoint has named in its scope: pages, documents, unknown paths.
OTHER: Final = "other"
# The API and the operation of a request that the HTTP protocol class refused.
WIRE: Final = "wire"
REFUSAL: Final = "refusal"
LAG_INTERVAL_SECONDS = 0.5
_OBSERVED_HEADERS = frozenset((b"traceparent", b"prefer"))
_TRACE = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.DOTALL)
# Label values, with a number or with the buckets and the sum of a histogram.
Sample = tuple[Sequence[str], Sequence[Any]]


class RequestMetrics:
    """The counts of one process."""

    def __init__(self, concurrency_limit: ConcurrencyLimit) -> None:
        self.requests: dict[tuple[str, int], Histogram] = {}
        # By status: responses of the HTTP protocol class, which no endpoint has seen or finished.
        self.refused: Counter[int] = Counter()
        self.begun = self.sockets = 0
        self.lag = Histogram(SECONDS)
        self._concurrency_limit = concurrency_limit

    @property
    def running(self) -> int:
        """Requests that have begun and not ended."""
        return self.begun - sum(sum(histogram.counts) for histogram in self.requests.values())

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot of the concurrency limit."""
        return self._concurrency_limit.waiting

    def histogram(self, operation: str, status: int) -> Histogram:
        """Return the histogram of an operation and a status; status 0 means that the client disconnected first."""
        return self.requests.setdefault((operation, status), Histogram(SECONDS))

    @contextmanager
    def measuring_loop_lag(self) -> Iterator[None]:
        """Meanwhile, measure how late the event loop calls a timer."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def measure(due: float) -> None:
            nonlocal timer
            self.lag.observe(max(loop.time() - due, 0))
            timer = loop.call_later(LAG_INTERVAL_SECONDS, measure, loop.time() + LAG_INTERVAL_SECONDS)

        timer = loop.call_later(LAG_INTERVAL_SECONDS, measure, loop.time() + LAG_INTERVAL_SECONDS)
        try:
            yield
        finally:
            timer.cancel()


class MetricsMiddleware:
    """Outermost middleware: counts and times every request.

    It also reads the client's trace (W3C Trace Context) and answers `Prefer: server-timing`.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._count_socket(scope, receive, send)
            return
        began = perf_counter()
        app, metrics = self._app, self._metrics
        for name, value in scope["headers"]:
            if name in _OBSERVED_HEADERS:
                app = self._observe(scope, name, value) or app
        metrics.begun += 1
        try:
            await app(scope, receive, send)
        finally:
            # The request middleware has set the status, the endpoint the operation.
            key = scope.get("operation", OTHER), scope.get("status", 0)
            histogram = metrics.requests.get(key) or metrics.histogram(*key)
            histogram.observe(perf_counter() - began)

    async def _count_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        self._metrics.sockets += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._metrics.sockets -= 1

    def _observe(self, scope: Scope, name: bytes, value: bytes) -> ASGIApp | None:
        """Evaluate a header; return the application to call in place of the usual one, if any."""
        if name == b"traceparent":
            # The recommendation has a request with several of these start a new trace.
            is_only = sum(header == name for header, _ in scope["headers"]) == 1
            scope.setdefault("trace_id", trace_id_of(value) if is_only else None)
        elif any(part.strip() == b"server-timing" for part in value.lower().split(b",")):
            return self._call_timed
        return None

    async def _call_timed(self, scope: Scope, receive: Receive, send: Send) -> None:
        timing = _ServerTiming(send)
        token = QUERY_OBSERVER.set(timing.observe)
        try:
            await self._app(scope, receive, timing.send)
        finally:
            QUERY_OBSERVER.reset(token)


class _ServerTiming:
    """Adds the durations of a request and of its round trips to the database to the response (W3C Server Timing)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._outer_observer = QUERY_OBSERVER.get()
        self._began = perf_counter()
        self._round_trips, self._seconds = 0, 0.0

    def observe(self, kind: str, load: Any, seconds: float) -> None:
        self._round_trips += 1
        self._seconds += seconds
        if self._outer_observer is not None:
            self._outer_observer(kind, load, seconds)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            total = perf_counter() - self._began
            count = f"{self._round_trips} round trip{'s' * (self._round_trips != 1)}"
            text = f'db;dur={self._seconds * 1e3:.2f};desc="{count}", total;dur={total * 1e3:.2f}'
            headers = [(b"server-timing", text.encode()), (b"preference-applied", b"server-timing")]
            message = {**message, "headers": [*message["headers"], *headers]}
        await self._send(message)


def trace_id_of(traceparent: bytes) -> str | None:
    """Read the trace id from a `traceparent` header (https://www.w3.org/TR/trace-context/); None if it is malformed."""
    match = _TRACE.fullmatch(traceparent.strip(b" \t"))
    if match is None or (match[1] == b"00" and match[3] is not None):
        return None
    return match[2].decode()


def route(
    metrics: RequestMetrics, executor: Executor, authenticate: Authenticate, *, token: str | None, several: bool
) -> Route:
    """Return the route of `/metrics`, for administrators and for the bearer of `token`.

    With `several` workers each sample has the label `worker`, the process id.
    """

    async def show(request: Request) -> Response:
        header = request.headers.get("authorization", "").encode("latin-1")
        if token is not None and compare_digest(header, f"Bearer {token}".encode()):
            request.scope["charged"] = True  # scrapes are not subject to rate limits
        else:
            actor = await authenticate(request.scope)
            if "admin" not in actor.roles:
                raise Forbidden("the metrics are for administrators")
            actor.profile.check_scope("metrics", "read")
        directory: Directory = request.app.state.directory
        lag = None
        with suppress(DatabaseUnavailable):
            lag = await directory.driver.lag()
        families = [*_request_families(metrics), *_graphql_families(executor, directory)]
        families += _database_families(directory, lag)
        worker = str(os.getpid()) if several else None
        text, media_type = exposition(families, request.headers.get("accept", ""), worker)
        return Response(text, headers={"content-type": media_type, "cache-control": "no-store", "vary": "Accept"})

    return Route(METRICS, show)


def exposition(metrics: list[Metric], accept: str, worker: str | None = None) -> tuple[bytes, str]:
    """Write metrics, and those of the process and its garbage collector, as text; return it with its media type.

    The format is OpenMetrics where `accept` takes it, otherwise Prometheus's own.
    """
    from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    process = CollectorRegistry()
    for collector in (ProcessCollector(registry=process), GCCollector(registry=process)):
        metrics.extend(collector.collect())
    if worker is not None:
        for metric in metrics:
            metric.samples = [sample._replace(labels={**sample.labels, "worker": worker}) for sample in metric.samples]
    registry = CollectorRegistry()
    registry.register(_Collected(metrics))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


@dataclass(eq=False)
class _Collected:
    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics


def _family(type: str, name: str, help: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    types: dict[str, Any] = {
        "counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily
    }  # fmt: skip
    metric = types[type](name, help, labels=labels)
    for values, numbers in samples:
        metric.add_metric(values, *numbers)
    return metric  # type: ignore[no-any-return]


def _request_families(metrics: RequestMetrics) -> Iterator[Metric]:
    by_operation: dict[str, Histogram] = {}
    counts = []
    for (operation, status), histogram in sorted(metrics.requests.items()):
        counts.append(((_api(operation), operation, str(status or "none")), (sum(histogram.counts),)))
        total = by_operation.setdefault(operation, Histogram(histogram.bounds))
        total.counts = [sum(pair) for pair in zip(total.counts, histogram.counts, strict=True)]
        total.total += histogram.total
    counts += [((WIRE, REFUSAL, str(status)), (number,)) for status, number in sorted(metrics.refused.items())]
    durations = [((_api(operation), operation), _buckets(total)) for operation, total in by_operation.items()]
    labels = ("api", "operation", "status")
    yield _family("counter", "tandem_requests", "Requests by status; none: the client disconnected.", labels, counts)
    yield _family("histogram", "tandem_request_seconds", "Duration of requests.", ("api", "operation"), durations)
    yield _gauge("tandem_requests_running", "Requests in progress.", metrics.running)
    yield _gauge("tandem_requests_waiting", "Requests waiting for the concurrency limit.", metrics.waiting)
    yield _gauge("tandem_websockets_open", "Open WebSockets.", metrics.sockets)
    help = "How late the event loop called a timer, every half second."
    yield _family("histogram", "tandem_loop_lag_seconds", help, (), [((), _buckets(metrics.lag))])


def _graphql_families(executor: Executor, directory: Directory) -> Iterator[Metric]:
    operations = [((way,), (number,)) for way, number in executor.executed.items()]
    yield _family("counter", "tandem_graphql_operations", "GraphQL operations by how they ran.", ("way",), operations)
    caches: dict[str, Cache[Any, Any]] = {"plans": directory.plans, "documents": executor.documents.cache}
    for type, name, help, number in _CACHE_NUMBERS:
        samples = [((cache,), (number(entries),)) for cache, entries in caches.items()]
        yield _family(type, f"tandem_cache_{name}", help, ("cache",), samples)


_CACHE_NUMBERS: tuple[tuple[str, str, str, Callable[[Cache[Any, Any]], int]], ...] = (
    ("gauge", "entries", "Entries in the cache.", len),
    ("gauge", "bytes", "Estimated size of the cache.", lambda cache: cache.bytes),
    ("counter", "hits", "Lookups that found an entry.", lambda cache: cache.hits),
    ("counter", "misses", "Lookups that found no entry.", lambda cache: cache.misses),
    ("counter", "forgotten", "Entries evicted to free space.", lambda cache: cache.evictions),
)


def _database_families(directory: Directory, lag: float | None) -> Iterator[Metric]:
    yield _family(
        "histogram", "tandem_database_trip_seconds", "Duration of round trips to the database, including the wait.",
        ("kind",), [((timing.kind,), _buckets(timing.seconds)) for timing in directory.timings],
    )  # fmt: skip
    waiting = [((queue,), (number,)) for queue, number in directory.driver.waiting().items()]
    yield _family("gauge", "tandem_database_waiting", "Calls waiting for a connection.", ("queue",), waiting)
    buckets = [((), _buckets(directory.driver.commit_sizes))]
    yield _family("histogram", "tandem_database_group_size", "Writes per group commit.", (), buckets)
    # On SQLite, which has no pools, these have no samples.
    pools = directory.driver.connections().items()
    states = [((name, "idle"), (pool.idle,)) for name, pool in pools]
    states += [((name, "busy"), (pool.open - pool.idle,)) for name, pool in pools]
    database = ("database",)
    yield _family("gauge", "tandem_database_connections", "Open connections.", ("database", "state"), states)
    for type, name, help, number in _POOL_NUMBERS:
        yield _family(
            type, f"tandem_database_{name}", help, database, [((key,), (number(pool),)) for key, pool in pools]
        )
    delays = [] if lag is None else [((), (lag,))]
    yield _family("gauge", "tandem_replica_lag_seconds", "Replication lag of the replica.", (), delays)


_POOL_NUMBERS: tuple[tuple[str, str, str, Callable[[Connections], int]], ...] = (
    ("gauge", "connections_limit", "Maximum connections.", lambda pool: pool.limit),
    ("counter", "connections_lost", "Connections lost unexpectedly.", lambda pool: pool.lost),
    (
        "counter", "repetitions", "Reads and transactions repeated after a lost connection or a conflict.",
        lambda pool: pool.repeated,
    ),
)  # fmt: skip


def _gauge(name: str, help: str, value: float) -> Metric:
    return _family("gauge", name, help, (), [((), (value,))])


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative buckets by upper bound, and the sum of all values."""
    bounds = [*(str(float(bound)) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True)), histogram.total


def _api(operation: str) -> str:
    if operation == OTHER:
        return OTHER
    return "graphql" if operation in EXECUTION_PATHS or operation == REFUSED else "rest"
