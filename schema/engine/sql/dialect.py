"""SQL constructs that SQLite and PostgreSQL spell differently, and the two dialects that statements are compiled for.

A statement is built once, from these constructs and SQLAlchemy's, and compiled for one database by `statement.py`.
Both spellings give the same text, byte for byte.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
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
_BOOLEANS = ("true", "false", "null")
_CLOSING = "'}'"


@cache
def postgres() -> Dialect:
    """PostgreSQL's dialect for asyncpg; imported on first use, so that an SQLite process never loads it."""
    from sqlalchemy.dialects.postgresql import asyncpg

    return asyncpg.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


def quoted(text: str) -> Expression:
    """A constant as an SQL string literal. Values of requests are bound instead."""
    return literal_column("'" + text.replace("'", "''") + "'", String())


def string_agg(text: Expression, separator: Expression) -> Expression:
    """The texts of all rows, in their order, with a separator."""
    return PerDialect(func.group_concat(text, separator), func.string_agg(text, separator))


def control_character(code: int) -> Expression:
    number: Expression = literal_column(str(code))
    return PerDialect(func.char(number), func.chr(number))


def utf8(text: Expression) -> Expression:
    """A text as UTF-8 bytes, which the encoders work on."""
    return PerDialect(cast(text, LargeBinary), func.convert_to(text, quoted("UTF8")))


class JsonArray(FunctionElement[str]):
    """A JSON array of a row's sort keys, which are texts and integers and never null."""

    type = String()

    def __init__(self, *keys: tuple[ResourceField, Expression]) -> None:
        super().__init__(*(key for _, key in keys))
        self.fields = [field for field, _ in keys]


class JsonValue(FunctionElement[str]):
    """A field's value as JSON text, from its column as stored: `json_quote(…)` or `to_json(…)`."""

    type = String()

    def __init__(self, field: ResourceField, column: Expression) -> None:
        super().__init__(column)
        self.field = field


class JsonObject(FunctionElement[str]):
    """A JSON object of fields' values; `bare` leaves its braces out. SQLite: `json_object(…)`; PostgreSQL: `… || …`."""

    type = String()

    def __init__(self, members: list[tuple[str, ResourceField, Expression]], *, bare: bool = False) -> None:
        super().__init__(*(column for *_, column in members))
        self.bare = bare
        self.names = [(name, field) for name, field, _ in members]


class _Parenthesized(FunctionElement[Any]):
    """An element that needs no parentheses from SQLAlchemy, nor the `= 1` that it appends to integer functions."""

    def self_group(self, against: Any = None) -> Any:
        return self


class InJsonArray(_Parenthesized):
    """Whether a column is one of a JSON array's values: one parameter, however many values.

    SQLite: `column IN (SELECT value FROM json_each(?))`; PostgreSQL: `column = ANY ($1)`.
    """

    type = Boolean()


class JsonArrayType(ARRAY[Any]):
    """The type of the parameter of `InJsonArray`: SQLite takes JSON text, PostgreSQL an array."""


class Contains(_Parenthesized):
    """Whether the second text contains the first: `instr(…) > 0` or `… LIKE …`."""

    type = Boolean()


class PerDialect(_Parenthesized):
    """One expression for SQLite, another for PostgreSQL."""

    def __init__(self, sqlite: Expression, postgres: Expression) -> None:
        super().__init__()
        self.alternatives = sqlite, postgres
        self.type = sqlite.type


@compiles(JsonArray, "sqlite")
def _(element: JsonArray, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(func.json_array(*element.clauses), **options)


@compiles(JsonArray, "postgresql")
def _(element: JsonArray, compiler: SQLCompiler, **options: Any) -> str:
    keys = [
        _postgres_json(field, key, compiler, **options)
        for field, key in zip(element.fields, element.clauses, strict=True)
    ]
    items = " || ',' || ".join(keys)
    return f"('[' || {items} || ']')"


@compiles(JsonValue, "sqlite")
def _(element: JsonValue, compiler: SQLCompiler, **options: Any) -> str:
    (column,) = element.clauses
    if element.field.kind != "boolean":
        return compiler.process(func.json_quote(column), **options)
    return compiler.process(_boolean(column, *map(quoted, _BOOLEANS)), **options)


@compiles(JsonValue, "postgresql")
def _(element: JsonValue, compiler: SQLCompiler, **options: Any) -> str:
    (column,) = element.clauses
    return f"coalesce({_postgres_json(element.field, column, compiler, **options)}, 'null')"


@compiles(JsonObject, "sqlite")
def _(element: JsonObject, compiler: SQLCompiler, **options: Any) -> str:
    parts: list[Expression] = []
    for (name, field), column in zip(element.names, element.clauses, strict=True):
        # SQLite evaluates `json()` of a constant once per statement, of a CASE once per row.
        booleans = (func.json(quoted(text)) for text in _BOOLEANS)
        parts += [quoted(name), _boolean(column, *booleans) if field.kind == "boolean" else column]
    whole = func.json_object(*parts)
    # Trimming is safe: no JSON value of a field starts or ends with a brace.
    bare = func.ltrim(func.rtrim(whole, quoted("}")), quoted("{"))
    return compiler.process(bare if element.bare else whole, **options)


@compiles(JsonObject, "postgresql")
def _(element: JsonObject, compiler: SQLCompiler, **options: Any) -> str:
    parts, opening = [], "" if element.bare else "{"
    for number, ((name, field), column) in enumerate(zip(element.names, element.clauses, strict=True)):
        before = quoted(f'{"," if number else opening}"{name}":')
        parts += [compiler.process(before, **options), compiler.process(JsonValue(field, column), **options)]
    return f"({' || '.join(parts if element.bare else [*parts, _CLOSING])})"


@compiles(InJsonArray, "sqlite")
def _(element: InJsonArray, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    among = column.in_(select(func.json_each(type_coerce(values, String())).table_valued("value").c.value))
    return f"({compiler.process(among, **options)})"


@compiles(InJsonArray, "postgresql")
def _(element: InJsonArray, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    return f"({compiler.process(column, **options)} = ANY ({compiler.process(values, **options)}))"


@compiles(Contains, "sqlite")
def _(element: Contains, compiler: SQLCompiler, **options: Any) -> str:
    part, text = element.clauses
    return f"(instr({compiler.process(text, **options)}, {compiler.process(part, **options)}) > 0)"


@compiles(Contains, "postgresql")
def _(element: Contains, compiler: SQLCompiler, **options: Any) -> str:
    """LIKE, because pg_trgm's index serves it. The subquery escapes wildcards once per statement."""
    part, text = (compiler.process(clause, **options) for clause in element.clauses)
    pattern = f"'%' || regexp_replace({part}, '([%_\\\\])', '\\\\\\1', 'g') || '%'"
    return f"({text} LIKE (SELECT {pattern}))"


@compiles(PerDialect, "sqlite")
def _(element: PerDialect, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.alternatives[0], **options)


@compiles(PerDialect, "postgresql")
def _(element: PerDialect, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.alternatives[1], **options)


def _boolean(column: Expression, true: Expression, false: Expression, unknown: Expression) -> Expression:
    return case((column, true), (column.is_(None), unknown), else_=false)


def _postgres_json(field: ResourceField, column: Expression, compiler: SQLCompiler, **options: Any) -> str:
    """A value as JSON text on PostgreSQL, null as SQL NULL. Types that cannot need escaping skip `to_json`."""
    sql = compiler.process(column, **options)
    needs_no_escape = field.kind == "enum" and all(
        json.dumps(str(choice.value)) == f'"{choice.value}"' for choice in field.choices
    )
    if needs_no_escape or field.kind in ("id", "time"):
        return f"""('"' || {sql} || '"')"""
    return f"CAST({sql} AS TEXT)" if field.kind in ("integer", "boolean") else f"CAST(to_json({sql}) AS TEXT)"
