"""The comparison: every peer is met once, then measured in turn, round after round, each time on a fresh database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import environments, load, machine, servers
from benchmarks.acquaintance import Acquaintance, Known
from benchmarks.environments import Home, Unavailable
from benchmarks.figures import Figures, Run, objection
from benchmarks.people import Size
from benchmarks.roster import Owner, Peer
from benchmarks.servers import Server
from benchmarks.stores import Store
from benchmarks.workloads import Workload

APART = 5_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do."""

    peers: Sequence[Peer]
    workloads: Sequence[Workload]
    rounds: int
    seconds: int
    size: Size

    @property
    def minutes(self) -> float:
        """About how long it will take, once everything is set up."""
        asked = sum(workload.door in peer.serves for peer in self.peers for workload in self.workloads)
        return (self.rounds * (asked * (self.seconds + 1.3) + len(self.peers) * 3) + len(self.peers) * 2) / 60


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer that is there: where it runs, what it can be asked for, and its figures so far."""

    peer: Peer
    home: Home
    known: Sequence[Known]
    figures: Figures


def compare(plan: Plan, store: Store) -> Run:
    """Run the plan. Peers that are not to be had, and answers that differ, are remarked on and left out."""
    load.wrk()
    remarks = [told] if (told := machine.busy()) else []
    with TemporaryDirectory(prefix="tandem-bench-") as folder:
        acquaintance = Acquaintance(plan.workloads, plan.size, Path(folder))
        contenders = list(_met(plan, store, acquaintance, remarks))
        remarks += acquaintance.field_errors
        _say(
            f"{len(contenders)} peers, about {replace(plan, peers=[it.peer for it in contenders]).minutes:.0f} minutes."
        )
        for round in range(plan.rounds):
            for place in range(len(contenders)):
                contender = contenders[(round + place) % len(contenders)]
                remarks += _measured(contender, plan, store, f"round {round + 1}")
    return Run(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=machine.commit(),
        machine=machine.described(store.described()),
        rounds=plan.rounds,
        seconds=plan.seconds,
        users=plan.size.users,
        workloads={workload.name: workload.title for workload in plan.workloads},
        peers=[contender.figures for contender in contenders],
        remarks=remarks,
        system=store.system,
    )


def _met(plan: Plan, store: Store, acquaintance: Acquaintance, remarks: list[str]) -> Iterator[Contender]:
    for peer in plan.peers:
        try:
            home = environments.prepare(peer)
            with _serving(peer, home, store, plan.size) as server:
                known = acquaintance.meet(server)
        except (Unavailable, OSError) as error:
            remarks.append(f"{peer.name} is left out: {error}")
            _say(remarks[-1])
            continue
        _say(f"{peer.name} answers {len(known)} workloads as expected")
        made_of = machine.made_of(peer, store.system)
        figures = Figures(peer.name, peer.title, made_of, {it.workload.name: [] for it in known})
        yield Contender(peer, home, known, figures)


def _measured(contender: Contender, plan: Plan, store: Store, round: str) -> list[str]:
    """One round of one peer; what was wrong with it."""
    remarks: list[str] = []
    name = contender.peer.name
    try:
        with _serving(contender.peer, contender.home, store, plan.size) as server:
            for place, known in enumerate(contender.known):
                if told := _pressed(contender, server, store, known, place, plan.seconds):
                    remarks.append(f"{name}, {known.workload.name}, {round}: {told}")
            contender.figures.memories.append(server.memory())
            contender.figures.starts.append(server.start)
    except (Unavailable, OSError) as error:
        remarks.append(f"{name}, {round}: {error}")
    for remark in remarks:
        _say(remark)
    return remarks


def _pressed(contender: Contender, server: Server, store: Store, known: Known, place: int, seconds: int) -> str | None:
    first = place * 2 * APART
    load.press(server, store, known.requests, 1, first)
    measure = load.press(server, store, known.requests, seconds, first + APART)
    _say(f"{contender.peer.name:<16}{known.workload.name:<16}{measure.requests:>10,.0f} /s   p99 {measure.p99:.1f} ms")
    told = objection(measure, known.size)
    if told is None:
        contender.figures.measures[known.workload.name].append(measure)
    return told


@contextmanager
def _serving(peer: Peer, home: Home, store: Store, size: Size) -> Iterator[Server]:
    owner: Owner = "tandem" if peer.runtime == "tandem" else "peers"
    with store.copied(owner, size) as database, servers.running(peer, home, database) as server:
        yield server


def _say(sentence: str) -> None:
    print(sentence, flush=True)
