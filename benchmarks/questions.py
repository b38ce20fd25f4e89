"""What is asked as the tables grow: every filter and sort that lists of users offer, far pages, what is nested, writes.

The offer itself is read from the service, so that a filter or a sort that is new is asked for as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from api.rest.list_parameters import list_parameters, sort_options
from benchmarks import people, stores
from benchmarks.people import Row, Size
from benchmarks.workloads import LIST, NESTED, NUMBER, ONE, Ask, Dialect
from schema.engine.model.resource import Resource, resource_of
from schema.engine.query import cursors
from schema.engine.query.selection import Order
from schema.models import User

DIFFERENT = 20
RANGES = ("lt", "lte", "gt", "gte", "startswith")
ORDERED = ("id", "email", "external_id", "created_at", "updated_at")
NOBODY = "zzqxj"
_OWN = ("limit", "after", "before", "sort", "count")


@dataclass(frozen=True, slots=True)
class Question:
    """A kind of request, and some of them about different rows."""

    name: str
    asks: tuple[Ask, ...]


def questions(size: Size, database: str) -> Iterator[Question]:
    """All of them, what writes last."""
    made, numbers = resource_of(User), list(_spread(size))
    yield Question("one user", tuple(Ask("GET", f"/users/{people.user_id(number)}") for number in numbers))
    yield Question("first page", (Ask("GET", "/users?limit=50"),))
    yield from _sorted(made, database, size)
    deep = cursor_at(made, Order(), database, size.users // 2)
    yield from _filtered(made, numbers)
    yield Question("a user's groups", tuple(Ask("GET", f"/users/{people.user_id(it)}/groups") for it in numbers))
    groups = [people.group_id(number * size.groups // size.users) for number in numbers]
    yield Question("a group's members", tuple(Ask("GET", f"/groups/{group}/members?limit=50") for group in groups))
    yield from _graphql(numbers, deep)
    body = {"first_name": "Ada", "last_name": "Lovelace", "age": 36, "email": f"new.{NUMBER}@example.com"}
    yield Question("create", (Ask("POST", "/users", json.dumps(body).encode()),))


def cursor_at(resource: Resource, order: Order, database: str, place: int) -> str:
    """The cursor of the row at a place of a list, as the service would make it: turning the pages would take hours."""
    columns = [resource.fields[name].sort_column for name in order.fields] + ["id"]
    directed = ", ".join(f"{column} {'DESC' if order.descending else 'ASC'}" for column in columns)
    sql = f'SELECT {", ".join(columns)} FROM "user" ORDER BY {directed} LIMIT 1 OFFSET {place}'
    keys = json.dumps(stores.row(database, sql), separators=(",", ":"), ensure_ascii=False)
    (secret,) = stores.row(database, "SELECT secret FROM cursor_key")
    seal = cursors.Signer(secret).list_hash(resource.name, None, order, None, {})
    return cursors.encode_cursor(keys.encode(), seal).decode()


def _sorted(resource: Resource, database: str, size: Size) -> Iterator[Question]:
    """A page of fifty half-way through each order."""
    for name, order in sort_options(resource).items():
        cursor = cursor_at(resource, order, database, size.users // 2)
        yield Question(f"sort={name}, half-way", (Ask("GET", f"/users?limit=50&sort={name}&after={cursor}"),))


def _filtered(resource: Resource, numbers: Iterable[int]) -> Iterator[Question]:
    """Each filter: with values that there are, and where it reads a text, with one that there is not."""
    rows = [people.user(number) for number in numbers]
    # The same names and ages whatever the size, so that as large a share of all has them.
    alike = [people.user(number) for number in _spread(Size(2000))]
    alike = [row for row in alike if min(len(str(row["first_name"])), len(str(row["last_name"]))) > 2]
    for parameter in list_parameters(resource):
        name = parameter.name
        field, _, operator = name.partition("__")
        if name in _OWN:
            continue
        if operator == "isnull":
            for value in ("true", "false"):
                yield Question(f"{name}={value}", (Ask("GET", f"/users?{name}={value}"),))
            continue
        values = [_value(row, field, operator) for row in (rows if field in ORDERED else alike)]
        asks = [Ask("GET", f"/users?{name}={quote(value, safe=',')}") for value in values]
        yield Question(name, tuple(asks))
        if operator in RANGES and field in sort_options(resource):
            yield Question(f"{name}, sort={field}", tuple(Ask("GET", f"{ask.path}&sort={field}") for ask in asks))
        if field == "q":
            yield from _searched()
        if isinstance(rows[0].get(field, ""), str) and operator in ("", "startswith", "contains") and _free(field):
            yield Question(f"{name}, nobody", (Ask("GET", f"/users?{name}={NOBODY}"),))


def _searched() -> Iterator[Question]:
    """Searches that many stand, in several orders, and such as few do."""
    for sort in ("id", "-age", "last_name"):
        yield Question(f"q of many, sort={sort}", (Ask("GET", f"/users?q=lovelace&sort={sort}"),))
    yield Question("q of two names", (Ask("GET", "/users?q=ada%20lovelace"),))
    yield Question("q of a common and a rare word", (Ask("GET", f"/users?q=ada%20{NOBODY}"),))
    yield Question("email__contains, few", (Ask("GET", "/users?email__contains=person.1234@"),))


def _value(row: Row, field: str, operator: str) -> str:
    """A value for a filter that finds this row."""
    if field == "q":
        return f"{row['first_name']} {row['last_name']}"
    value = row[field]
    if operator == "in":
        return f"{_spelled(value)},{_spelled(people.user(3)[field])}"
    if operator == "startswith":
        return str(value)[:2]
    return str(value)[-4:] if operator == "contains" else _spelled(value)


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _free(field: str) -> bool:
    """Whether any text will do for a field, and not only ids and times."""
    return field not in ("id", "created_at", "updated_at")


def _graphql(numbers: Iterable[int], cursor: str) -> Iterator[Question]:
    dialect, paged = Dialect(nodes=True), {"after": cursor}
    ones = tuple(_posted("One", ONE, {"id": people.user_id(number)}) for number in numbers)
    yield Question("GraphQL one", ones)
    yield Question("GraphQL list, half-way", (_posted("Page", LIST, paged),))
    yield Question("GraphQL list + groups, half-way", (_posted("Nested", dialect.document(NESTED), paged),))


def _posted(name: str, query: str, variables: dict[str, str]) -> Ask:
    asked = {"query": query, "operationName": name, "variables": variables}
    return Ask("POST", "/graphql", json.dumps(asked).encode())


def _spread(size: Size) -> Iterator[int]:
    """Users from all over the directory, of whom everything is known."""
    step = size.users // (DIFFERENT + 1)
    for number in range(step, size.users, step):
        yield next(it for it in range(number, number + 100) if None not in people.user(it).values())
