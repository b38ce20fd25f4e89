"""What SQLite and PostgreSQL spell differently: each word here is one thing, said in the words of either.

A statement is built once, in these words and SQLAlchemy's; which database it is for is known only when it is written
down (`statement.py`). Texts come out the same, byte for byte, whichever database wrote them.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Boolean,
    ColumnElement,
    LargeBinary,
    String,
    case,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
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


class StringAgg(FunctionElement[str]):
    """The texts of all rows, in their order, with a separator between them."""

    type = String()
    inherit_cache = False


class Char(FunctionElement[str]):
    """A control character, by its code point."""

    type = String()
    inherit_cache = False


class Utf8(FunctionElement[bytes]):
    """A text as bytes of UTF-8: what the encoders work on."""

    type = LargeBinary()
    inherit_cache = False


class JsonArray(FunctionElement[str]):
    """A JSON array of a cursor's keys, which are texts and integers and never null."""

    type = String()
    inherit_cache = False

    def __init__(self, *keys: tuple[ResourceField, Expression]) -> None:
        super().__init__(*(key for _, key in keys))
        self.fields = [field for field, _ in keys]


class JsonValue(FunctionElement[str]):
    """A field's value as JSON text; its column as it is stored."""

    type = String()
    inherit_cache = False

    def __init__(self, field: ResourceField, column: Expression) -> None:
        super().__init__(column)
        self.field = field


class JsonObject(FunctionElement[str]):
    """A JSON object of some fields' values; `bare` without its braces."""

    type = String()
    inherit_cache = False

    def __init__(self, members: list[tuple[str, ResourceField, Expression]], *, bare: bool = False) -> None:
        super().__init__(*(column for *_, column in members))
        self.bare = bare
        self.names = [(name, field) for name, field, _ in members]


@compiles(StringAgg, "sqlite")
def _(word: StringAgg, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.group_concat(*word.clauses), **told)


@compiles(StringAgg, "postgresql")
def _(word: StringAgg, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.string_agg(*word.clauses), **told)


@compiles(Char, "sqlite")
def _(word: Char, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.char(*word.clauses), **told)


@compiles(Char, "postgresql")
def _(word: Char, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.chr(*word.clauses), **told)


@compiles(Utf8, "sqlite")
def _(word: Utf8, compiler: SQLCompiler, **told: Any) -> str:
    (text,) = word.clauses
    return compiler.process(cast(text, LargeBinary), **told)


@compiles(Utf8, "postgresql")
def _(word: Utf8, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.convert_to(*word.clauses, quoted("UTF8")), **told)


@compiles(JsonArray, "sqlite")
def _(word: JsonArray, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(func.json_array(*word.clauses), **told)


@compiles(JsonArray, "postgresql")
def _(word: JsonArray, compiler: SQLCompiler, **told: Any) -> str:
    keys = [_json(field, key, compiler, **told) for field, key in zip(word.fields, word.clauses, strict=True)]
    inside = " || ',' || ".join(keys)
    return f"('[' || {inside} || ']')"


@compiles(JsonValue, "sqlite")
def _(word: JsonValue, compiler: SQLCompiler, **told: Any) -> str:
    (column,) = word.clauses
    if word.field.kind != "boolean":
        return compiler.process(func.json_quote(column), **told)
    return compiler.process(_truth(column, *map(quoted, TRUTHS)), **told)


@compiles(JsonValue, "postgresql")
def _(word: JsonValue, compiler: SQLCompiler, **told: Any) -> str:
    (column,) = word.clauses
    return f"coalesce({_json(word.field, column, compiler, **told)}, 'null')"


@compiles(JsonObject, "sqlite")
def _(word: JsonObject, compiler: SQLCompiler, **told: Any) -> str:
    parts: list[Expression] = []
    for (name, field), column in zip(word.names, word.clauses, strict=True):
        # `json()` of a constant is worked out once a statement, of a CASE once a row.
        truths = (func.json(quoted(word)) for word in TRUTHS)
        parts += [quoted(name), _truth(column, *truths) if field.kind == "boolean" else column]
    made = func.json_object(*parts)
    # A value never ends in a brace.
    bare = func.ltrim(func.rtrim(made, quoted("}")), quoted("{"))
    return compiler.process(bare if word.bare else made, **told)


@compiles(JsonObject, "postgresql")
def _(word: JsonObject, compiler: SQLCompiler, **told: Any) -> str:
    parts, opening = [], "" if word.bare else "{"
    for number, ((name, field), column) in enumerate(zip(word.names, word.clauses, strict=True)):
        before = quoted(f'{"," if number else opening}"{name}":')
        parts += [compiler.process(before, **told), compiler.process(JsonValue(field, column), **told)]
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


class InJsonArray(FunctionElement[bool]):
    """Whether a column is one of a JSON array's values: one bind, however many there are."""

    type = Boolean()
    inherit_cache = False

    def __init__(self, column: Expression, values: BindParameter[Any]) -> None:
        super().__init__(column, values)

    def self_group(self, against: Any = None) -> Any:
        """As it is: it is a predicate, not a function's value that would have to be compared with true."""
        return self


class Contains(FunctionElement[bool]):
    """Whether the first text is found in the second."""

    type = Boolean()
    inherit_cache = False

    def self_group(self, against: Any = None) -> Any:
        """As it is: it is a predicate."""
        return self


class PerDialect(FunctionElement[Any]):
    """The first on SQLite, the second on PostgreSQL."""

    inherit_cache = False

    def __init__(self, sqlite: Expression, postgres: Expression) -> None:
        super().__init__()
        self.ways = sqlite, postgres
        self.type = sqlite.type

    def self_group(self, against: Any = None) -> Any:
        """As it is: what it stands for is a whole."""
        return self


class JsonArrayType(ARRAY[Any]):
    """The type that PostgreSQL takes a JSON array's values as."""


@compiles(InJsonArray, "sqlite")
def _(word: InJsonArray, compiler: SQLCompiler, **told: Any) -> str:
    column, values = word.clauses
    among = column.in_(select(func.json_each(type_coerce(values, String())).table_valued("value").c.value))
    return f"({compiler.process(among, **told)})"


@compiles(InJsonArray, "postgresql")
def _(word: InJsonArray, compiler: SQLCompiler, **told: Any) -> str:
    column, values = word.clauses
    return f"({compiler.process(column, **told)} = ANY ({compiler.process(values, **told)}))"


@compiles(Contains, "sqlite")
def _(word: Contains, compiler: SQLCompiler, **told: Any) -> str:
    part, text = word.clauses
    return f"(instr({compiler.process(text, **told)}, {compiler.process(part, **told)}) > 0)"


@compiles(Contains, "postgresql")
def _(word: Contains, compiler: SQLCompiler, **told: Any) -> str:
    """By LIKE, which an index of trigrams serves; what LIKE would take for a wildcard is escaped, once a statement."""
    part, text = word.clauses
    sought, within = compiler.process(part, **told), compiler.process(text, **told)
    pattern = f"'%' || regexp_replace({sought}, '([%_\\\\])', '\\\\\\1', 'g') || '%'"
    return f"({within} LIKE (SELECT {pattern}))"


@compiles(PerDialect, "sqlite")
def _(word: PerDialect, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(word.ways[0], **told)


@compiles(PerDialect, "postgresql")
def _(word: PerDialect, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(word.ways[1], **told)
