"""`python -m benchmarks`: run the comparison, or with `--growth` measure the cost of requests as the tables grow."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks.comparison import ComparisonOptions, compare
from benchmarks.data.databases import open_server
from benchmarks.data.dataset import Size
from benchmarks.environments import HERE, Unavailable
from benchmarks.peer import PEERS
from benchmarks.reports import markdown, results
from benchmarks.reports.chart import chart
from benchmarks.reports.results import Run
from benchmarks.scaling import runner
from benchmarks.targets import targets
from benchmarks.workloads import WORKLOADS
from schema.engine.database_url import is_postgres

RESULTS = HERE / "results"


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark, write its results, and print where they are. Returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    options = parser().parse_args(arguments)
    try:
        if options.growth:
            with open_server(options.database) as database_server:
                runner.run(_sizes(options), database_server)
            return 0
        run = results.load(options.draw) if options.draw else _compare(options)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _write(run, published=bool(options.draw) or _is_complete(options))
    return 0


def parser() -> argparse.ArgumentParser:
    peers, workloads = [peer.name for peer in PEERS], [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser("python3 dev.py bench", description="Compare Tandem with other frameworks.")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s, not 5 of 5; with --growth: two sizes")
    parser.add_argument(
        "--database", type=_database, default="sqlite", metavar="sqlite|postgres|URL", help="the database (sqlite)"
    )
    parser.add_argument("--only", type=_names(peers), metavar="PEER,…", help="measure only these peers")
    parser.add_argument("--workloads", type=_names(workloads), metavar="WORKLOAD,…", help="run only these workloads")
    parser.add_argument("--rounds", type=int, choices=range(1, 51), metavar="N", help="number of rounds")
    parser.add_argument("--seconds", type=int, choices=range(1, 121), metavar="S", help="duration of each measurement")
    parser.add_argument("--users", type=int, default=100_000, metavar="N", help="number of users (100,000)")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only write page and chart, from a run's JSON file")
    parser.add_argument("--growth", action="store_true", help="ten thousand, a hundred thousand and a million users")
    parser.add_argument("--huge", action="store_true", help="with --growth: ten million as well")
    return parser


def comparison_options(options: argparse.Namespace) -> ComparisonOptions:
    """The comparison that the arguments ask for. Optional peers run only when they are named."""
    default = 2 if options.quick else 5
    return ComparisonOptions(
        peers=[peer for peer in PEERS if (peer.name in options.only if options.only else not peer.optional)],
        workloads=[workload for workload in WORKLOADS if not options.workloads or workload.name in options.workloads],
        rounds=options.rounds or default,
        seconds=options.seconds or default,
        size=Size(options.users),
    )


def _compare(options: argparse.Namespace) -> Run:
    with open_server(options.database) as database_server:
        return compare(comparison_options(options), database_server)


def _database(text: str) -> str:
    if text not in ("sqlite", "postgres") and not is_postgres(text):
        raise argparse.ArgumentTypeError(f"unknown database {text}: expected sqlite, postgres or postgresql://…")
    return text


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; expected {', '.join(known)}")
        return names

    return parse


def _sizes(options: argparse.Namespace) -> Sequence[Size]:
    return runner.SIZES[:2] if options.quick else runner.SIZES if options.huge else runner.SIZES[:3]


def _is_complete(options: argparse.Namespace) -> bool:
    """Whether a run may be published: all peers and workloads, at full length."""
    changed = (options.only, options.workloads, options.quick, options.rounds, options.seconds)
    return not any(changed) and options.users == 100_000


def _write(run: Run, *, published: bool) -> None:
    """Write JSON, page and chart into `results/`; page and chart of a published run beside this file."""
    path = RESULTS / f"{run.date}-{run.commit}-{run.system}.json"
    results.save(run, path)
    folder = HERE if published else RESULTS
    suffix = "-postgres" if run.system == "postgres" else ""
    page, picture = folder / f"results{suffix}.md", folder / f"chart{suffix}.svg"
    page.write_text(markdown.page(run, picture.name), encoding="utf-8")
    picture.write_text(chart(run), encoding="utf-8")
    print(f"\n{markdown.throughput(run)}\n")
    if run.peer("tandem") and len(run.peers) > 1:
        print(f"{markdown.ratios(run)}\n")
    if run_targets := targets(run):
        print(f"{sum(target.met for target in run_targets)} of {len(run_targets)} targets are met.")
    for remark in run.remarks:
        print(remark)
    print(f"Written: {', '.join(str(file.relative_to(HERE.parent)) for file in (path, page, picture))}")


def _interrupt(number: int, frame: object) -> NoReturn:
    """Treat SIGTERM like Ctrl-C, so that child processes are ended first."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
