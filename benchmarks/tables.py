"""A run as Markdown: what was measured, where, and what it does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from benchmarks.figures import Figures, Run
from benchmarks.roster import TITLES, System
from benchmarks.targets import Target, targets

DASH = "–"
_TOLD_APART = ("processor", "pinned", "database", "settings")
_ALWAYS = (
    "Tandem does more in each request: rules, strict validation, versions and their ETags, exact OpenAPI, problem "
    "documents, request ids, security headers. No peer was made to do the same.",
    "Tandem keeps an index behind every filter and sort that it offers, and writes them all; the peers have only those "
    "that their workloads need.",
    "Tandem looks up records that are asked for at the same moment in one statement. TechEmpower's kinds are built so "
    "that each row is a query of its own.",
    "The raw server and Fastify's are the bare workloads: the first knows its three GraphQL documents by heart.",
    "Everything runs on one machine over loopback without TLS: no network, no other load. Absolute figures say little "
    "about another machine; ratios hold better.",
)
_NOT_COMPARED: Mapping[System, tuple[str, ...]] = {
    "sqlite": (
        "Tandem waits for the disk before it says that something is written (`synchronous=FULL`, one commit for all "
        "that wait); the peers run with `synchronous=NORMAL`, which may lose acknowledged writes when the power fails.",
        "FastAPI's endpoints are `def`, as its documentation has it for blocking databases. As `async def` that block "
        "the event loop they answer up to twice as many, as long as no statement is slow.",
        "Each runtime brings its own SQLite: Python's comes with the system, Node's with better-sqlite3.",
    ),
    "postgres": (
        "PostgreSQL has the same settings for all, and every commit waits for the disk. Tandem commits new records "
        "that come at the same moment together; the peers commit each request's.",
        "Tandem has 10 connections, as it comes; the raw server and Fastify have 16, the other asynchronous peers 32, "
        "Flask and Django one for each of their four threads.",
        "The raw server's pool does not reset its connections, which saves it a trip each time. Each of TechEmpower's "
        "rows is a query of its own, which the peers send when the one before is answered, or on another connection; "
        "Tandem sends its 20 queries off together (pipelined, with one Sync), which flatters it there.",
        "Where PostgreSQL and the load generator share a core, a request for which both take longer than the server is "
        "bounded by them: compare the two tables of processor time.",
        "SQLAlchemy's peers begin a transaction with their first query and end it after the answer, as it has them do.",
    ),
}


def report(run: Run, picture: str = "chart.svg") -> str:
    """The whole page; `picture` is the chart beside it."""
    parts = [_head(run, picture), *_figures(run), _peers(run), _notes(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def requests(run: Run) -> str:
    """Requests a second, by peer and workload."""
    return _by_workload(run, run.peers, lambda peer, workload: _number(peer.requests(workload)))


def ratios(run: Run) -> str:
    """How many times as many Tandem answers."""
    others = [peer for peer in run.peers if peer.name != "tandem"]
    return _by_workload(run, others, lambda peer, workload: _times(run.ratio(peer.name, workload)))


def latencies(run: Run) -> str:
    """The median and the 99th percentile, in milliseconds."""
    return _by_workload(run, run.peers, _latency)


def processor(run: Run) -> str:
    """The server's processor time for each request, in microseconds."""
    return _by_workload(run, run.peers, lambda peer, workload: _number(_cpu(peer, workload)))


def beside(run: Run) -> str:
    """The processor time for each request of a database beside the server, in microseconds; empty where none is."""
    if not any(measure.database for peer in run.peers for found in peer.measures.values() for measure in found):
        return ""
    return _by_workload(run, run.peers, lambda peer, workload: _number(_database(peer, workload)))


def footprint(run: Run) -> str:
    """How long a start takes, and how much memory is held afterwards."""
    rows = []
    for peer in run.peers:
        start = f"{median(peer.starts):.2f}" if peer.starts else DASH
        memory = f"{median(peer.memories) / 2**20:.0f}" if any(peer.memories) else DASH
        rows.append([_named(peer), start, memory])
    return table(["", "start to first answer, s", "memory after load, MiB"], rows)


def reached(run: Run) -> str:
    """What was to be reached, and whether it was; empty where nothing can be compared."""
    rows = [
        [it.title, f"{'≤' if it.most else '≥'} {it.wanted:g} {it.unit}", _found(it), "yes" if it.met else "**no**"]
        for it in targets(run)
    ]
    return table(["", "wanted", "found", "reached"], rows) if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(run: Run, picture: str) -> str:
    what = f"{run.users:,} users, {run.users * 3 // 300:,} groups, {run.users * 3:,} memberships"
    return (
        f"# How fast, on {TITLES[run.system]}\n\n![Requests a second]({picture})\n\n"
        f"Measured on {run.date} at commit `{run.commit}`: {what}; one worker each, 32 kept-alive connections, "
        f"{run.rounds} rounds of {run.seconds} s in turn, medians. {_machine(run)}\n\n"
        f"Repeat it with `python3 dev.py bench{_option(run)}`; `benchmarks/README.md` says what each workload is."
    )


def _machine(run: Run) -> str:
    told = ", ".join(f"{name} {value}" for name, value in run.machine.items() if name not in _TOLD_APART)
    sentences = [f"Machine: {run.machine['processor']}; {told}.", f"Pinned: {run.machine['pinned']}."]
    sentences += [f"{run.machine['database']}."] if "database" in run.machine else []
    sentences += [f"PostgreSQL's settings: {run.machine['settings']}."] if "settings" in run.machine else []
    return " ".join(sentences)


def _option(run: Run) -> str:
    return f" --database {run.system}" if run.system != "sqlite" else ""


def _figures(run: Run) -> list[str]:
    ratio = f"## Tandem's requests for each one of theirs\n\n{ratios(run)}" if run.peer("tandem") else ""
    return [
        f"## Requests a second\n\n{requests(run)}",
        ratio,
        f"## Latency at that load: median / 99th percentile, ms\n\n{latencies(run)}",
        f"## The server's processor time a request, µs\n\n{processor(run)}",
        f"## PostgreSQL's processor time a request, µs\n\n{told}" if (told := beside(run)) else "",
        f"## Start and memory\n\n{footprint(run)}",
        f"## What was to be reached\n\n{told}" if (told := reached(run)) else "",
    ]


def _peers(run: Run) -> str:
    lines = [f"- **{peer.title}**: {peer.made_of}" for peer in run.peers if peer.made_of]
    return "## Who\n\n" + "\n".join(lines)


def _notes(run: Run) -> str:
    lines = "\n".join(f"- {sentence}" for sentence in (*_ALWAYS[:1], *_NOT_COMPARED[run.system], *_ALWAYS[1:]))
    remarks = "\n".join(f"- {remark}" for remark in run.remarks)
    return f"## What is not compared\n\n{lines}" + (f"\n\n## Remarks of this run\n\n{remarks}" if remarks else "")


def _by_workload(run: Run, peers: Iterable[Figures], shown: Callable[[Figures, str], str]) -> str:
    return table(
        ["", *run.workloads.values()],
        [[_named(peer), *(shown(peer, workload) for workload in run.workloads)] for peer in peers],
    )


def _named(peer: Figures) -> str:
    return f"**{peer.title}**" if peer.name == "tandem" else peer.title


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def _times(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f} ×" if value < 10 else f"{value:.0f} ×"


def _found(target: Target) -> str:
    return f"{target.found:.0f} {target.unit}" if target.found >= 10 else f"{target.found:.2f} {target.unit}"


def _latency(peer: Figures, workload: str) -> str:
    found = peer.middle(workload)
    return f"{found.p50:.1f} / {found.p99:.1f}" if found else DASH


def _cpu(peer: Figures, workload: str) -> float | None:
    found = peer.middle(workload)
    return found.cpu or None if found else None


def _database(peer: Figures, workload: str) -> float | None:
    found = peer.middle(workload)
    return found.database or None if found else None
