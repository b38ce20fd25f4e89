"""Results of a run: the measurements of each peer, stored as JSON, with medians and ratios."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.load import Measurement
from benchmarks.peer import System

MAX_ERROR_SHARE = 0.001
MAX_SIZE_DEVIATION = 0.15


@dataclass(frozen=True, slots=True)
class PeerResults:
    """For each round: a measurement of each workload, the start time (seconds) and the memory (bytes)."""

    name: str
    title: str
    packages: str
    measurements: Mapping[str, list[Measurement]] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    memories: list[int] = field(default_factory=list)

    def median_measurement(self, workload: str) -> Measurement | None:
        """The median of each value over the rounds."""
        measurements = self.measurements.get(workload)
        if not measurements:
            return None
        rows = [asdict(measurement) for measurement in measurements]
        return Measurement(**{name: median(row[name] for row in rows) for name in rows[0]})

    def requests(self, workload: str) -> float | None:
        """The median of the requests per second."""
        measurement = self.median_measurement(workload)
        return measurement.requests if measurement else None


@dataclass(frozen=True, slots=True)
class Run:
    """A complete run; `workloads` are titles by name, `remarks` what was left out or went wrong."""

    date: str
    commit: str
    machine: Mapping[str, str]
    rounds: int
    seconds: int
    users: int
    workloads: Mapping[str, str]
    peers: list[PeerResults]
    remarks: list[str]
    system: System = "sqlite"

    def peer(self, name: str) -> PeerResults | None:
        return next((peer for peer in self.peers if peer.name == name), None)

    def ratio(self, peer: str, workload: str, of: str = "tandem") -> float | None:
        """The requests per second of `of` divided by those of `peer`."""
        numerator, denominator = (
            results.requests(workload) if (results := self.peer(name)) else None for name in (of, peer)
        )
        return numerator / denominator if numerator and denominator else None


def rejection_reason(measurement: Measurement, size: float) -> str | None:
    """Why a measurement does not count: too many errors, or responses of another size than the checked ones."""
    if measurement.requests == 0:
        return "no response in time"
    if measurement.errors > max(1, measurement.requests * MAX_ERROR_SHARE):
        return f"{measurement.errors} errors at {measurement.requests:.0f} requests per second"
    if abs(measurement.size - size) > size * MAX_SIZE_DEVIATION:
        return f"responses of {measurement.size:.0f} bytes under load, of {size:.0f} bytes in the check"
    return None


def save(run: Run, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")


def load(path: Path) -> Run:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Run(**{**document, "peers": [_peer_results(peer) for peer in document["peers"]]})


def _peer_results(document: dict[str, Any]) -> PeerResults:
    measurements = {
        name: [Measurement(**measurement) for measurement in by_round]
        for name, by_round in document["measurements"].items()
    }
    return PeerResults(**{**document, "measurements": measurements})
