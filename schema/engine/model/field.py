"""`ResourceField`: what a declared column means to the APIs and to the tables."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from sqlalchemy import Boolean, Integer, String
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel

FieldKind = Literal["id", "enum", "boolean", "integer", "time", "text"]
Operator = Literal["eq", "in", "lt", "lte", "gt", "gte", "startswith", "contains", "isnull", "notnull"]

# Not blank, no control characters. Lone surrogates need no check: they are neither JSON nor UTF-8.
CONTROL = r"\u0000-\u001f\u007f-\u009f"
BLANK = r"\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
TEXT_PATTERN = rf"^[^{CONTROL}]*[^{CONTROL}{BLANK}][^{CONTROL}]*$"
EMAIL_PATTERN = rf"^[^@{CONTROL}{BLANK}]+@[^@{CONTROL}{BLANK}]+$"
TIME_INPUT_PATTERN = (
    r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
TIME_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$"

MIN_INTEGER, MAX_INTEGER = -(2**31), 2**31 - 1
NULL_INTEGER_SORT_KEY = MIN_INTEGER - 1  # null sorts below every integer that a field can hold

OPERATORS: dict[FieldKind, tuple[Operator, ...]] = {
    "id": ("eq", "in"),
    "enum": ("eq", "in"),
    "boolean": ("eq", "in"),
    "integer": ("eq", "lt", "lte", "gt", "gte", "in", "isnull"),
    "time": ("eq", "lt", "lte", "gt", "gte", "in", "isnull"),
    "text": ("eq", "in", "startswith", "isnull"),
}


@dataclass(frozen=True, slots=True)
class ResourceField:
    """One field of a model. `indexed`: offered for filters and, unless it is an id, enum or boolean, for sorting."""

    name: str
    kind: FieldKind
    description: str
    nullable: bool
    required: bool
    default: Any
    read_only: bool
    write_only: bool
    primary_key: bool
    unique: bool
    indexed: bool
    ignore_case: bool
    searchable: bool
    minimum: int | None
    maximum: int | None
    min_length: int | None
    max_length: int | None
    pattern: str | None
    choices: tuple[Enum, ...]
    example: Any
    foreign_table: str | None

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The comparisons that filters offer."""
        return (*(OPERATORS[self.kind] if self.indexed else ()), *(("contains",) if self.searchable else ()))

    @property
    def sortable(self) -> bool:
        """Whether lists can be sorted by the field."""
        return (self.indexed and self.kind in ("integer", "time", "text")) or self.name == "id"

    @property
    def key_column(self) -> str | None:
        """The column of the lower-case form."""
        return f"{self.name}_key" if self.kind == "text" and (self.indexed or self.searchable) else None

    @property
    def sort_column(self) -> str:
        """The column that lists sort by, which is never null."""
        return f"{self.name}_sort" if self.nullable and self.sortable else self.name

    def column_type(self) -> TypeEngine[Any]:
        """Return the type for both databases; text sorts by code point."""
        if self.kind == "boolean":
            return Boolean()
        if self.kind == "integer":
            return Integer()
        return code_point_string(self.max_length)


def code_point_string(length: int | None = None) -> String:
    """Text that sorts by code point, which SQLite does by default and PostgreSQL by a collation."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


@cache
def fields_of(model: type[SQLModel]) -> tuple[ResourceField, ...]:
    """Return the fields in the order of their declaration, but the id first, and times and version last."""
    first = [name for name in ("id",) if name in model.model_fields]
    last = [name for name in ("created_at", "updated_at", "version") if name in model.model_fields]
    own = [name for name in model.model_fields if name not in (*first, *last)]
    return tuple(_field(model, name) for name in (*first, *own, *last))


def lower_case(text: str) -> str:
    """Lower-case one code point at a time, so that the key of a prefix is the prefix of the key."""
    return text.lower() if text.isascii() else "".join(map(str.lower, text))


def unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it had None."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        assert len(inner) == 1, f"a field must have one type, optionally with None, got {annotation}"
        return inner[0], True
    return annotation, False


def _field(model: type[SQLModel], name: str) -> ResourceField:
    info = model.model_fields[name]
    flags: dict[str, Any] = dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}
    base, nullable = unwrap_optional(info.annotation)
    facts = {key: value for item in info.metadata for key, value in _facts(item)}
    foreign = facts.get("foreign_key")
    kind = "id" if name == "id" or foreign else _kind(model, name, base)
    unique, indexed = facts.get("unique") is True, facts.get("index") is True
    max_length = facts.get("max_length", {"id": 36, "time": 27}.get(kind))
    assert kind == "text" or not flags.get("searchable"), f"{model.__name__}.{name}: must be text to be searchable"
    assert kind != "text" or max_length, f"{model.__name__}.{name}: text must have a max_length"
    examples = info.examples or [None]
    return ResourceField(
        name=name,
        kind=kind,
        description=info.description or f"{name.replace('_', ' ').capitalize()}.",
        nullable=nullable,
        required=info.is_required(),
        default=None if info.is_required() else info.default,
        read_only=bool(flags.get("readOnly")),
        write_only=bool(flags.get("writeOnly")),
        primary_key=facts.get("primary_key") is True,
        unique=unique,
        indexed=unique or indexed or bool(foreign) or name == "id",
        ignore_case=bool(flags.get("ignoreCase")),
        searchable=bool(flags.get("searchable")),
        minimum=facts.get("ge", MIN_INTEGER if kind == "integer" else None),
        maximum=facts.get("le", MAX_INTEGER if kind == "integer" else None),
        min_length=facts.get("min_length", 1 if kind == "text" else None),
        max_length=max_length,
        pattern=facts.get("pattern") or (TEXT_PATTERN if kind == "text" else None),
        choices=tuple(base) if kind == "enum" else (),
        example=examples[0],
        foreign_table=str(foreign).partition(".")[0] if foreign else None,
    )


def _facts(item: object) -> Iterator[tuple[str, Any]]:
    for name in ("ge", "le", "min_length", "max_length", "pattern", "unique", "index", "primary_key", "foreign_key"):
        value = getattr(item, name, None)
        if value is not None and type(value).__name__ != "PydanticUndefinedType":
            yield name, value


def _kind(model: type[SQLModel], name: str, base: Any) -> FieldKind:
    kinds: list[tuple[type, FieldKind]] = [
        (Enum, "enum"), (bool, "boolean"), (int, "integer"), (datetime, "time"), (str, "text"),
    ]  # fmt: skip
    for python, kind in kinds:
        if isinstance(base, type) and issubclass(base, python):
            return kind
    known = ", ".join(kind.__name__ for kind, _ in kinds)
    raise AssertionError(f"{model.__name__}.{name}: the type must be one of {known}, got {base}")
