"""What Tandem is to reach on either database, and whether a run shows that it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import Figures, Run
from benchmarks.roster import System

# How many times as many requests as a peer: by peer, workload and database.
_TIMES: Mapping[str, Mapping[str, Mapping[System, float]]] = {
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
    "fastify": {it: {"sqlite": 1.2, "postgres": 1.3} for it in ("graphql-one", "graphql-list", "graphql-nested")},
}
# Of the bare server's requests: in every workload, and where one row is read or made.
_OF_RAW: Mapping[System, float] = {"sqlite": 0.7, "postgres": 0.8}
_OF_RAW_ONE: Mapping[System, float] = {"sqlite": 0.7, "postgres": 1.0}
_ONE_ROW = ("one", "graphql-one", "create")
# Of the requests that it would answer without its guards.
_OF_UNGUARDED = 0.9
MOST_P99, MOST_START, MOST_MEMORY = 8.0, 1.0, 90.0


@dataclass(frozen=True, slots=True)
class Target:
    """Something that was to be reached, and what was found; `most`: it was not to be more, else not to be less."""

    title: str
    wanted: float
    found: float
    unit: str
    most: bool = False

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.found <= self.wanted if self.most else self.found >= self.wanted


def targets(run: Run) -> list[Target]:
    """Those of the run's database for which there are figures."""
    tandem = run.peer("tandem")
    return [*_ratios(run), *(_own(tandem) if tandem else ())]


def _ratios(run: Run) -> Iterator[Target]:
    raw = {it: (_OF_RAW_ONE if it in _ONE_ROW else _OF_RAW)[run.system] for it in run.workloads}
    bare = dict.fromkeys(run.workloads, _OF_UNGUARDED)
    everywhere = {"raw": raw, "unguarded": bare, "unguarded-uvicorn": bare}
    for peer in run.peers:
        wanted = {name: by[run.system] for name, by in _TIMES.get(peer.name, {}).items()}
        for workload, times in everywhere.get(peer.name, wanted).items():
            found = run.ratio(peer.name, workload)
            if found is not None:
                yield Target(f"{run.workloads[workload]}, against {peer.title}", times, found, "×")


def _own(tandem: Figures) -> Iterator[Target]:
    one = tandem.middle("one")
    if one:
        yield Target("one user, 99th percentile", MOST_P99, one.p99, "ms", most=True)
    if tandem.starts:
        yield Target("start to first answer", MOST_START, median(tandem.starts), "s", most=True)
    if any(tandem.memories):
        yield Target("memory after load", MOST_MEMORY, median(tandem.memories) / 2**20, "MiB", most=True)
