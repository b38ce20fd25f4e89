"""Prefix ranges: where the texts that begin with a prefix, in upper or lower case, lie in the order of code points.

Sorted by code point, texts that begin with `ad` lie in up to four ranges: `AD`, `Ad`, `aD`, `ad`. Instead of probing
each spelling, a recursive query extends those that exist letter by letter; mostly they are one or two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import CTE, ColumnElement, Integer, String, bindparam, func, literal_column, select
from sqlalchemy.sql.expression import FromClause

from schema.engine.model.field import lower_case

LAST_CASED = 0x1F000  # no character beyond it has an upper case
MAX_LOWER_CHARACTERS = 8  # more than any character has in lower case
GREATEST_CODE_POINT = "\U0010ffff"
RANGES_CTE = "_ranges"  # the name of every query of ranges; `schema/explain/sqlite.py` recognizes it


def prefix_end(prefix: str) -> str:
    """The least text that is greater than every text that begins with `prefix`: `ae` for `ad`."""
    head = prefix.rstrip(GREATEST_CODE_POINT)
    if not head:
        return GREATEST_CODE_POINT * (len(prefix) + 1)
    following = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if following == 0xD800 else following)


def prefix_spellings(prefix: str) -> str:
    """For each character of a lower-case prefix, what may stand for it, as JSON for `prefix_ranges`.

    Each spelling is a character, its `prefix_end`, and how many characters of the prefix it stands for.
    """
    rests = (prefix[at : at + MAX_LOWER_CHARACTERS] for at in range(len(prefix)))
    return json.dumps([list(_spellings(rest)) for rest in rests], ensure_ascii=False)


def prefix_ranges(table: FromClause, column: str, name: str) -> CTE:
    """The ranges (`low`, and `high`, which is excluded) of a column that begin with the prefix in some spelling.

    ```sql
    WITH RECURSIVE _spelled(low, high, at) AS (
        SELECT '', '', 0 UNION ALL
        SELECT low || letter, low || letter's end, at + length FROM _spelled
        JOIN json_each(:v_spellings, '$[' || at || ']') AS letter
        WHERE EXISTS (SELECT … FROM table WHERE column >= low || letter AND column < low || letter's end))
    SELECT low, high FROM _spelled WHERE at >= json_array_length(:v_spellings)
    ```
    """
    letters = bindparam(f"{name}_spellings", type_=String())
    start = select(
        literal_column("''", String()).label("low"),
        literal_column("''", String()).label("high"),
        literal_column("0", Integer()).label("at"),
    ).cte("_spelled", recursive=True)
    path = literal_column("'$['", String()).concat(start.c["at"]).concat(literal_column("']'", String()))
    letter = func.json_each(letters, path).table_valued("value").alias("letter")
    low, high = (start.c.low.concat(func.json_extract(letter.c.value, _literal(part))) for part in ("$[0]", "$[1]"))
    row = table.alias()
    exists = select(row.c[column]).where(row.c[column] >= low, row.c[column] < high).correlate(start, letter).exists()
    longer = select(low, high, start.c["at"] + func.json_extract(letter.c.value, _literal("$[2]")))
    spelled = start.union_all(longer.select_from(start.join(letter, literal_column("1"))).where(exists))
    is_whole = spelled.c["at"] >= func.json_array_length(letters)
    return select(spelled.c.low, spelled.c.high).where(is_whole).cte(RANGES_CTE)


def _literal(text: str) -> ColumnElement[Any]:
    return literal_column(f"'{text}'", String())


def _spellings(rest: str) -> Iterator[tuple[str, str, int]]:
    for letter in (rest[0], *_upper_case().get(rest[0], ())):
        lower = lower_case(letter)
        if lower.startswith(rest) or rest.startswith(lower):
            yield letter, prefix_end(letter), len(lower)


@cache
def _upper_case() -> dict[str, list[str]]:
    """The characters that change in lower case, by the first character of their lower case."""
    by_lower: dict[str, list[str]] = {}
    for letter in map(chr, range(LAST_CASED)):
        if letter.lower() != letter:
            by_lower.setdefault(letter.lower()[0], []).append(letter)
    return by_lower
