"""What is in the databases that are measured: each table, its columns, and its rows, whichever database holds them.

Tandem's rows are as its engine writes them, with the keys that it makes; the peers' are those of `peers/schema.sql`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from benchmarks import people
from benchmarks.people import Row, Size
from benchmarks.roster import Owner
from benchmarks.tandem.models import Fortune, World, id_at
from schema.engine.model.record import Model
from schema.engine.model.resource import fields_by_name, table_of
from schema.engine.operations import write_statements
from schema.models import Group, Key, Membership, User

KEY_ID = "00000000-0000-0000-0000-000000000001"
_MOMENT = "2024-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Filled:
    """A table, and the rows that it is filled with, their values in the order of the columns."""

    table: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def contents(owner: Owner, size: Size) -> Iterator[Filled]:
    """The tables of Tandem or of its peers, in an order in which they can be filled."""
    return _of_tandem(size) if owner == "tandem" else _of_peers(size)


def kinds() -> list[Table]:
    """Tandem's tables for TechEmpower's kinds, which no migration makes."""
    return [table_of(World), table_of(Fortune)]


def _of_tandem(size: Size) -> Iterator[Filled]:
    yield _records(User, people.users(size))
    yield _records(Group, people.groups(size))
    yield _records(Membership, people.memberships(size))
    yield _records(Key, [_key()])
    yield _records(World, (_world(place) for place in range(1, people.NUMBERS + 1)))
    yield _records(Fortune, (_fortune(*told) for told in people.messages()))


def _of_peers(size: Size) -> Iterator[Filled]:
    places = range(1, people.NUMBERS + 1)
    yield _plain("users", people.users(size))
    yield _plain("groups", people.groups(size))
    yield _plain("memberships", people.memberships(size))
    yield _plain("world", ({"id": it, "random_number": people.number_of(it)} for it in places))
    yield _plain("fortune", ({"id": it, "message": message} for it, message in people.messages()))


def _records(model: type[Model], rows: Iterable[Row]) -> Filled:
    """Rows of a model, with the keys that the engine makes."""
    table, fields = table_of(model), fields_by_name(model)
    columns = tuple(column.name for column in table.columns if column.computed is None)
    names = [f"set_{name}" for name in columns]
    written = (write_statements.column_values(fields, row) for row in rows)
    return Filled(table.name, columns, (tuple([values[name] for name in names]) for values in written))


def _plain(table: str, rows: Iterable[Row]) -> Filled:
    iterator = iter(rows)
    first = next(iterator)
    return Filled(table, tuple(first), (tuple(row.values()) for row in _again(first, iterator)))


def _again(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


def _key() -> Row:
    """The administrator's key that Tandem is measured with: each of its answers is behind a credential."""
    digest = hashlib.sha256(people.KEY_SECRET.encode()).hexdigest()
    open_ends = dict.fromkeys(("scopes", "expires_at", "rate"))
    return {
        "name": "benchmarks",
        "role": "admin",
        "active": True,
        "digest": digest,
        **open_ends,
        **_record(1),
        "id": KEY_ID,
    }


def _world(place: int) -> Row:
    return {"place": place, "random_number": people.number_of(place), **_record(place)}


def _fortune(place: int, message: str) -> Row:
    return {"place": place, "message": message, **_record(place)}


def _record(place: int) -> Row:
    return {"id": id_at(place), "created_at": _MOMENT, "updated_at": _MOMENT, "version": 1}
