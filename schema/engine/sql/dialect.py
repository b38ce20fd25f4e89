"""What SQLite and PostgreSQL spell differently: each word here is one thing, said in the words of either.

A statement is built once, in these words and SQLAlchemy's; which database it is for is known only when it is written
down (`statement.py`). Texts come out the same, byte for byte, whichever database wrote them.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    String,
    case,
    cast,
    func,
    literal_column,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from schema.engine.model.field import ResourceField

Expression = ColumnElement[Any]
SQLITE: Dialect = sqlite.dialect(paramstyle="qmark")


@cache
def postgres() -> Dialect:
    """PostgreSQL's; where the directory is a file, it is never loaded."""
    from sqlalchemy.dialects.postgresql import asyncpg

    return asyncpg.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


TRUTHS = ("true", "false", "null")
_CLOSING = "'}'"


def quoted(text: str) -> Expression:
    """A constant of ours as an SQL literal."""
    return literal_column("'" + text.replace("'", "''") + "'", String())


class Aggregate(FunctionElement[str]):
    """The texts of all rows, in their order, with a separator between them."""

    type = String()
    inherit_cache = False


class Character(FunctionElement[str]):
    """A control character, by its code point."""

    type = String()
    inherit_cache = False


class Octets(FunctionElement[bytes]):
    """A text as bytes of UTF-8: what the encoders work on."""

    type = LargeBinary()
    inherit_cache = False


class Array(FunctionElement[str]):
    """A JSON array of a cursor's keys, which are texts and integers and never null."""

    type = String()
    inherit_cache = False

    def __init__(self, *keys: tuple[ResourceField, Expression]) -> None:
        super().__init__(*(key for _, key in keys))
        self.fields = [field for field, _ in keys]


class Value(FunctionElement[str]):
    """A field's value as JSON text; its column as it is stored."""

    type = String()
    inherit_cache = False

    def __init__(self, field: ResourceField, column: Expression) -> None:
        super().__init__(column)
        self.field = field


class Object(FunctionElement[str]):
    """A JSON object of some fields' values; `bare` without its braces."""

    type = String()
    inherit_cache = False

    def __init__(self, members: list[tuple[str, ResourceField, Expression]], *, bare: bool = False) -> None:
        super().__init__(*(column for *_, column in members))
        self.bare = bare
        self.names = [(name, field) for name, field, _ in members]


@compiles(Aggregate, "sqlite")
def _(word: Aggregate, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.group_concat(*word.clauses), **told)


@compiles(Aggregate, "postgresql")
def _(word: Aggregate, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.string_agg(*word.clauses), **told)


@compiles(Character, "sqlite")
def _(word: Character, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.char(*word.clauses), **told)


@compiles(Character, "postgresql")
def _(word: Character, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.chr(*word.clauses), **told)


@compiles(Octets, "sqlite")
def _(word: Octets, compiler: SQLCompiler, **told: Any) -> str:
    (text,) = word.clauses
    return compiler.process(cast(text, LargeBinary), **told)


@compiles(Octets, "postgresql")
def _(word: Octets, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.convert_to(*word.clauses, quoted("UTF8")), **told)


@compiles(Array, "sqlite")
def _(word: Array, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.json_array(*word.clauses), **told)


@compiles(Array, "postgresql")
def _(word: Array, compiler: SQLCompiler, **told: Any) -> str:
    keys = [_json(field, key, compiler, **told) for field, key in zip(word.fields, word.clauses, strict=True)]
    inside = " || ',' || ".join(keys)
    return f"('[' || {inside} || ']')"


@compiles(Value, "sqlite")
def _(word: Value, compiler: SQLCompiler, **told: Any) -> str:
    (column,) = word.clauses
    if word.field.kind != "boolean":
        return compiler.process(func.json_quote(column), **told)
    return compiler.process(_truth(column, *map(quoted, TRUTHS)), **told)


@compiles(Value, "postgresql")
def _(word: Value, compiler: SQLCompiler, **told: Any) -> str:
    (column,) = word.clauses
    return f"coalesce({_json(word.field, column, compiler, **told)}, 'null')"


@compiles(Object, "sqlite")
def _(word: Object, compiler: SQLCompiler, **told: Any) -> str:
    parts: list[Expression] = []
    for (name, field), column in zip(word.names, word.clauses, strict=True):
        # `json()` of a constant is worked out once a statement, of a CASE once a row.
        truths = (func.json(quoted(word)) for word in TRUTHS)
        parts += [quoted(name), _truth(column, *truths) if field.kind == "boolean" else column]
    made = func.json_object(*parts)
    # A value never ends in a brace.
    bare = func.ltrim(func.rtrim(made, quoted("}")), quoted("{"))
    return compiler.process(bare if word.bare else made, **told)


@compiles(Object, "postgresql")
def _(word: Object, compiler: SQLCompiler, **told: Any) -> str:
    parts, opening = [], "" if word.bare else "{"
    for number, ((name, field), column) in enumerate(zip(word.names, word.clauses, strict=True)):
        before = quoted(f'{"," if number else opening}"{name}":')
        parts += [compiler.process(before, **told), compiler.process(Value(field, column), **told)]
    return f"({' || '.join(parts if word.bare else [*parts, _CLOSING])})"


def _truth(column: Expression, true: Expression, false: Expression, unknown: Expression) -> Expression:
    return case((column, true), (column.is_(None), unknown), else_=false)


def _json(field: ResourceField, column: Expression, compiler: SQLCompiler, **told: Any) -> str:
    """A value as PostgreSQL's JSON text, null as null. What cannot need escaping is not searched for it."""
    sql = compiler.process(column, **told)
    plain = field.kind == "enum" and all(json.dumps(str(it.value)) == f'"{it.value}"' for it in field.choices)
    if plain or field.kind in ("id", "time"):
        return f"""('"' || {sql} || '"')"""
    return f"CAST({sql} AS TEXT)" if field.kind in ("integer", "boolean") else f"CAST(to_json({sql}) AS TEXT)"
