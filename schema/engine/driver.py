"""The protocol of a database driver, and the queries it runs.

A transaction is written as a function that returns a generator: it yields queries, is sent each query's rows, and
returns a `TransactionResult`. A driver may run it more than once, so it has no side effects of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from schema.engine.metrics import Connections, Histogram
from schema.engine.sql.record_lookup import RecordQuery, Rows


class ListQuery(NamedTuple):
    """A query that always returns one row of one value: a list as JSON text."""

    sql: str
    parameters: tuple[Any, ...]


class RowQuery(NamedTuple):
    """A query that returns one row or none."""

    sql: str
    parameters: tuple[Any, ...]


# Drivers read the SQL as `query[0]` and the parameters as `query[1]`: writes yield plain tuples, the cheapest to make.
Query = tuple[str, tuple[Any, ...]] | ListQuery | RowQuery | RecordQuery
QueryGenerator = Generator[Query, Rows, Any]
TransactionFunction = Callable[[], QueryGenerator]
StatementObserver = Callable[[str], None]  # called with the SQL of each statement that runs


@dataclass(frozen=True, slots=True)
class SingleQueryTransaction:
    """A transaction function of one query that returns one row, from which `to_result` makes the result."""

    sql: str
    parameters: tuple[Any, ...]
    to_result: Callable[[Rows], Any]

    def __call__(self) -> QueryGenerator:
        return self.to_result((yield self.sql, self.parameters))


@dataclass(frozen=True, slots=True)
class UnboundedTransaction:
    """A transaction function that may change any number of rows, such as all that refer to a deleted record."""

    transaction: TransactionFunction

    def __call__(self) -> QueryGenerator:
        return self.transaction()


class Driver(Protocol):
    """What the engine needs of a database.

    `owner` is the actor whose share of the connections a call counts towards. Every call raises
    `DatabaseUnavailable`, `Overloaded` or `Timeout` when the database cannot serve it.
    """

    async def open(self) -> None:
        """Connect. A database that may become reachable later is no error."""

    async def close(self) -> None:
        """Finish what is running or queued, and disconnect."""

    async def check(self) -> None:
        """Raise `DatabaseUnavailable` unless the database can be read and written, as far as a cheap test shows."""

    async def read(self, queries: Sequence[Query], owner: Hashable = None) -> list[Rows]:
        """Return the rows of each query, all from one snapshot that includes the owner's earlier writes."""

    async def read_fresh(self, queries: Sequence[Query]) -> list[Rows]:
        """Read from the database that is at the address now, never from a replica or a file that was replaced."""

    async def write(
        self, transaction: TransactionFunction, owner: Hashable = None, *, independent: bool = False
    ) -> Any:
        """Commit the transaction and return its result.

        `independent` promises that it conflicts with no other transaction, so it may share a commit with others.
        """

    def generation(self) -> Hashable:
        """Return a value that changes when the database may have been replaced by another one."""

    def waiting(self) -> dict[str, int]:
        """Return the number of calls that wait, by queue."""

    def connections(self) -> dict[str, Connections]:
        """Return the state of each connection pool, by name; empty without a pool."""

    async def lag(self) -> float | None:
        """Return how many seconds the replica is behind; None without a replica.

        Raises:
            DatabaseUnavailable: the replica does not answer.
        """

    @property
    def commit_sizes(self) -> Histogram:
        """How many writes shared each commit."""


def batches(queries: Sequence[Query], *, inserts: bool = False) -> list[list[int]]:
    """Group the indexes of queries that can run together.

    These are record queries of one plan and profile, row queries with the same SQL and, with `inserts`, INSERTs with
    the same SQL. Every other query is a batch of its own.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, query in enumerate(queries):
        key: Hashable = index
        if isinstance(query, RecordQuery):
            key = query.batch_key
        elif isinstance(query, RowQuery) or (inserts and query[0].startswith("INSERT") and "RETURNING" not in query[0]):
            key = query[0]
        groups.setdefault(key, []).append(index)
    return list(groups.values())
