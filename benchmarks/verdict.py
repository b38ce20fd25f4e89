"""What the figures of several sizes say: a table, and the questions that cost more the larger the directory is.

It is what the database had to do that decides: SQLite's steps and the pages it reads, the rows that PostgreSQL's plans
went through and the buffers they looked into. Time is only told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.effort import Effort
from benchmarks.people import Size
from benchmarks.roster import TITLES, System
from benchmarks.tables import DASH, table

# What a larger directory may take more: a level or two of each index's tree; and as rows lie further apart, in the end
# a page for each row of an answer, nested ones included.
WORDS: Mapping[System, tuple[str, str]] = {"sqlite": ("steps", "pages"), "postgres": ("rows", "buffers")}
MOST_TIMES, MORE_STEPS, MORE_PAGES = 2, 300, 200

Found = Mapping[str, "Cost"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a question costs: the median time of a request asked alone, in ms, and the database's effort."""

    milliseconds: float
    effort: Effort


def report(found: Mapping[Size, Found], system: System = "sqlite") -> str:
    """The table, and below it a sentence for each question that grows."""
    head = ["", *(f"{size.users:,}: ms / {' / '.join(WORDS[system])}" for size in found)]
    first = next(iter(found.values()))
    rows = [[f"`{name}`", *(_cell(costs[name]) for costs in found.values())] for name in first]
    grown = "\n".join(f"- {sentence}" for sentence in growing(found, system)) or "- Nothing grows."
    return f"# As the tables grow, on {TITLES[system]}\n\n{table(head, rows)}\n\n## What grows\n\n{grown}\n"


def growing(found: Mapping[Size, Found], system: System = "sqlite") -> list[str]:
    """The questions whose effort grows with the table, each as a sentence."""
    smallest, largest = (found[size] for size in (min(found, key=_users), max(found, key=_users)))
    sentences, (steps, pages) = [], WORDS[system]
    for name, cost in largest.items():
        before, after = smallest[name].effort, cost.effort
        told = [
            f"from {old:,} to {new:,} {what}"
            for what, old, new, more in (
                (steps, before.steps, after.steps, MORE_STEPS),
                (pages, before.pages or 0, after.pages or 0, MORE_PAGES),
            )
            if new > old * MOST_TIMES + more
        ]
        if told:
            sentences.append(f"`{name}`: {', '.join(told)}")
    return sentences


def _cell(cost: Cost) -> str:
    pages = DASH if cost.effort.pages is None else f"{cost.effort.pages:,}"
    return f"{cost.milliseconds:.2f} / {cost.effort.steps:,} / {pages}"


def _users(size: Size) -> int:
    return size.users
