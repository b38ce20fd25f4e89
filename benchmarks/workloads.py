"""The workloads: the same requests for every peer, in the form that each peer expects.

Rows are drawn by a random generator that is seeded with the workload's name, so that every peer gets the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.data import dataset
from benchmarks.data.dataset import Size
from benchmarks.peer import Api

REQUEST_COUNT = 2000
PAGE = 50
CURSOR_SPACING = 100
NUMBER_PLACEHOLDER = "~" * 10  # replaced by the number of the request, where each must differ

ONE = "query One($id: ID!) { user(id: $id) { id firstName lastName age email } }"
LIST = (
    "query Page($after: String) { users(first: 50, after: $after) "
    "{ nodes { id firstName lastName age email } pageInfo { hasNextPage endCursor } } }"
)
NESTED = (
    "query Nested($after: String) { users(first: 50, after: $after) "
    "{ nodes { id firstName lastName age email groups(first: 10) { GROUPS } } pageInfo { hasNextPage endCursor } } }"
)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes = b""

    def raw(self, headers: Mapping[str, str]) -> bytes:
        """The bytes that are sent."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between peers: cursors by the number of the user before, and whether lists have `nodes`."""

    cursors: Mapping[int, str] = field(default_factory=dict)
    nodes: bool = False

    def cursor(self, number: int) -> str:
        """The cursor after a user. The peers but Tandem page by the id itself."""
        return self.cursors[number] if self.cursors else dataset.user_id(number)

    def document(self, text: str) -> str:
        """A GraphQL document whose nested lists have the peer's form."""
        return text.replace("GROUPS", "nodes { id name }" if self.nodes else "id name")


@dataclass(frozen=True, slots=True)
class Workload:
    """A sequence of requests to one API. `make` creates one, from a dialect, a size and a random generator."""

    name: str
    title: str
    api: Api
    make: Callable[[Dialect, Size, Random], Request]
    status: int = 200

    def requests(self, dialect: Dialect, size: Size, count: int = REQUEST_COUNT) -> list[Request]:
        """The first requests of the sequence, always the same."""
        random = Random(self.name)
        return [self.make(dialect, size, random) for _ in range(count)]


def cursor_positions(size: Size) -> range:
    """The numbers of the users after whom a page may begin: the last of each hundred, but for the end."""
    return range(CURSOR_SPACING - 1, size.users - CURSOR_SPACING, CURSOR_SPACING)


def _one(dialect: Dialect, size: Size, random: Random) -> Request:
    return Request("GET", f"/users/{dataset.user_id(random.randrange(size.users))}")


def _list(dialect: Dialect, size: Size, random: Random) -> Request:
    return Request("GET", f"/users?limit={PAGE}&after={dialect.cursor(random.choice(cursor_positions(size)))}")


def _create(dialect: Dialect, size: Size, random: Random) -> Request:
    person = dataset.user(random.randrange(size.users))
    body = {
        "first_name": person["first_name"],
        "last_name": "Lovelace",
        "age": person["age"],
        "email": f"new.{NUMBER_PLACEHOLDER}@example.com",
    }
    return Request("POST", "/users", json.dumps(body).encode())


def _fixed(path: str) -> Callable[[Dialect, Size, Random], Request]:
    return lambda dialect, size, random: Request("GET", path)


def _graphql_one(dialect: Dialect, size: Size, random: Random) -> Request:
    return _graphql("One", ONE, {"id": dataset.user_id(random.randrange(size.users))})


def _graphql_list(dialect: Dialect, size: Size, random: Random) -> Request:
    return _graphql("Page", LIST, {"after": dialect.cursor(random.choice(cursor_positions(size)))})


def _graphql_nested(dialect: Dialect, size: Size, random: Random) -> Request:
    return _graphql(
        "Nested", dialect.document(NESTED), {"after": dialect.cursor(random.choice(cursor_positions(size)))}
    )


def _graphql(name: str, query: str, variables: dict[str, Any]) -> Request:
    body = {"query": query, "operationName": name, "variables": variables}
    return Request("POST", "/graphql", json.dumps(body).encode())


# Writes come last, so that reads find the database as it was filled.
WORKLOADS: tuple[Workload, ...] = (
    Workload("plaintext", "plain text", "techempower", _fixed("/plaintext")),
    Workload("json", "plain JSON", "techempower", _fixed("/json")),
    Workload("one", "one user", "rest", _one),
    Workload("list", "list of 50", "rest", _list),
    Workload("queries", "20 queries", "techempower", _fixed("/queries?queries=20")),
    Workload("fortunes", "fortunes", "techempower", _fixed("/fortunes")),
    Workload("graphql-one", "GraphQL one", "graphql", _graphql_one),
    Workload("graphql-list", "GraphQL list", "graphql", _graphql_list),
    Workload("graphql-nested", "GraphQL list + groups", "graphql", _graphql_nested),
    Workload("updates", "20 updates", "techempower", _fixed("/updates?queries=20")),
    Workload("create", "create", "rest", _create, status=201),
)
