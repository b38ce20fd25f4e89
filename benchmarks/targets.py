"""Performance targets for either database, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.peer import System
from benchmarks.reports.results import PeerResults, Run

# The required ratio of Tandem's throughput to a peer's: by peer, workload and database.
_RATIOS: Mapping[str, Mapping[str, Mapping[System, float]]] = {
    "fastapi": {
        "one": {"sqlite": 20, "postgres": 15},
        "list": {"sqlite": 12, "postgres": 7},
        "create": {"sqlite": 20, "postgres": 20},
        "queries": {"sqlite": 25, "postgres": 20},
        "graphql-one": {"sqlite": 80, "postgres": 60},
        "graphql-list": {"sqlite": 80, "postgres": 35},
        "graphql-nested": {"sqlite": 60, "postgres": 45},
    },
    "fastapi-cached": {
        "graphql-one": {"sqlite": 25, "postgres": 25},
        "graphql-list": {"sqlite": 30, "postgres": 15},
        "graphql-nested": {"sqlite": 50, "postgres": 30},
    },
    "fastify": {
        "graphql-one": {"sqlite": 1.2, "postgres": 1.3},
        "graphql-list": {"sqlite": 1.2, "postgres": 1.3},
        "graphql-nested": {"sqlite": 1.2, "postgres": 1.3},
    },
}
# Of the raw ASGI server's throughput: in every workload, and where one row is read or created.
_OF_RAW: Mapping[System, float] = {"sqlite": 0.7, "postgres": 0.8}
_OF_RAW_ONE: Mapping[System, float] = {"sqlite": 0.7, "postgres": 1.0}
_ONE_ROW = ("one", "graphql-one", "create")
# Of the throughput without middleware.
_OF_UNGUARDED = 0.9
MAX_P99, MAX_START, MAX_MEMORY = 8.0, 1.0, 90.0


@dataclass(frozen=True, slots=True)
class Target:
    """A threshold and the measured value, which must not exceed it with `is_maximum`, else not fall below."""

    title: str
    threshold: float
    measured: float
    unit: str
    is_maximum: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.threshold if self.is_maximum else self.measured >= self.threshold


def targets(run: Run) -> list[Target]:
    """The targets for the run's database for which there are results."""
    tandem = run.peer("tandem")
    return [*_ratios(run), *(_absolute(tandem) if tandem else ())]


def _ratios(run: Run) -> Iterator[Target]:
    of_raw = {name: (_OF_RAW_ONE if name in _ONE_ROW else _OF_RAW)[run.system] for name in run.workloads}
    of_unguarded = dict.fromkeys(run.workloads, _OF_UNGUARDED)
    for_all_workloads = {"raw": of_raw, "unguarded": of_unguarded, "unguarded-uvicorn": of_unguarded}
    for peer in run.peers:
        by_workload = {name: by_system[run.system] for name, by_system in _RATIOS.get(peer.name, {}).items()}
        for workload, threshold in for_all_workloads.get(peer.name, by_workload).items():
            ratio = run.ratio(peer.name, workload)
            if ratio is not None:
                yield Target(f"{run.workloads[workload]}, against {peer.title}", threshold, ratio, "×")


def _absolute(tandem: PeerResults) -> Iterator[Target]:
    one = tandem.median_measurement("one")
    if one:
        yield Target("one user, 99th percentile", MAX_P99, one.p99, "ms", is_maximum=True)
    if tandem.starts:
        yield Target("start to first response", MAX_START, median(tandem.starts), "s", is_maximum=True)
    if any(tandem.memories):
        yield Target("memory after load", MAX_MEMORY, median(tandem.memories) / 2**20, "MiB", is_maximum=True)
