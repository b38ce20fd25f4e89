"""The comparison: checks the responses of every peer, then measures the peers in turn, each round on a new database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import environments, load, machine, servers
from benchmarks.data.databases import DatabaseServer
from benchmarks.data.dataset import Size
from benchmarks.environments import Environment, Unavailable
from benchmarks.load import Measurement
from benchmarks.peer import Owner, Peer
from benchmarks.peer_check import CheckedWorkload, PeerCheck
from benchmarks.reports.results import PeerResults, Run, rejection_reason
from benchmarks.servers import Server
from benchmarks.workloads import Workload

NUMBER_SPACING = 5_000_000  # more than a measurement can use: created users must differ


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    peers: Sequence[Peer]
    workloads: Sequence[Workload]
    rounds: int
    seconds: int
    size: Size

    @property
    def minutes(self) -> float:
        """The approximate duration, without setting up environments and databases."""
        measurements = sum(workload.api in peer.serves for peer in self.peers for workload in self.workloads)
        per_round = measurements * (self.seconds + 1.3) + len(self.peers) * 3
        return (self.rounds * per_round + len(self.peers) * 2) / 60


@dataclass(frozen=True, slots=True)
class MeasuredPeer:
    """An available peer: its environment, the workloads that it answers as expected, and its results so far."""

    peer: Peer
    environment: Environment
    workloads: Sequence[CheckedWorkload]
    results: PeerResults


def compare(options: ComparisonOptions, database_server: DatabaseServer) -> Run:
    """Run the comparison. Unavailable peers and differing responses are left out, with a remark."""
    load.wrk()
    remarks = [warning] if (warning := machine.load_warning()) else []
    with TemporaryDirectory(prefix="tandem-bench-") as folder:
        peer_check = PeerCheck(options.workloads, options.size, Path(folder))
        measured_peers = list(_check_peers(options, database_server, peer_check, remarks))
        remarks += peer_check.differences
        minutes = replace(options, peers=[measured.peer for measured in measured_peers]).minutes
        _print(f"{len(measured_peers)} peers, about {minutes:.0f} minutes.")
        for number in range(options.rounds):
            for position in range(len(measured_peers)):
                measured = measured_peers[(number + position) % len(measured_peers)]
                remarks += _measure(measured, options, database_server, f"round {number + 1}")
    return Run(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=machine.commit(),
        machine=machine.description(database_server.description()),
        rounds=options.rounds,
        seconds=options.seconds,
        users=options.size.users,
        workloads={workload.name: workload.title for workload in options.workloads},
        peers=[measured.results for measured in measured_peers],
        remarks=remarks,
        system=database_server.system,
    )


def _check_peers(
    options: ComparisonOptions, database_server: DatabaseServer, peer_check: PeerCheck, remarks: list[str]
) -> Iterator[MeasuredPeer]:
    for peer in options.peers:
        try:
            environment = environments.prepare(peer)
            with _serving(peer, environment, database_server, options.size) as server:
                workloads = peer_check.check(server)
        except (Unavailable, OSError) as error:
            remarks.append(f"{peer.name} is left out: {error}")
            _print(remarks[-1])
            continue
        _print(f"{peer.name} answers {len(workloads)} workloads as expected")
        packages = machine.package_versions(peer, database_server.system)
        measurements: dict[str, list[Measurement]] = {checked.workload.name: [] for checked in workloads}
        yield MeasuredPeer(peer, environment, workloads, PeerResults(peer.name, peer.title, packages, measurements))


def _measure(
    measured: MeasuredPeer, options: ComparisonOptions, database_server: DatabaseServer, round_name: str
) -> list[str]:
    """Measure one round of one peer; returns remarks on what went wrong."""
    remarks: list[str] = []
    name = measured.peer.name
    try:
        with _serving(measured.peer, measured.environment, database_server, options.size) as server:
            for position, checked in enumerate(measured.workloads):
                first = position * 2 * NUMBER_SPACING
                reason = _measure_workload(measured, server, database_server, checked, first, options.seconds)
                if reason:
                    remarks.append(f"{name}, {checked.workload.name}, {round_name}: {reason}")
            measured.results.memories.append(server.memory())
            measured.results.starts.append(server.start)
    except (Unavailable, OSError) as error:
        remarks.append(f"{name}, {round_name}: {error}")
    for remark in remarks:
        _print(remark)
    return remarks


def _measure_workload(
    measured: MeasuredPeer,
    server: Server,
    database_server: DatabaseServer,
    checked: CheckedWorkload,
    first: int,
    seconds: int,
) -> str | None:
    """Warm up for a second, measure, and keep the measurement unless there is a reason to reject it."""
    load.run_load(server, database_server, checked.request_file, 1, first)
    measurement = load.run_load(server, database_server, checked.request_file, seconds, first + NUMBER_SPACING)
    name = checked.workload.name
    _print(f"{measured.peer.name:<16}{name:<16}{measurement.requests:>10,.0f} /s   p99 {measurement.p99:.1f} ms")
    reason = rejection_reason(measurement, checked.size)
    if reason is None:
        measured.results.measurements[name].append(measurement)
    return reason


@contextmanager
def _serving(peer: Peer, environment: Environment, database_server: DatabaseServer, size: Size) -> Iterator[Server]:
    owner: Owner = "tandem" if peer.runtime == "tandem" else "peers"
    with (
        database_server.copy(owner, size) as database,
        servers.running_server(peer, environment, database) as server,
    ):
        yield server


def _print(message: str) -> None:
    print(message, flush=True)
