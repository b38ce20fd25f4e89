"""One record's step, and how several of them become one statement.

Each row that a thread brings costs a hand-over of the interpreter's lock, so records that are looked up at the same
moment, by the same plan and for the same actor, are brought as one row, and told apart again by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from schema.engine.sql.statement import Statement, Values

Rows = list[tuple[Any, ...]]
SQLQuery = tuple[str, tuple[Any, ...]]

# Control characters that no list's text is joined by (ASCII's record separator and group separator).
RECORD, FIELD = 30, 29
_BETWEEN, _WITHIN = bytes([RECORD]), bytes([FIELD])
_KEYS_ALONE = ("keys",)
KEYS: Final = object()


@dataclass(frozen=True, slots=True)
class RecordResult:
    """A record as JSON, its version, and whether the actor sees every field of it; of a new one, what is given once."""

    json: bytes
    version: int
    whole: bool
    once: str | None = None


class RecordQuery(NamedTuple):
    """A step that brings one record or none: the text, the version, and whether the actor sees all of its fields."""

    sql: str
    parameters: tuple[Any, ...]
    several: Statement
    values: Values

    @property
    def shared(self) -> tuple[Any, ...]:
        """The parameters of all that are looked up together; `KEYS` stands for the ids."""
        if self.several.names == _KEYS_ALONE:
            return (KEYS,)
        return self.several.bind({**self.values, "keys": KEYS})

    @property
    def batch_key(self) -> tuple[str, tuple[Any, ...]]:
        """What those that can be looked up together have in common."""
        return self.several.sql, self.shared


def record_query(statement: Statement, several: Statement, values: Values) -> RecordQuery:
    """The step for the record whose id is the value `key`."""
    return RecordQuery(statement.sql, statement.bind(values), several, values)


def combine(lookups: Sequence[RecordQuery], spelled: Callable[[list[str]], Any] = json.dumps) -> SQLQuery:
    """One step for all of them; `spelled` makes of their keys what the driver takes: SQLite's takes JSON."""
    keys, first = spelled([one.values["key"] for one in lookups]), lookups[0]
    return first.several.sql, tuple([keys if value is KEYS else value for value in first.shared])


def split_rows(lookups: Iterable[RecordQuery], rows: Rows) -> list[Rows]:
    """What each of them would have brought alone."""
    (joint,) = rows[0]
    found: dict[str, Rows] = {}
    for record in joint.split(_BETWEEN) if joint else ():
        id, version, seen, text = record.split(_WITHIN, 3)
        found[id.decode()] = [(text, int(version), int(seen))]
    return [found.get(one.values["key"], []) for one in lookups]
