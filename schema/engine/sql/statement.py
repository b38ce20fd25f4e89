"""Compiled statements: SQL text, and the function that picks its parameters from a request's values."""

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
    """A statement for one database, compiled on first use.

    `sql` is its text, `names` those of its parameters in order, `bind` the function from values to parameters. Each is
    cached as an attribute of its own, since every request reads them.
    """

    def __init__(self, executable: Executable, dialect: Dialect = SQLITE) -> None:
        self._executable = executable
        self._dialect = dialect

    def on(self, dialect: Dialect) -> Statement:
        return self if dialect is self._dialect else Statement(self._executable, dialect)

    @cached_property
    def sql(self) -> str:
        return self._compiled[0]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self._compiled[1]

    @cached_property
    def bind(self) -> Binder:
        return self._compiled[2]

    @cached_property
    def _compiled(self) -> tuple[str, tuple[str, ...], Binder]:
        """What is kept of SQLAlchemy's compiler, which is several times as large."""
        compiled = self._executable.compile(dialect=self._dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        assert "[POSTCOMPILE" not in str(compiled), "an expanding IN breaks the order of parameters: use in_json_array"
        names = tuple(compiled.positiontup or ())
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        bind = _binder(names, constants)
        if self._dialect is not SQLITE:
            bind = _array_binder(bind, [isinstance(compiled.binds[name].type, JsonArrayType) for name in names])
        return str(compiled), names, bind


class CountedStatement(Statement):
    """A change whose driver returns one row for each changed record.

    PostgreSQL gets `RETURNING column`. SQLite's driver counts instead: there, RETURNING takes a trigger and a table in
    memory, a fifth of what an UPDATE of one row costs.
    """

    def __init__(self, change: Update | Delete, column: ColumnElement[Any]) -> None:
        super().__init__(change)
        self._returning = change.returning(column)

    def on(self, dialect: Dialect) -> Statement:
        return self if dialect is SQLITE else Statement(self._returning, dialect)


def _binder(names: tuple[str, ...], constants: dict[str, Any]) -> Binder:
    if not names:
        return lambda values: ()
    if not constants.keys().isdisjoint(names):
        return lambda values: tuple(constants[name] if name in constants else values[name] for name in names)
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return itemgetter(*names)


def _array_binder(bind: Binder, is_array: list[bool]) -> Binder:
    """Bind the lists among the values, which travel as JSON text, as PostgreSQL arrays."""
    if not any(is_array):
        return bind

    def bind_arrays(values: Values) -> tuple[Any, ...]:
        bound = zip(is_array, bind(values), strict=True)
        return tuple([json.loads(value) if array and isinstance(value, str) else value for array, value in bound])

    return bind_arrays
