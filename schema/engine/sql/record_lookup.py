"""Queries for one record, and how several of them become one statement.

Each row that a thread fetches costs a handover of the interpreter's lock, so records that are read at the same moment
by the same plan and for the same actor are fetched as one row, and distinguished by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from schema.engine.sql.statement import Statement, Values

Rows = list[tuple[Any, ...]]
SQLQuery = tuple[str, tuple[Any, ...]]

# ASCII's record and group separators, which join no list's text.
RECORD, FIELD = 30, 29
_RECORD, _FIELD = bytes([RECORD]), bytes([FIELD])
_KEYS_ALONE = ("keys",)
KEYS: Final = object()


@dataclass(frozen=True, slots=True)
class RecordResult:
    """A record as JSON and its version.

    `whole`: whether the actor sees every field; `once`: of a new record, the secret that is shown only once.
    """

    json: bytes
    version: int
    whole: bool
    shown_once: str | None = None


class RecordQuery(NamedTuple):
    """A query for at most one row: the record's text, its version, and whether the actor sees all of its fields."""

    sql: str
    parameters: tuple[Any, ...]
    batch: Statement
    values: Values

    @property
    def batch_parameters(self) -> tuple[Any, ...]:
        """The parameters of the statement for several records; `KEYS` stands for their ids."""
        if self.batch.names == _KEYS_ALONE:
            return (KEYS,)
        return self.batch.bind({**self.values, "keys": KEYS})

    @property
    def batch_key(self) -> tuple[str, tuple[Any, ...]]:
        """Equal for queries that one statement can answer."""
        return self.batch.sql, self.batch_parameters


def combine(queries: Sequence[RecordQuery], encode_keys: Callable[[list[str]], Any] = json.dumps) -> SQLQuery:
    """One query for all of them; `encode_keys` gives the parameter that the driver takes (SQLite's: JSON)."""
    keys, first = encode_keys([query.values["key"] for query in queries]), queries[0]
    return first.batch.sql, tuple([keys if value is KEYS else value for value in first.batch_parameters])


def split_rows(queries: Iterable[RecordQuery], rows: Rows) -> list[Rows]:
    """The rows that each query would have returned alone, from those of the combined one."""
    (text,) = rows[0]
    by_id: dict[str, Rows] = {}
    for record in text.split(_RECORD) if text else ():
        id, version, sees_all, json_text = record.split(_FIELD, 3)
        by_id[id.decode()] = [(json_text, int(version), int(sees_all))]
    return [by_id.get(query.values["key"], []) for query in queries]
