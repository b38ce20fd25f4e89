"""The report: costs by number of users, and the queries whose cost grows with it.

What decides is the work of the database: SQLite's virtual machine steps and pages, PostgreSQL's rows and buffers. Times
are shown, but not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.data.dataset import Size
from benchmarks.peer import TITLES, System
from benchmarks.reports.markdown import DASH, table
from benchmarks.scaling.query_cost import QueryCost

UNITS: Mapping[System, tuple[str, str]] = {"sqlite": ("steps", "pages"), "postgres": ("rows", "buffers")}
# What more users may add: a level or two of each index, and, as rows lie further apart, up to a page for each row of
# the response, nested ones included.
GROWTH_FACTOR, STEP_ALLOWANCE, PAGE_ALLOWANCE = 2, 300, 200

CostsByQuery = Mapping[str, "RequestCost"]


@dataclass(frozen=True, slots=True)
class RequestCost:
    """The median time of a sequential request in milliseconds, and the cost of its statements."""

    milliseconds: float
    query_cost: QueryCost


def report(costs: Mapping[Size, CostsByQuery], system: System = "sqlite") -> str:
    """A Markdown page: the table, and a sentence for each query whose cost grows."""
    head = ["", *(f"{size.users:,}: ms / {' / '.join(UNITS[system])}" for size in costs)]
    names = next(iter(costs.values()))
    rows = [[f"`{name}`", *(_cell(by_query[name]) for by_query in costs.values())] for name in names]
    growing = "\n".join(f"- {sentence}" for sentence in growing_queries(costs, system)) or "- Nothing grows."
    title = f"# Cost of requests by number of users, on {TITLES[system]}"
    return f"{title}\n\n{table(head, rows)}\n\n## What grows\n\n{growing}\n"


def growing_queries(costs: Mapping[Size, CostsByQuery], system: System = "sqlite") -> list[str]:
    """The queries whose cost grows with the number of users, each as a sentence."""
    smallest, largest = (costs[size] for size in (min(costs, key=_users), max(costs, key=_users)))
    sentences, (steps, pages) = [], UNITS[system]
    for name, cost in largest.items():
        before, after = smallest[name].query_cost, cost.query_cost
        increases = [
            f"from {old:,} to {new:,} {unit}"
            for unit, old, new, allowance in (
                (steps, before.steps, after.steps, STEP_ALLOWANCE),
                (pages, before.pages or 0, after.pages or 0, PAGE_ALLOWANCE),
            )
            if new > old * GROWTH_FACTOR + allowance
        ]
        if increases:
            sentences.append(f"`{name}`: {', '.join(increases)}")
    return sentences


def _cell(cost: RequestCost) -> str:
    pages = DASH if cost.query_cost.pages is None else f"{cost.query_cost.pages:,}"
    return f"{cost.milliseconds:.2f} / {cost.query_cost.steps:,} / {pages}"


def _users(size: Size) -> int:
    return size.users
