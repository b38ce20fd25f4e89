"""From plain numbers to Prometheus's metrics. Nothing here runs but when `/metrics` is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from api.observability.request_metrics import OTHER, REFUSAL, WIRE, RequestMetrics
from schema.engine.cache import Cache
from schema.engine.metrics import Histogram
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import REFUSED, WAYS, Executor


def exposed(
    figures: RequestMetrics,
    executor: Executor,
    directory: Directory,
    accept: str,
    worker: str | None,
    lag: float | None,
) -> tuple[bytes, str]:
    """All figures as text, and its media type: OpenMetrics for who takes that, else Prometheus's own.

    `lag`: how many seconds the replica is behind, if there is one that says so.
    """
    registry = CollectorRegistry()
    registry.register(_Labelled(_Ours(figures, executor, directory, lag), worker))
    for kind in (ProcessCollector, GCCollector):
        registry.register(_Labelled(kind(registry=CollectorRegistry()), worker))
    encode, media = choose_encoder(accept)
    return encode(registry), media


@dataclass(frozen=True, slots=True)
class _Labelled(Collector):
    """A collector whose samples all say which worker they are of, if there are several."""

    inner: Collector
    worker: str | None

    def collect(self) -> Iterable[Metric]:
        for family in self.inner.collect():
            if self.worker is not None:
                labels = {"worker": self.worker}
                family.samples = [it._replace(labels={**it.labels, **labels}) for it in family.samples]
            yield family


@dataclass(frozen=True, slots=True)
class _Ours(Collector):
    """What Tandem itself counts."""

    figures: RequestMetrics
    executor: Executor
    directory: Directory
    lag: float | None

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from _requests(self.figures)
        yield from _graphql(self.executor)
        yield from _caches(self.executor, self.directory)
        yield from _database(self.directory)
        yield from _connections(self.directory, self.lag)
        yield _histogram("tandem_loop_lag_seconds", "How late the event loop was, every half second.", self.figures.lag)


def _requests(figures: RequestMetrics) -> Iterator[Metric]:
    counted = CounterMetricFamily(
        "tandem_requests", "Requests by their answer's status; none: the caller had gone.",
        labels=["door", "operation", "status"],
    )  # fmt: skip
    timed = HistogramMetricFamily(
        "tandem_request_seconds", "From a request to the end of its answer.", labels=["door", "operation"]
    )
    by_operation: dict[str, Histogram] = {}
    for (operation, status), found in sorted(figures.requests.items()):
        counted.add_metric([_door(operation), operation, str(status or "none")], sum(found.counts))
        whole = by_operation.setdefault(operation, Histogram(found.bounds))
        whole.counts = [one + other for one, other in zip(whole.counts, found.counts, strict=True)]
        whole.total += found.total
    for status, number in sorted(figures.refused.items()):
        counted.add_metric([WIRE, REFUSAL, str(status)], number)
    for operation, whole in by_operation.items():
        timed.add_metric([_door(operation), operation], _buckets(whole), whole.total)
    yield from (counted, timed)
    yield GaugeMetricFamily("tandem_requests_running", "Requests under way.", figures.running)
    yield GaugeMetricFamily("tandem_requests_waiting", "Requests that wait until they may run.", figures.waiting)
    yield GaugeMetricFamily("tandem_websockets_open", "Open WebSockets.", figures.sockets)


def _graphql(executor: Executor) -> Iterator[Metric]:
    ran = CounterMetricFamily("tandem_graphql_operations", "GraphQL operations by the way they took.", labels=["way"])
    for way, number in executor.ran.items():
        ran.add_metric([way], number)
    yield ran


def _caches(executor: Executor, directory: Directory) -> Iterator[Metric]:
    caches: dict[str, Cache[Any, Any]] = {"plans": directory.plans, "documents": executor.documents.kept}
    for kind, name, meaning, numbers in (
        (GaugeMetricFamily, "entries", "What is kept.", [len(cache) for cache in caches.values()]),
        (GaugeMetricFamily, "bytes", "What it takes, by estimate.", [cache.bytes for cache in caches.values()]),
        (CounterMetricFamily, "hits", "What was there.", [cache.hits for cache in caches.values()]),
        (CounterMetricFamily, "misses", "What was not there.", [cache.misses for cache in caches.values()]),
        (CounterMetricFamily, "forgotten", "What made room.", [cache.forgotten for cache in caches.values()]),
    ):
        family = kind(f"tandem_cache_{name}", meaning, labels=["cache"])
        for cache, number in zip(caches, numbers, strict=True):
            family.add_metric([cache], number)
        yield family


def _database(directory: Directory) -> Iterator[Metric]:
    trips = HistogramMetricFamily(
        "tandem_database_trip_seconds",
        "Trips to the database, with the wait for one; a glance is a read without a trip.",
        labels=["kind"],
    )
    for one in (directory.glances, directory.reads, directory.writes):
        trips.add_metric([one.kind], _buckets(one.seconds), one.seconds.total)
    waiting = GaugeMetricFamily("tandem_database_waiting", "Errands that wait for a connection.", labels=["lane"])
    for lane, number in directory.waiting.items():
        waiting.add_metric([lane], number)
    yield from (trips, waiting)
    yield _histogram("tandem_database_group_size", "Writes that were committed together.", directory.groups)


def _connections(directory: Directory, lag: float | None) -> Iterator[Metric]:
    """Of a PostgreSQL; of a file, which has no pool, the names alone."""
    there = GaugeMetricFamily("tandem_database_connections", "Connections that are open.", labels=["database", "state"])
    limit = GaugeMetricFamily("tandem_database_connections_limit", "Connections there may be.", labels=["database"])
    lost = CounterMetricFamily(
        "tandem_database_connections_lost", "Connections that ended otherwise than by our leave.", labels=["database"]
    )
    again = CounterMetricFamily(
        "tandem_database_repetitions",
        "Reads and transactions that were done again: their connection was lost, or others were in their way.",
        labels=["database"],
    )
    for name, pool in directory.connections.items():
        there.add_metric([name, "idle"], pool.idle)
        there.add_metric([name, "busy"], pool.open - pool.idle)
        limit.add_metric([name], pool.limit)
        lost.add_metric([name], pool.lost)
        again.add_metric([name], pool.repeated)
    behind = GaugeMetricFamily("tandem_replica_lag_seconds", "How far the replica is behind.", labels=[])
    if lag is not None:
        behind.add_metric([], lag)
    yield from (there, limit, lost, again, behind)


def _histogram(name: str, meaning: str, found: Histogram) -> Metric:
    return HistogramMetricFamily(name, meaning, buckets=_buckets(found), sum_value=found.total)


def _buckets(found: Histogram) -> list[tuple[str, float]]:
    """Each bound with the number of what is not above it."""
    bounds = [*(str(float(bound)) for bound in found.bounds), "+Inf"]
    return list(zip(bounds, accumulate(found.counts), strict=True))


def _door(operation: str) -> str:
    if operation == OTHER:
        return OTHER
    return "graphql" if operation in WAYS or operation == REFUSED else "rest"
