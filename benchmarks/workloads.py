"""What is asked: the same of every peer, spelled as each of them wants it.

The rows are drawn once and for all from a workload's name, so that every peer is asked for the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks import people
from benchmarks.people import Size
from benchmarks.roster import Door

ASKED = 2000
PAGE = 50
MARKED = 100
NUMBER = "~" * 10

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
class Ask:
    """A request."""

    method: str
    path: str
    body: bytes = b""

    def raw(self, headers: Mapping[str, str]) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a peer wants to be asked: the cursor after a user, by the user's number, and whether lists have `nodes`."""

    cursors: Mapping[int, str] = field(default_factory=dict)
    nodes: bool = False

    def cursor(self, number: int) -> str:
        """The peers page by the id itself."""
        return self.cursors[number] if self.cursors else people.user_id(number)

    def document(self, text: str) -> str:
        """A document whose nested lists are as the peer has them."""
        return text.replace("GROUPS", "nodes { id name }" if self.nodes else "id name")


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of request. `make` makes one, given a dialect, a size and what to draw from."""

    name: str
    title: str
    door: Door
    make: Callable[[Dialect, Size, Random], Ask]
    status: int = 200

    def asks(self, dialect: Dialect, size: Size, count: int = ASKED) -> list[Ask]:
        """Some requests, always the same."""
        chance = Random(self.name)
        return [self.make(dialect, size, chance) for _ in range(count)]


def marks(size: Size) -> range:
    """The users after whom a page may begin: those who end a page of a hundred, but for the last pages."""
    return range(MARKED - 1, size.users - MARKED, MARKED)


def _one(dialect: Dialect, size: Size, chance: Random) -> Ask:
    return Ask("GET", f"/users/{people.user_id(chance.randrange(size.users))}")


def _list(dialect: Dialect, size: Size, chance: Random) -> Ask:
    return Ask("GET", f"/users?limit={PAGE}&after={dialect.cursor(chance.choice(marks(size)))}")


def _create(dialect: Dialect, size: Size, chance: Random) -> Ask:
    person = people.user(chance.randrange(size.users))
    given = {"first_name": person["first_name"], "last_name": "Lovelace", "age": person["age"]}
    return Ask("POST", "/users", json.dumps({**given, "email": f"new.{NUMBER}@example.com"}).encode())


def _fixed(path: str) -> Callable[[Dialect, Size, Random], Ask]:
    return lambda dialect, size, chance: Ask("GET", path)


def _graphql_one(dialect: Dialect, size: Size, chance: Random) -> Ask:
    return _graphql("One", ONE, {"id": people.user_id(chance.randrange(size.users))})


def _graphql_list(dialect: Dialect, size: Size, chance: Random) -> Ask:
    return _graphql("Page", LIST, {"after": dialect.cursor(chance.choice(marks(size)))})


def _graphql_nested(dialect: Dialect, size: Size, chance: Random) -> Ask:
    return _graphql("Nested", dialect.document(NESTED), {"after": dialect.cursor(chance.choice(marks(size)))})


def _graphql(name: str, query: str, variables: dict[str, Any]) -> Ask:
    asked = {"query": query, "operationName": name, "variables": variables}
    return Ask("POST", "/graphql", json.dumps(asked).encode())


# What writes comes last: a run's reads find the directory as it was made.
WORKLOADS: tuple[Workload, ...] = (
    Workload("plaintext", "plain text", "kinds", _fixed("/plaintext")),
    Workload("json", "plain JSON", "kinds", _fixed("/json")),
    Workload("one", "one user", "rest", _one),
    Workload("list", "list of 50", "rest", _list),
    Workload("queries", "20 queries", "kinds", _fixed("/queries?queries=20")),
    Workload("fortunes", "fortunes", "kinds", _fixed("/fortunes")),
    Workload("graphql-one", "GraphQL one", "graphql", _graphql_one),
    Workload("graphql-list", "GraphQL list", "graphql", _graphql_list),
    Workload("graphql-nested", "GraphQL list + groups", "graphql", _graphql_nested),
    Workload("updates", "20 updates", "kinds", _fixed("/updates?queries=20")),
    Workload("create", "create", "rest", _create, status=201),
)
