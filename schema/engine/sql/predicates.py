"""Predicates that SQLite and PostgreSQL spell differently, as the words of `dialect.py` are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, BindParameter, Boolean, String, func, select, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from schema.engine.sql.dialect import Expression


class Among(FunctionElement[bool]):
    """Whether a column is one of a JSON array's values: one bind, however many there are."""

    type = Boolean()
    inherit_cache = False

    def __init__(self, column: Expression, values: BindParameter[Any]) -> None:
        super().__init__(column, values)

    def self_group(self, against: Any = None) -> Any:
        """As it is: it is a predicate, not a function's value that would have to be compared with true."""
        return self


class Within(FunctionElement[bool]):
    """Whether the first text is found in the second."""

    type = Boolean()
    inherit_cache = False

    def self_group(self, against: Any = None) -> Any:
        """As it is: it is a predicate."""
        return self


class Either(FunctionElement[Any]):
    """The first on SQLite, the second on PostgreSQL."""

    inherit_cache = False

    def __init__(self, sqlite: Expression, postgres: Expression) -> None:
        super().__init__()
        self.ways = sqlite, postgres
        self.type = sqlite.type

    def self_group(self, against: Any = None) -> Any:
        """As it is: what it stands for is a whole."""
        return self


class Listed(ARRAY[Any]):
    """The type that PostgreSQL takes a JSON array's values as."""


@compiles(Among, "sqlite")
def _(word: Among, compiler: SQLCompiler, **told: Any) -> str:
    column, values = word.clauses
    among = column.in_(select(func.json_each(type_coerce(values, String())).table_valued("value").c.value))
    return f"({compiler.process(among, **told)})"


@compiles(Among, "postgresql")
def _(word: Among, compiler: SQLCompiler, **told: Any) -> str:
    column, values = word.clauses
    return f"({compiler.process(column, **told)} = ANY ({compiler.process(values, **told)}))"


@compiles(Within, "sqlite")
def _(word: Within, compiler: SQLCompiler, **told: Any) -> str:
    part, text = word.clauses
    return f"(instr({compiler.process(text, **told)}, {compiler.process(part, **told)}) > 0)"


@compiles(Within, "postgresql")
def _(word: Within, compiler: SQLCompiler, **told: Any) -> str:
    """By LIKE, which an index of trigrams serves; what LIKE would take for a wildcard is escaped, once a statement."""
    part, text = word.clauses
    sought, within = compiler.process(part, **told), compiler.process(text, **told)
    pattern = f"'%' || regexp_replace({sought}, '([%_\\\\])', '\\\\\\1', 'g') || '%'"
    return f"({within} LIKE (SELECT {pattern}))"


@compiles(Either, "sqlite")
def _(word: Either, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(word.ways[0], **told)


@compiles(Either, "postgresql")
def _(word: Either, compiler: SQLCompiler, **told: Any) -> str:
    return compiler.process(word.ways[1], **told)
