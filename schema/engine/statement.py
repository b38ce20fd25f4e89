"""SQL text and its binder: what the driver is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from schema.engine.selection import Values

_DIALECT = sqlite.dialect(paramstyle="qmark")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, and the function that takes its parameters, in order, out of a request's values.

    `names` are those of the parameters, for people to read.
    """

    sql: str
    bind: Callable[[Values], tuple[Any, ...]]
    names: tuple[str, ...] = ()


def compiled(executable: Executable) -> Statement:
    """The statement as the driver takes it."""
    written = executable.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    assert isinstance(written, SQLCompiler)
    assert "[POSTCOMPILE" not in str(written), "an expanding IN breaks the order of the parameters: use `among`"
    names = tuple(written.positiontup or ())
    constants = {name: value for name, value in written.params.items() if value is not None}
    return Statement(str(written), _binder(names, constants), names)


def _binder(names: tuple[str, ...], constants: dict[str, Any]) -> Callable[[Values], tuple[Any, ...]]:
    if not names:
        return lambda values: ()
    if not constants.keys().isdisjoint(names):
        return lambda values: tuple(constants[name] if name in constants else values[name] for name in names)
    if len(names) == 1:
        return lambda values: (values[names[0]],)
    return itemgetter(*names)
