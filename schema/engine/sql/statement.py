"""SQL text and its binder: what the driver is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Delete, Update
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from schema.engine.sql.dialect import SQLITE, JsonArrayType

Values = Mapping[str, Any]
Binder = Callable[[Values], tuple[Any, ...]]


class Statement:
    """A statement, and the function that takes its parameters, in order, out of a request's values.

    It is written when it is first needed: for SQLite, unless `on` has said for what. `names` are those of the
    parameters, for people to read.
    """

    def __init__(self, executable: Executable, dialect: Dialect = SQLITE) -> None:
        self._executable = executable
        self._dialect = dialect

    def on(self, dialect: Dialect) -> Statement:
        """The same statement for another database."""
        return self if dialect is self._dialect else Statement(self._executable, dialect)

    @cached_property
    def sql(self) -> str:
        """The text."""
        return self._written[0]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters' names."""
        return self._written[2]

    @cached_property
    def bind(self) -> Binder:
        """The binder."""
        return self._written[1]

    @cached_property
    def _written(self) -> tuple[str, Binder, tuple[str, ...]]:
        written = self._executable.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        assert isinstance(written, SQLCompiler)
        assert "[POSTCOMPILE" not in str(written), "an expanding IN breaks the order of the parameters: use `among`"
        names = tuple(written.positiontup or ())
        constants = {name: value for name, value in written.params.items() if value is not None}
        lists = {
            name
            for name in names
            if self._dialect is not SQLITE and isinstance(written.binds[name].type, JsonArrayType)
        }
        return str(written), _unlisted(names, lists, _binder(names, constants)), names


class CountedStatement(Statement):
    """One that changes rows and brings a row for each: PostgreSQL is asked for a column, SQLite's driver counts them.

    To SQLite, RETURNING is a trigger and a table in memory: a fifth of what an UPDATE of one row costs.
    """

    def __init__(self, change: Update | Delete, column: ColumnElement[Any]) -> None:
        super().__init__(change)
        self._returning = change.returning(column)

    def on(self, dialect: Dialect) -> Statement:
        """The same change for another database."""
        return self if dialect is SQLITE else Statement(self._returning, dialect)


def _binder(names: tuple[str, ...], constants: dict[str, Any]) -> Binder:
    if not names:
        return lambda values: ()
    if not constants.keys().isdisjoint(names):
        return lambda values: tuple(constants[name] if name in constants else values[name] for name in names)
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return itemgetter(*names)


def _unlisted(names: tuple[str, ...], lists: set[str], bind: Binder) -> Binder:
    """The same, where some values are lists, which travel as JSON: PostgreSQL takes them as arrays."""
    if not lists:
        return bind
    marks = [name in lists for name in names]

    def unlisted(values: Values) -> tuple[Any, ...]:
        bound = bind(values)
        made = [json.loads(it) if mark and isinstance(it, str) else it for mark, it in zip(marks, bound, strict=True)]
        return tuple(made)

    return unlisted
