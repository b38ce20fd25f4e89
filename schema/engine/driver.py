"""What is asked of a database: steps, and jobs made of them.

A job is a function that makes a generator: it yields steps (SQL and parameters), is sent each step's rows, and returns
its result. It may be run more than once, so it does nothing but yield.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schema.engine.metrics import Connections, Histogram
from schema.engine.sql.record_lookup import RecordQuery, Rows


class ListQuery(NamedTuple):
    """A step that brings one row of one value, whatever there is: a list as text."""

    sql: str
    parameters: tuple[Any, ...]


class RowQuery(NamedTuple):
    """A step that brings one row or none."""

    sql: str
    parameters: tuple[Any, ...]


Query = tuple[str, tuple[Any, ...]] | ListQuery | RowQuery | RecordQuery
QueryGenerator = Generator[Query, Rows, Any]
TransactionFunction = Callable[[], QueryGenerator]


@dataclass(frozen=True, slots=True)
class SingleQuery:
    """A job of one step, which brings one row: `told` makes the result of it."""

    sql: str
    parameters: tuple[Any, ...]
    told: Callable[[Rows], Any]

    def __call__(self) -> QueryGenerator:
        """The job as any other."""
        return self.told((yield self.sql, self.parameters))


StatementObserver = Callable[[str], None]


class UnboundedWrite:
    """A job that may change very many rows: as many as refer to the one that it deletes."""

    __slots__ = ("_job",)

    def __init__(self, job: TransactionFunction) -> None:
        self._job = job

    def __call__(self) -> QueryGenerator:
        return self._job()


class Driver(Protocol):
    """What a directory needs of a database, whichever it is."""

    async def open(self) -> None:
        """Connect; `DatabaseUnavailable` where trying again would not help."""

    async def close(self) -> None:
        """Finish what is under way, and disconnect."""

    async def check(self) -> None:
        """`DatabaseUnavailable` unless it can be read and written, as far as that can be told in passing."""

    async def read(self, steps: Sequence[Query], reader: Hashable = None) -> list[Rows]:
        """The rows of each step, all of one moment; `reader` sees at least what it has written itself."""

    async def read_anew(self, steps: Sequence[Query]) -> list[Rows]:
        """The rows of each step, read from the database that is there now; a replica may not know of them yet."""

    def generation(self) -> Hashable:
        """Changes when the database may be another one than before."""

    async def write(self, job: TransactionFunction, writer: Hashable = None, *, apart: bool = False) -> Any:
        """The job's result, once it is committed. A job that is `apart` touches nothing that another one could."""

    def waiting(self) -> dict[str, int]:
        """How many errands wait, by what they wait for."""

    def connections(self) -> dict[str, Connections]:
        """What there is to say of each pool of connections, if there are any."""

    async def lag(self) -> float | None:
        """How many seconds a replica is behind, if there is one; `DatabaseUnavailable` if that is not to be known."""

    @property
    def groups(self) -> Histogram:
        """How many writes were committed together."""


def batches(steps: Sequence[Query], *, insertions: bool = False) -> list[list[int]]:
    """The places of the steps, those together that go together: look-ups alike, the same single, perhaps insertions."""
    found: dict[Hashable, list[int]] = {}
    for place, step in enumerate(steps):
        key: Hashable = place
        if isinstance(step, RecordQuery):
            key = step.batch_key
        elif isinstance(step, RowQuery):
            key = step.sql
        elif insertions and step[0].startswith("INSERT") and "RETURNING" not in step[0]:
            key = step[0]
        found.setdefault(key, []).append(place)
    return list(found.values())
