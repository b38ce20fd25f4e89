"""The spellings of a beginning: how texts that begin with it, in upper or lower case, begin in their own order.

Sorted by code point, the texts that begin with `ad` lie in as many places as it is spelled in: `AD`, `Ad`, `aD`, `ad`.
Those that there are at all are found letter by letter, as one would go down a tree; mostly they are one or two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import CTE, ColumnElement, Integer, String, bindparam, func, literal_column, select
from sqlalchemy.sql.expression import FromClause

from schema.engine.model.field import lowered

LAST_CASED = 0x1F000  # no letter beyond it has an upper case
LONGEST_LETTER = 8  # more than a letter has characters in lower case
GREATEST_CODE_POINT = "\U0010ffff"


def spellings(beginning: str) -> str:
    """For each letter of a lower-case beginning, what may stand for it: JSON, as `stretches` takes it.

    Each is a letter, the least text after all that begin with it, and how many letters of the beginning it stands for.
    """
    rests = (beginning[at : at + LONGEST_LETTER] for at in range(len(beginning)))
    return json.dumps([list(_letters(rest)) for rest in rests], ensure_ascii=False)


def end(prefix: str) -> str:
    """The least text that is greater than every text beginning with `prefix`."""
    head = prefix.rstrip(GREATEST_CODE_POINT)
    if not head:
        return GREATEST_CODE_POINT * (len(prefix) + 1)
    following = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if following == 0xD800 else following)


def stretches(table: FromClause, column: str, name: str) -> CTE:
    """From where (`low`) to where (`high`, not included) the texts of a column begin so, for each spelling there is."""
    letters = bindparam(f"{name}_spellings", type_=String())
    begun = select(
        literal_column("''", String()).label("low"),
        literal_column("''", String()).label("high"),
        literal_column("0", Integer()).label("at"),
    ).cte("_spelled", recursive=True)
    path = literal_column("'$['", String()).concat(begun.c["at"]).concat(literal_column("']'", String()))
    letter = func.json_each(letters, path).table_valued("value").alias("letter")
    low, high = (begun.c.low.concat(func.json_extract(letter.c.value, _literal(part))) for part in ("$[0]", "$[1]"))
    row = table.alias()
    there = select(row.c[column]).where(row.c[column] >= low, row.c[column] < high).correlate(begun, letter)
    further = select(low, high, begun.c["at"] + func.json_extract(letter.c.value, _literal("$[2]")))
    spelled = begun.union_all(further.select_from(begun.join(letter, literal_column("1"))).where(there.exists()))
    whole = spelled.c["at"] >= func.json_array_length(letters)
    return select(spelled.c.low, spelled.c.high).where(whole).cte("_stretches")


def _literal(text: str) -> ColumnElement[Any]:
    return literal_column(f"'{text}'", String())


def _letters(rest: str) -> Iterator[tuple[str, str, int]]:
    for letter in (rest[0], *_upper()[rest[0]]) if rest[0] in _upper() else rest[0]:
        lower = lowered(letter)
        if lower.startswith(rest) or rest.startswith(lower):
            yield letter, end(letter), len(lower)


@cache
def _upper() -> dict[str, list[str]]:
    """The letters that become another one in lower case, by what they become, or begin with then."""
    found: dict[str, list[str]] = {}
    for letter in map(chr, range(LAST_CASED)):
        if letter.lower() != letter:
            found.setdefault(letter.lower()[0], []).append(letter)
    return found
