"""JSON as the database writes it: the expression that makes the text, and the encoder that finishes it.

A row costs a hand-over of the interpreter's lock at each step, so a whole page is one row: its columns joined by a
control character, which JSON text never holds. What SQL cannot write (cursors, and lists that need them) is a *hole*:
the text is cut there, and the encoder fills it in, column by column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, String, case, type_coerce

from schema.engine.model.field import ResourceField
from schema.engine.query.cursors import Signer
from schema.engine.sql.dialect import JsonObject, JsonValue, quoted
from schema.engine.sql.statement import Values

Expression = ColumnElement[Any]
Encoder = Callable[[bytes, Values, Signer], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A field's value: `column` as it is stored."""

    field: ResourceField
    column: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Hole:
    """A place where the encoder puts what it makes of `raw`."""

    raw: Expression
    encode: Encoder


@dataclass(frozen=True, slots=True)
class Place:
    """A hole for the row's own cursor."""


Piece = str | ColumnElement[Any] | Hole | Place
Member = tuple[str, Leaf | Sequence[Piece]]
Part = TypeVar("Part", str | ColumnElement[Any], Piece)


def joined(parts: Sequence[str | Expression]) -> Expression:
    """Texts one after another."""
    expressions = [quoted(part) if isinstance(part, str) else part for part in merged(parts)]
    # `concat` is written flat, `a || b || c`: SQLite's parser has room for a hundred things that are still open.
    texts = [type_coerce(expression, String()) for expression in expressions]
    return reduce(lambda left, right: left.concat(right), texts) if texts else quoted("")


def named(field: ResourceField, column: Expression) -> Expression:
    """An enum's name in capitals instead of its value; any other field as it is."""
    if field.kind != "enum":
        return column
    return case({str(choice.value): quoted(choice.name.upper()) for choice in field.choices}, value=column)


def object_of(members: Sequence[Member]) -> list[Piece]:
    """The pieces of a JSON object."""
    if all(isinstance(value, Leaf) for _, value in members) and 0 < len(members) < 60:
        return [JsonObject([(key, leaf.field, leaf.column) for key, leaf in members if isinstance(leaf, Leaf)])]
    pieces: list[Piece] = []
    for leaves, run in groupby(members, key=lambda member: isinstance(member[1], Leaf)):
        for part in (
            _some([(key, value) for key, value in run if isinstance(value, Leaf)]) if leaves else map(_one, run)
        ):
            pieces += [",", *part] if pieces else part
    return merged(["{", *pieces, "}"])


def _some(members: Sequence[tuple[str, Leaf]]) -> list[list[Piece]]:
    """Members of an object, without its braces."""
    if 1 < len(members) < 60:
        return [[JsonObject([(key, leaf.field, leaf.column) for key, leaf in members], bare=True)]]
    return [[f'"{key}":', JsonValue(leaf.field, leaf.column)] for key, leaf in members]


def _one(member: Member) -> list[Piece]:
    key, value = member
    return [f'"{key}":', *([] if isinstance(value, Leaf) else value)]


def merged(pieces: Sequence[Part]) -> list[Part]:
    """The same pieces, neighbouring constants made one."""
    made: list[Part] = []
    for piece in pieces:
        if isinstance(piece, str) and made and isinstance(made[-1], str):
            made[-1] += piece
        else:
            made.append(piece)
    return made


def whole(pieces: Sequence[Piece]) -> bool:
    """Whether SQL can write it all."""
    return not any(isinstance(piece, Hole | Place) for piece in pieces)


def text_of(pieces: Sequence[Piece]) -> Expression:
    """The expression for pieces without holes."""
    return joined([piece for piece in pieces if not isinstance(piece, Hole | Place)])


def cut(pieces: Sequence[Piece]) -> list[Expression | Hole | Place]:
    """The pieces as columns: text, hole, text, …"""
    columns: list[Expression | Hole | Place] = []
    run: list[str | Expression] = []
    for piece in pieces:
        if isinstance(piece, Hole | Place):
            columns += [joined(run), piece] if run else [piece]
            run = []
        else:
            run.append(piece)
    return [*columns, joined(run)] if run else columns
