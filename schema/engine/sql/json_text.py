"""JSON built by the database: SQL expressions for objects and their members.

A page or a record leaves the database as one value, since each row that Python fetches costs a handover of the
interpreter's lock. What SQL cannot write (cursors, and lists that need them) is a *placeholder*: the text is split into
columns there, which travel joined by a control character that JSON text never holds, and Python fills the gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import TypeVar

from sqlalchemy import String, case, type_coerce

from schema.engine.model.field import ResourceField
from schema.engine.sql.dialect import Expression, JsonObject, JsonValue, quoted

# A function of SQLite takes 127 arguments by default, and a member of an object is two of them.
MAX_MEMBERS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A field's value, from its column as stored."""

    field: ResourceField
    column: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Placeholder:
    """Text that SQL cannot write. Python fills it from the column `source`, if there is one."""

    source: Expression | None


Piece = str | Expression | Placeholder
JsonMember = tuple[str, Leaf | Sequence[Piece]]
AnyPiece = TypeVar("AnyPiece", str | Expression, Piece)


def json_object(members: Sequence[JsonMember]) -> list[Piece]:
    """The pieces of a JSON object; neighbouring leaves share one `json_object(…)`."""
    if all(isinstance(value, Leaf) for _, value in members) and 0 < len(members) < MAX_MEMBERS:
        return [JsonObject([(key, leaf.field, leaf.column) for key, leaf in members if isinstance(leaf, Leaf)])]
    pieces: list[Piece] = []
    for leaves, group in groupby(members, key=lambda member: isinstance(member[1], Leaf)):
        for part in _leaf_members(group) if leaves else map(_nested_member, group):
            pieces += [",", *part] if pieces else part
    return _merged(["{", *pieces, "}"])


def enum_name(field: ResourceField, column: Expression) -> Expression:
    """An enum's name in capitals instead of its value (`CASE … WHEN 'owner' THEN 'OWNER' END`); others unchanged."""
    if field.kind != "enum":
        return column
    return case({str(choice.value): quoted(choice.name.upper()) for choice in field.choices}, value=column)


def concatenated(parts: Sequence[str | Expression]) -> Expression:
    """Texts one after another: `a || b || c`."""
    expressions = [quoted(part) if isinstance(part, str) else part for part in _merged(parts)]
    # `concat` stays flat, `a || b || c`: SQLite's parser stack is limited to 100 open terms.
    texts = [type_coerce(expression, String()) for expression in expressions]
    return reduce(lambda left, right: left.concat(right), texts) if texts else quoted("")


def columns_of(pieces: Sequence[Piece]) -> list[Expression | Placeholder]:
    """The pieces as columns: text, placeholder, text, …"""
    columns: list[Expression | Placeholder] = []
    text: list[str | Expression] = []
    for piece in pieces:
        if isinstance(piece, Placeholder):
            columns += [concatenated(text), piece] if text else [piece]
            text = []
        else:
            text.append(piece)
    return [*columns, concatenated(text)] if text else columns


def is_complete(columns: Iterable[Expression | Placeholder]) -> bool:
    """Whether SQL writes all of it: then it is one column."""
    return not any(isinstance(column, Placeholder) for column in columns)


def sent_columns(columns: Iterable[Expression | Placeholder]) -> Iterator[Expression]:
    """The expressions that the database sends for these columns."""
    for column in columns:
        source = column.source if isinstance(column, Placeholder) else column
        if source is not None:
            yield source


def _leaf_members(members: Iterable[JsonMember]) -> list[list[Piece]]:
    leaves = [(key, leaf) for key, leaf in members if isinstance(leaf, Leaf)]
    if 1 < len(leaves) < MAX_MEMBERS:
        return [[JsonObject([(key, leaf.field, leaf.column) for key, leaf in leaves], bare=True)]]
    return [[f'"{key}":', JsonValue(leaf.field, leaf.column)] for key, leaf in leaves]


def _nested_member(member: JsonMember) -> list[Piece]:
    key, value = member
    return [f'"{key}":', *([] if isinstance(value, Leaf) else value)]


def _merged(pieces: Sequence[AnyPiece]) -> list[AnyPiece]:
    """The same pieces, with neighbouring constants joined."""
    merged: list[AnyPiece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
