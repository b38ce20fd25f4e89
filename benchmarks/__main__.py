"""`python -m benchmarks`: the comparison, or with `--growth` what happens as the tables grow."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks import figures, growth, stores, tables
from benchmarks.chart import chart
from benchmarks.environments import HERE, Unavailable
from benchmarks.figures import Run
from benchmarks.people import Size
from benchmarks.roster import PEERS
from benchmarks.rounds import Plan, compare
from benchmarks.targets import targets
from benchmarks.workloads import WORKLOADS
from schema.engine.database_url import is_postgres

RESULTS = HERE / "results"


def main(arguments: Sequence[str]) -> int:
    """Measure, write down, and say where."""
    signal.signal(signal.SIGTERM, _leave)
    given = parser().parse_args(arguments)
    try:
        if given.growth:
            with stores.opened(given.database) as store:
                growth.run(_sizes(given), store)
            return 0
        run = figures.read(given.draw) if given.draw else _compared(given)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _write(run, published=bool(given.draw) or _whole(given))
    return 0


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser("python3 dev.py bench", description="Numbers, not assertions.")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s, not 5 of 5; with --growth: two sizes")
    parser.add_argument(
        "--database", type=_database, default="sqlite", metavar="sqlite|postgres|URL", help="what it runs on (sqlite)"
    )
    parser.add_argument("--only", type=_names([it.name for it in PEERS]), metavar="PEER,…", help="these peers alone")
    parser.add_argument(
        "--workloads", type=_names([it.name for it in WORKLOADS]), metavar="WORKLOAD,…", help="these workloads alone"
    )
    parser.add_argument("--rounds", type=int, choices=range(1, 51), metavar="N", help="how many rounds")
    parser.add_argument("--seconds", type=int, choices=range(1, 121), metavar="S", help="how long each measure takes")
    parser.add_argument("--users", type=int, default=100_000, metavar="N", help="how many users (100,000)")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only write table and chart, from a run's figures")
    parser.add_argument("--growth", action="store_true", help="ten thousand, a hundred thousand and a million users")
    parser.add_argument("--huge", action="store_true", help="with --growth: ten million as well")
    return parser


def _compared(given: argparse.Namespace) -> Run:
    with stores.opened(given.database) as store:
        return compare(planned(given), store)


def _database(text: str) -> str:
    if text not in ("sqlite", "postgres") and not is_postgres(text):
        raise argparse.ArgumentTypeError(f"there is no {text}; there are sqlite, postgres, and URLs: postgresql://…")
    return text


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return read


def planned(given: argparse.Namespace) -> Plan:
    """The comparison that is asked for: everybody and everything, but for who stands aside or is not named."""
    return Plan(
        peers=[peer for peer in PEERS if (peer.name in given.only if given.only else not peer.aside)],
        workloads=[it for it in WORKLOADS if not given.workloads or it.name in given.workloads],
        rounds=given.rounds or (2 if given.quick else 5),
        seconds=given.seconds or (2 if given.quick else 5),
        size=Size(given.users),
    )


def _sizes(given: argparse.Namespace) -> Sequence[Size]:
    return growth.SIZES[:2] if given.quick else growth.SIZES if given.huge else growth.SIZES[:3]


def _whole(given: argparse.Namespace) -> bool:
    """Whether a run is one to publish: everybody, everything, long enough."""
    return not (given.only or given.workloads or given.quick or given.rounds or given.seconds or given.users != 100_000)


def _write(run: Run, *, published: bool) -> None:
    """The figures and the page into `results/`; of a whole run, the page and the chart beside it too."""
    path = RESULTS / f"{run.date}-{run.commit}-{run.system}.json"
    figures.keep(run, path)
    folder = HERE if published else RESULTS
    suffix = "-postgres" if run.system == "postgres" else ""
    page, picture = folder / f"results{suffix}.md", folder / f"chart{suffix}.svg"
    page.write_text(tables.report(run, picture.name), encoding="utf-8")
    picture.write_text(chart(run), encoding="utf-8")
    print(f"\n{tables.requests(run)}\n")
    if run.peer("tandem") and len(run.peers) > 1:
        print(f"{tables.ratios(run)}\n")
    if wanted := targets(run):
        print(f"{sum(it.met for it in wanted)} of {len(wanted)} targets are reached.")
    for remark in run.remarks:
        print(remark)
    print(f"Written: {', '.join(str(it.relative_to(HERE.parent)) for it in (path, page, picture))}")


def _leave(number: int, frame: object) -> NoReturn:
    """An end from outside is one like Ctrl-C: whatever was started is ended first."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
