"""The measured queries: every filter and sort of the list of users, deep pages, nested lists, and a write.

Filters and sorts are read from the service, so that new ones are measured as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from api.rest.list_parameters import list_parameters, sort_options
from benchmarks.data import databases, dataset
from benchmarks.data.dataset import Row, Size
from benchmarks.workloads import LIST, NESTED, NUMBER_PLACEHOLDER, ONE, Dialect, Request
from schema.engine.model.resource import Resource, resource_of
from schema.engine.query import cursors
from schema.engine.query.selection import Order
from schema.models import User

REQUEST_COUNT = 20  # for each query, about different rows
RANGE_OPERATORS = ("lt", "lte", "gt", "gte", "startswith")
SELECTIVE_FIELDS = ("id", "email", "external_id", "created_at", "updated_at")
NO_MATCH = "zzqxj"
_PAGING_PARAMETERS = ("limit", "after", "before", "sort", "count")


@dataclass(frozen=True, slots=True)
class Query:
    """A named query, as requests for different rows."""

    name: str
    requests: tuple[Request, ...]


def queries(size: Size, database: str) -> Iterator[Query]:
    """All queries; writes come last."""
    resource, numbers = resource_of(User), list(_spread(size))
    yield Query("one user", tuple(Request("GET", f"/users/{dataset.user_id(number)}") for number in numbers))
    yield Query("first page", (Request("GET", "/users?limit=50"),))
    yield from _sorted(resource, database, size)
    middle = cursor_at(resource, Order(), database, size.users // 2)
    yield from _filtered(resource, numbers)
    yield Query(
        "a user's groups", tuple(Request("GET", f"/users/{dataset.user_id(number)}/groups") for number in numbers)
    )
    groups = [dataset.group_id(number * size.groups // size.users) for number in numbers]
    yield Query("a group's members", tuple(Request("GET", f"/groups/{group}/members?limit=50") for group in groups))
    yield from _graphql(numbers, middle)
    body = {"first_name": "Ada", "last_name": "Lovelace", "age": 36, "email": f"new.{NUMBER_PLACEHOLDER}@example.com"}
    yield Query("create", (Request("POST", "/users", json.dumps(body).encode()),))


def cursor_at(resource: Resource, order: Order, database: str, position: int) -> str:
    """The cursor of the row at a position of a list. Computed, since reading all pages would take hours."""
    columns = [resource.fields[name].sort_column for name in order.fields] + ["id"]
    order_by = ", ".join(f"{column} {'DESC' if order.descending else 'ASC'}" for column in columns)
    sql = f'SELECT {", ".join(columns)} FROM "user" ORDER BY {order_by} LIMIT 1 OFFSET {position}'
    keys = json.dumps(databases.fetch_row(database, sql), separators=(",", ":"), ensure_ascii=False)
    (secret,) = databases.fetch_row(database, "SELECT secret FROM cursor_key")
    seal = cursors.Signer(secret).list_hash(resource.name, None, order, None, {})
    return cursors.encode_cursor(keys.encode(), seal).decode()


def _sorted(resource: Resource, database: str, size: Size) -> Iterator[Query]:
    """A page of fifty in the middle of each sort order."""
    for name, order in sort_options(resource).items():
        cursor = cursor_at(resource, order, database, size.users // 2)
        yield Query(f"sort={name}, middle", (Request("GET", f"/users?limit=50&sort={name}&after={cursor}"),))


def _filtered(resource: Resource, numbers: Iterable[int]) -> Iterator[Query]:
    """Each filter, with values that exist, and for texts with a value that does not."""
    rows = [dataset.user(number) for number in numbers]
    # The same names and ages for every size, so that the same share of users matches.
    common = [dataset.user(number) for number in _spread(Size(2000))]
    common = [row for row in common if min(len(str(row["first_name"])), len(str(row["last_name"]))) > 2]
    for parameter in list_parameters(resource):
        name = parameter.name
        field, _, operator = name.partition("__")
        if name in _PAGING_PARAMETERS:
            continue
        if operator == "isnull":
            for value in ("true", "false"):
                yield Query(f"{name}={value}", (Request("GET", f"/users?{name}={value}"),))
            continue
        values = [_value(row, field, operator) for row in (rows if field in SELECTIVE_FIELDS else common)]
        requests = [Request("GET", f"/users?{name}={quote(value, safe=',')}") for value in values]
        yield Query(name, tuple(requests))
        if operator in RANGE_OPERATORS and field in sort_options(resource):
            yield Query(
                f"{name}, sort={field}", tuple(Request("GET", f"{request.path}&sort={field}") for request in requests)
            )
        if field == "q":
            yield from _searched()
        if isinstance(rows[0].get(field, ""), str) and operator in ("", "startswith", "contains") and _free(field):
            yield Query(f"{name}, no match", (Request("GET", f"/users?{name}={NO_MATCH}"),))


def _searched() -> Iterator[Query]:
    """Searches with many matches, in several sort orders, and with few."""
    for sort in ("id", "-age", "last_name"):
        yield Query(f"q, many matches, sort={sort}", (Request("GET", f"/users?q=lovelace&sort={sort}"),))
    yield Query("q, two names", (Request("GET", "/users?q=ada%20lovelace"),))
    yield Query("q, a common and a rare word", (Request("GET", f"/users?q=ada%20{NO_MATCH}"),))
    yield Query("email__contains, few", (Request("GET", "/users?email__contains=person.1234@"),))


def _value(row: Row, field: str, operator: str) -> str:
    """A filter value that matches this row."""
    if field == "q":
        return f"{row['first_name']} {row['last_name']}"
    value = row[field]
    if operator == "in":
        return f"{_text(value)},{_text(dataset.user(3)[field])}"
    if operator == "startswith":
        return str(value)[:2]
    return str(value)[-4:] if operator == "contains" else _text(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _free(field: str) -> bool:
    """Whether a field takes any text, unlike ids and times."""
    return field not in ("id", "created_at", "updated_at")


def _graphql(numbers: Iterable[int], cursor: str) -> Iterator[Query]:
    dialect, paged = Dialect(nodes=True), {"after": cursor}
    users = tuple(_post("One", ONE, {"id": dataset.user_id(number)}) for number in numbers)
    yield Query("GraphQL one", users)
    yield Query("GraphQL list, middle", (_post("Page", LIST, paged),))
    yield Query("GraphQL list + groups, middle", (_post("Nested", dialect.document(NESTED), paged),))


def _post(name: str, query: str, variables: dict[str, str]) -> Request:
    body = {"query": query, "operationName": name, "variables": variables}
    return Request("POST", "/graphql", json.dumps(body).encode())


def _spread(size: Size) -> Iterator[int]:
    """The numbers of users spread over the data set, who have a value in every field."""
    step = size.users // (REQUEST_COUNT + 1)
    for number in range(step, size.users, step):
        yield next(near for near in range(number, number + 100) if None not in dataset.user(near).values())
