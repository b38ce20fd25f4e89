"""The tables of the benchmarks' databases: their columns and rows, the same for SQLite and PostgreSQL.

Tandem's rows are as its engine writes them, with their key columns; the peers' tables are those of `peers/schema.sql`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from benchmarks.data import dataset
from benchmarks.data.dataset import Row, Size
from benchmarks.peer import Owner
from benchmarks.tandem.models import Fortune, World, id_at
from schema.engine.model.record import Model
from schema.engine.model.resource import fields_by_name, table_of
from schema.engine.operations import write_statements
from schema.models import Group, Key, Membership, User

KEY_ID = "00000000-0000-0000-0000-000000000001"
_TIMESTAMP = "2024-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class TableRows:
    """A table and its rows; values are in the order of the columns."""

    table: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def tables_of(owner: Owner, size: Size) -> Iterator[TableRows]:
    """The tables of Tandem or of its peers, in an order in which they can be filled."""
    return _tandem_tables(size) if owner == "tandem" else _peer_tables(size)


def techempower_tables() -> list[Table]:
    """Tandem's tables for the TechEmpower workloads, which no migration creates."""
    return [table_of(World), table_of(Fortune)]


def _tandem_tables(size: Size) -> Iterator[TableRows]:
    yield _records(User, dataset.users(size))
    yield _records(Group, dataset.groups(size))
    yield _records(Membership, dataset.memberships(size))
    yield _records(Key, [_key()])
    yield _records(World, (_world(position) for position in range(1, dataset.WORLD_ROWS + 1)))
    yield _records(Fortune, (_fortune(*fortune) for fortune in dataset.fortunes()))


def _peer_tables(size: Size) -> Iterator[TableRows]:
    positions = range(1, dataset.WORLD_ROWS + 1)
    yield _plain("users", dataset.users(size))
    yield _plain("groups", dataset.groups(size))
    yield _plain("memberships", dataset.memberships(size))
    yield _plain(
        "world", ({"id": position, "random_number": dataset.random_number(position)} for position in positions)
    )
    yield _plain("fortune", ({"id": position, "message": message} for position, message in dataset.fortunes()))


def _records(model: type[Model], rows: Iterable[Row]) -> TableRows:
    """Rows of a model, with the key columns of the engine."""
    table, fields = table_of(model), fields_by_name(model)
    columns = tuple(column.name for column in table.columns if column.computed is None)
    names = [f"set_{name}" for name in columns]
    values_of_rows = (write_statements.column_values(fields, row) for row in rows)
    return TableRows(table.name, columns, (tuple([values[name] for name in names]) for values in values_of_rows))


def _plain(table: str, rows: Iterable[Row]) -> TableRows:
    iterator = iter(rows)
    first = next(iterator)
    return TableRows(table, tuple(first), (tuple(row.values()) for row in _chain(first, iterator)))


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


def _key() -> Row:
    """The administrator's API key that requests to Tandem carry."""
    digest = hashlib.sha256(dataset.KEY_SECRET.encode()).hexdigest()
    unlimited = dict.fromkeys(("scopes", "expires_at", "rate"))
    return {
        "name": "benchmarks",
        "role": "admin",
        "active": True,
        "digest": digest,
        **unlimited,
        **_record(1),
        "id": KEY_ID,
    }


def _world(position: int) -> Row:
    return {"place": position, "random_number": dataset.random_number(position), **_record(position)}


def _fortune(position: int, message: str) -> Row:
    return {"place": position, "message": message, **_record(position)}


def _record(position: int) -> Row:
    return {"id": id_at(position), "created_at": _TIMESTAMP, "updated_at": _TIMESTAMP, "version": 1}
