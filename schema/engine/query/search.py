"""Search: words as they are sent, whether a row holds them, and how SQLite finds such rows.

Words are told apart by blanks, compared in lower case (`lowered`, as keys are), and found anywhere in a text. All that
is SQLite's own is in `hits` and `phrase`: the trigram index, which `trigrams.py` keeps; PostgreSQL has pg_trgm's.
"""

# ruff: noqa: S608  what stands in these texts are names of tables and fields, never values

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    column,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.sql.expression import TextClause, text

from schema.engine.model.field import BLANK, CONTROL, lowered
from schema.engine.model.resource import Resource
from schema.engine.model.trigram_index import index_of, indexed_up_to, numbers_of
from schema.engine.query.selection import Condition, Search, required
from schema.engine.sql.dialect import Contains, PerDialect

MIN_LENGTH = 3  # of a text that is looked for; of several words, at least one is as long
MAX_LENGTH = 100
WORDS_PATTERN = rf"^[^{CONTROL}]*[^{CONTROL}{BLANK}]{{{MIN_LENGTH}}}[^{CONTROL}]*$"
WHY_NOT = (
    f"it has to be 3 to {MAX_LENGTH} characters, one of its words at least {MIN_LENGTH}, and none a control character"
)
MANY = 4000  # rows found up to which they are sorted at once; beyond, a page is sooner met walking in the list's order
WALKED = 4000  # rows that are walked in the list's order before what was found beyond them is sorted
EASIER = 3  # times as many are walked on SQLite, where a row costs less
SORTED = 10  # times as many are sorted at most; the walk goes on where more are found
_READABLE = re.compile(rf"[^{CONTROL}\ud800-\udfff]*")


def searched_fields(resource: Resource) -> tuple[str, ...]:
    """The fields that `q` looks into: searchable, and private to nobody."""
    return tuple(field.name for field in resource.shown if field.searchable and not resource.masked(field))


def parse_words(sent: str) -> tuple[str, ...]:
    """The words of a search, in lower case; `ValueError` if they cannot be looked for."""
    words = sent.split() if len(sent) <= MAX_LENGTH and _READABLE.fullmatch(sent) else []
    if not any(len(word) >= MIN_LENGTH for word in words):
        raise ValueError(WHY_NOT)
    return tuple(dict.fromkeys(map(lowered, words)))


def search_values(resource: Resource, name: str, words: Sequence[str]) -> dict[str, Any]:
    """The values, by name, that a `Search` will look for."""
    each = {f"{name}_{number}": word for number, word in enumerate(words)}
    return {name: words, f"{name}_match": phrase(searched_fields(resource), words), **each}


def phrase(fields: Iterable[str], words: Iterable[str]) -> str:
    """FTS5's way to say: each of these words, in any of these fields. Shorter ones than trigrams it cannot find."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words if len(word) >= MIN_LENGTH]
    return f"({{{' '.join(fields)}}} : ({' AND '.join(quoted)}))"


def holds(texts: Iterable[ColumnElement[Any]], words: Iterable[ColumnElement[Any]]) -> ColumnElement[bool]:
    """Whether each word is found in any of the lower-case texts: rows matching these words."""
    found = list(texts)
    return and_(*(or_(*(Contains(word, text) for text in found)) for word in words))


def searched(asked: Search, resource: Resource, row: FromClause) -> ColumnElement[bool]:
    """The condition of a search on a row."""
    words = [bindparam(f"{asked.value}_{number}", type_=String()) for number in range(asked.words)]
    return holds([row.c[f"{name}_key"] for name in searched_fields(resource)], words)


def hits(resource: Resource, asked: Condition | None) -> Hits | None:
    """What the index finds for a filter, or none: it is asked of what every row has to stand."""
    found = [it for it in required(asked) if isinstance(it, Search) or it.operator == "contains"]
    return Hits(resource.table.name, tuple(f"{it.value}_match" for it in found)) if found else None


def fewer(found: Select[Any], most: int) -> ColumnElement[bool]:
    """Whether there are no more of these rows."""
    one, beyond = literal_column("1", Integer()), literal_column(str(most), Integer())
    more = found.limit(one).offset(beyond).correlate(None).scalar_subquery()
    return _once(select(more.is_(None).label("fewer")).cte())


def _once(told: CTE) -> ColumnElement[bool]:
    """What is told, found out once however often it is asked for."""
    return select(told.c.fewer).scalar_subquery()


class Hits:
    """What the index finds: as a set of ids, and whether these are few."""

    def __init__(self, table: str, names: tuple[str, ...]) -> None:
        self._index, self._numbers, self._latest = index_of(table), numbers_of(table), indexed_up_to(table)
        self._names = names

    def among(self, id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Whether a row is one of them, or so new that it is not in the index yet."""
        found = (
            f"SELECT id FROM {self._numbers} WHERE number IN (SELECT rowid {self._found}) UNION ALL"
            f" SELECT id FROM {self._numbers} WHERE number > coalesce({self._latest}, 0)"
        )
        return PerDialect(id.in_(self._bound(found)), true())

    def fewer(self, most: int) -> ColumnElement[bool]:
        """Whether SQLite finds no more."""
        told = self._bound(f"SELECT (SELECT 1 {self._found} LIMIT 1 OFFSET {most}) IS NULL AS fewer")
        return _once(told.columns(column("fewer", Boolean())).cte())

    @property
    def _found(self) -> str:
        matches = " || ' AND ' || ".join(f":{name}" for name in self._names)
        return f"FROM {self._index} WHERE {self._index} MATCH {matches}"

    def _bound(self, sql: str) -> TextClause:
        return text(sql).bindparams(*(bindparam(name, type_=String()) for name in self._names))
