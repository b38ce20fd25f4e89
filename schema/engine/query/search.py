"""Full-text search: the words of `q`, and the predicate that a row contains them.

Words are separated by white space, compared in lower case (`lower_case`), and found anywhere in a searchable text.
SQLite finds the rows by an FTS5 trigram index (`access_paths.TrigramHits`), PostgreSQL by pg_trgm's, which serves LIKE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, String, and_, bindparam, or_

from schema.engine.model.field import BLANK, CONTROL, lower_case
from schema.engine.model.resource import Resource
from schema.engine.query.selection import Search
from schema.engine.sql.dialect import Contains

MIN_LENGTH = 3  # characters of `contains`, and of one word of a search at least: a trigram
MAX_LENGTH = 100
WORDS_PATTERN = rf"^[^{CONTROL}]*[^{CONTROL}{BLANK}]{{{MIN_LENGTH}}}[^{CONTROL}]*$"
_READABLE = re.compile(rf"[^{CONTROL}\ud800-\udfff]*")


def searched_fields(resource: Resource) -> tuple[str, ...]:
    """The fields that `q` searches: the searchable ones that every reader of a record may see."""
    return tuple(field.name for field in resource.readable_fields if field.searchable and not resource.is_masked(field))


def parse_words(text: str) -> tuple[str, ...]:
    """The words of a search, in lower case.

    Raises:
        ValueError: there is no word to search for; the message says what the text must be.
    """
    words = text.split() if len(text) <= MAX_LENGTH and _READABLE.fullmatch(text) else []
    if not any(len(word) >= MIN_LENGTH for word in words):
        raise ValueError(
            f"must have {MIN_LENGTH} to {MAX_LENGTH} characters with a word of at least {MIN_LENGTH}, "
            "without control characters"
        )
    return tuple(dict.fromkeys(map(lower_case, words)))


def search_values(resource: Resource, name: str, words: Sequence[str]) -> dict[str, Any]:
    """The values, by name, that a `Search` binds."""
    by_name = {f"{name}_{number}": word for number, word in enumerate(words)}
    return {name: words, f"{name}_match": match_expression(searched_fields(resource), words), **by_name}


def search_predicate(search: Search, resource: Resource, row: FromClause) -> ColumnElement[bool]:
    words = [bindparam(f"{search.value}_{number}", type_=String()) for number in range(search.words)]
    return contains_words([row.c[f"{name}_key"] for name in searched_fields(resource)], words)


def contains_words(texts: Sequence[ColumnElement[Any]], words: Iterable[ColumnElement[Any]]) -> ColumnElement[bool]:
    """Whether each word is in any of the lower-case texts: `(a … OR b …) AND (a … OR b …)`."""
    return and_(*(or_(*(Contains(word, text) for text in texts)) for word in words))


def match_expression(fields: Iterable[str], words: Iterable[str]) -> str:
    """FTS5's `({first_name last_name} : ("ada" AND "love"))`; words too short for a trigram are left out."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words if len(word) >= MIN_LENGTH]
    return f"({{{' '.join(fields)}}} : ({' AND '.join(quoted)}))"
