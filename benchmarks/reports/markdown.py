"""A run as a Markdown page: results, environment, and what the comparison leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from benchmarks.peer import TITLES, System
from benchmarks.reports.results import PeerResults, Run
from benchmarks.targets import Target, targets

DASH = "–"
_SEPARATE_SENTENCES = ("processor", "pinned", "database", "settings")
_ALWAYS = (
    "Tandem does more in each request: access rules, strict validation, versions and their ETags, exact OpenAPI, "
    "problem documents, request ids, security headers. No peer was made to do the same.",
    "Tandem has an index for every filter and sort that it offers, and writes them all; the peers have only those that "
    "their workloads need.",
    "Tandem reads records that concurrent requests ask for in one statement. The TechEmpower workloads are written so "
    "that each row is a query of its own.",
    "The raw ASGI server and Fastify's resolvers are the bare workloads: the first recognizes its three GraphQL "
    "documents without parsing them.",
    "Everything runs on one host over loopback without TLS: no network, no other load. Absolute numbers say little "
    "about another machine; ratios transfer better.",
)
_NOT_COMPARED: Mapping[System, tuple[str, ...]] = {
    "sqlite": (
        "Tandem's writes are durable before the response is sent (`synchronous=FULL`, one commit for all that wait); "
        "the peers run with `synchronous=NORMAL`, which may lose acknowledged writes when the power fails.",
        "FastAPI's endpoints are `def`, as its documentation recommends for blocking databases. As `async def` that "
        "block the event loop they answer up to twice as many requests, as long as no statement is slow.",
        "Each runtime brings its own SQLite: Python's comes with the system, Node's with better-sqlite3.",
    ),
    "postgres": (
        "PostgreSQL has the same settings for all, and every commit is durable. Tandem commits concurrent creates "
        "together; the peers commit each request's.",
        "Tandem has 10 connections, its default; the raw ASGI server and Fastify have 16, the other asynchronous peers "
        "32, Flask and Django one for each of their four threads.",
        "The raw ASGI server's pool does not reset its connections, which saves it a round trip each time. Each of "
        "TechEmpower's rows is a query of its own, which the peers send after the response to the one before, or on "
        "another connection; Tandem sends its 20 queries together (pipelined, with one Sync), which is an advantage.",
        "Where PostgreSQL and the load generator share a core, a request for which both take longer than the server is "
        "limited by them: compare the two tables of processor time.",
        "The peers on SQLAlchemy begin a transaction with their first query and end it after the response, which is "
        "SQLAlchemy's default.",
    ),
}


def page(run: Run, picture: str = "chart.svg") -> str:
    """The whole page; `picture` is the file name of the chart."""
    parts = [_head(run, picture), *_results(run), _peers(run), _notes(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def throughput(run: Run) -> str:
    """Requests per second, by peer and workload."""
    return _by_workload(run, run.peers, lambda peer, workload: _number(peer.requests(workload)))


def ratios(run: Run) -> str:
    """Tandem's requests per second divided by each peer's."""
    others = [peer for peer in run.peers if peer.name != "tandem"]
    return _by_workload(run, others, lambda peer, workload: _ratio(run.ratio(peer.name, workload)))


def latencies(run: Run) -> str:
    """The median and the 99th percentile, in milliseconds."""
    return _by_workload(run, run.peers, _latency)


def server_cpu(run: Run) -> str:
    """The server's processor time per request, in microseconds."""
    return _by_workload(run, run.peers, lambda peer, workload: _number(_server_cpu(peer, workload)))


def database_cpu(run: Run) -> str:
    """The database server's processor time per request, in microseconds; empty where there is no database server."""
    all_measurements = (by_round for peer in run.peers for by_round in peer.measurements.values())
    if not any(measurement.database for by_round in all_measurements for measurement in by_round):
        return ""
    return _by_workload(run, run.peers, lambda peer, workload: _number(_database_cpu(peer, workload)))


def footprint(run: Run) -> str:
    """Start time, and memory after the load."""
    rows = []
    for peer in run.peers:
        start = f"{median(peer.starts):.2f}" if peer.starts else DASH
        memory = f"{median(peer.memories) / 2**20:.0f}" if any(peer.memories) else DASH
        rows.append([_title(peer), start, memory])
    return table(["", "start to first response, s", "memory after load, MiB"], rows)


def target_table(run: Run) -> str:
    """The targets and whether they are met; empty where nothing can be compared."""
    rows = [
        [
            target.title,
            f"{'≤' if target.is_maximum else '≥'} {target.threshold:g} {target.unit}",
            _measured(target),
            "yes" if target.met else "**no**",
        ]
        for target in targets(run)
    ]
    return table(["", "target", "measured", "met"], rows) if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(run: Run, picture: str) -> str:
    size = f"{run.users:,} users, {run.users * 3 // 300:,} groups, {run.users * 3:,} memberships"
    return (
        f"# Benchmark results on {TITLES[run.system]}\n\n![Requests per second]({picture})\n\n"
        f"Measured on {run.date} at commit `{run.commit}`: {size}; one worker each, 32 keep-alive connections, "
        f"{run.rounds} rounds of {run.seconds} s in turn, medians. {_machine(run)}\n\n"
        f"Repeat it with `python3 dev.py bench{_option(run)}`; `benchmarks/README.md` describes the workloads."
    )


def _machine(run: Run) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in run.machine.items() if name not in _SEPARATE_SENTENCES)
    sentences = [f"Machine: {run.machine['processor']}; {versions}.", f"Pinned: {run.machine['pinned']}."]
    sentences += [f"{run.machine['database']}."] if "database" in run.machine else []
    sentences += [f"PostgreSQL's settings: {run.machine['settings']}."] if "settings" in run.machine else []
    return " ".join(sentences)


def _option(run: Run) -> str:
    return f" --database {run.system}" if run.system != "sqlite" else ""


def _results(run: Run) -> list[str]:
    ratio = f"## Ratio of Tandem's requests per second to each peer's\n\n{ratios(run)}" if run.peer("tandem") else ""
    return [
        f"## Requests per second\n\n{throughput(run)}",
        ratio,
        f"## Latency at that load: median / 99th percentile, ms\n\n{latencies(run)}",
        f"## The server's processor time per request, µs\n\n{server_cpu(run)}",
        f"## PostgreSQL's processor time per request, µs\n\n{cpu}" if (cpu := database_cpu(run)) else "",
        f"## Start and memory\n\n{footprint(run)}",
        f"## Targets\n\n{rows}" if (rows := target_table(run)) else "",
    ]


def _peers(run: Run) -> str:
    lines = [f"- **{peer.title}**: {peer.packages}" for peer in run.peers if peer.packages]
    return "## Peers\n\n" + "\n".join(lines)


def _notes(run: Run) -> str:
    lines = "\n".join(f"- {sentence}" for sentence in (*_ALWAYS[:1], *_NOT_COMPARED[run.system], *_ALWAYS[1:]))
    remarks = "\n".join(f"- {remark}" for remark in run.remarks)
    return f"## What is not compared\n\n{lines}" + (f"\n\n## Remarks of this run\n\n{remarks}" if remarks else "")


def _by_workload(run: Run, peers: Iterable[PeerResults], cell: Callable[[PeerResults, str], str]) -> str:
    return table(
        ["", *run.workloads.values()],
        [[_title(peer), *(cell(peer, workload) for workload in run.workloads)] for peer in peers],
    )


def _title(peer: PeerResults) -> str:
    return f"**{peer.title}**" if peer.name == "tandem" else peer.title


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f} ×" if value < 10 else f"{value:.0f} ×"


def _measured(target: Target) -> str:
    return f"{target.measured:.0f} {target.unit}" if target.measured >= 10 else f"{target.measured:.2f} {target.unit}"


def _latency(peer: PeerResults, workload: str) -> str:
    measurement = peer.median_measurement(workload)
    return f"{measurement.p50:.1f} / {measurement.p99:.1f}" if measurement else DASH


def _server_cpu(peer: PeerResults, workload: str) -> float | None:
    measurement = peer.median_measurement(workload)
    return measurement.cpu or None if measurement else None


def _database_cpu(peer: PeerResults, workload: str) -> float | None:
    measurement = peer.median_measurement(workload)
    return measurement.database or None if measurement else None
