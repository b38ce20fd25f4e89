"""What a run brought: the figures of each peer, kept as JSON, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import Measure
from benchmarks.roster import System

WORST_SHARE = 0.001
WIDEST = 0.15


@dataclass(frozen=True, slots=True)
class Figures:
    """One peer's: a measure of each workload for each round, and for each round its start (s) and memory (bytes)."""

    name: str
    title: str
    made_of: str
    measures: Mapping[str, list[Measure]] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    memories: list[int] = field(default_factory=list)

    def middle(self, workload: str) -> Measure | None:
        """The median of each figure, if there is any."""
        found = self.measures.get(workload)
        if not found:
            return None
        rows = [asdict(measure) for measure in found]
        return Measure(**{name: median(row[name] for row in rows) for name in rows[0]})

    def requests(self, workload: str) -> float | None:
        """The median of its requests a second."""
        found = self.middle(workload)
        return found.requests if found else None


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run: when, where, of which commit, how long, on which database, and what became of whom."""

    date: str
    commit: str
    machine: Mapping[str, str]
    rounds: int
    seconds: int
    users: int
    workloads: Mapping[str, str]
    peers: list[Figures]
    remarks: list[str]
    system: System = "sqlite"

    def peer(self, name: str) -> Figures | None:
        """The figures of a peer, if it was measured."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def ratio(self, peer: str, workload: str, of: str = "tandem") -> float | None:
        """How many times as many requests a second `of` answers as `peer` does."""
        mine, others = self.peer(of), self.peer(peer)
        above = mine.requests(workload) if mine else None
        below = others.requests(workload) if others else None
        return above / below if above and below else None


def objection(measure: Measure, size: float) -> str | None:
    """Why a measure does not count: too many errors, or answers that are not those that were checked."""
    answered = measure.requests
    if answered == 0:
        return "not one answer in time"
    if measure.errors > max(1, answered * WORST_SHARE):
        return f"{measure.errors} errors at {answered:.0f} requests a second"
    if abs(measure.size - size) > size * WIDEST:
        return f"answers of {measure.size:.0f} bytes under load, of {size:.0f} when they were checked"
    return None


def keep(run: Run, path: Path) -> None:
    """Write a run down."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")


def read(path: Path) -> Run:
    """A run that was written down."""
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Run(**{**told, "peers": [_figures(peer) for peer in told["peers"]]})


def _figures(told: dict[str, Any]) -> Figures:
    measures = {name: [Measure(**it) for it in found] for name, found in told["measures"].items()}
    return Figures(**{**told, "measures": measures})
