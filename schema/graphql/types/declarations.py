"""Strawberry types built from data: objects, inputs, enums, and fields with arguments.

Types refer to one another, so each is declared as an empty class first and filled when all are declared. Members are in
alphabetical order, as schema linters require.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NewType

import strawberry

from schema.engine.model.field import ResourceField
from schema.engine.model.input_models import normalize_time


def _parse_time(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a DateTime must be a string")
    return normalize_time(value)


DateTime = NewType("DateTime", str)
DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="A time in UTC, in the format of RFC 3339: `2026-11-22T09:30:00.000000Z`.",
    specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
    serialize=str,
    parse_value=_parse_time,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A field of an object, which may have arguments, or of an input, which may have a default."""

    name: str
    annotation: Any
    description: str
    arguments: tuple[Argument, ...] = ()
    default: Any = strawberry.UNSET


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    annotation: Any
    description: str
    required: bool = False


def declare(name: str, *bases: type) -> type:
    """An empty class, to be filled later; it inherits the members of its bases."""
    return type(name, bases, {})


def fill_object(cls: type, description: str, members: Iterable[Member], *, interface: bool = False) -> None:
    _set_fields(cls, {member: (member.annotation, _object_field(member)) for member in members})
    if not interface:
        cls.is_type_of = classmethod(lambda cls, value, info: True)  # type: ignore[attr-defined]
    decorator = strawberry.interface if interface else strawberry.type
    decorator(cls, name=cls.__name__, description=description)


def fill_input(cls: type, description: str, members: Iterable[Member], required: Iterable[str] = ()) -> None:
    """Turn a class into an input type. Members that are not required may be omitted, which differs from null."""
    names = set(required)
    _set_fields(cls, {member: _input_field(member, member.name in names) for member in members})
    strawberry.input(cls, name=cls.__name__, description=description)


def enum(name: str, description: str, values: Mapping[str, tuple[Any, str]]) -> type[Enum]:
    """An enum type: `values` maps each name to its value and description."""
    members = {key: strawberry.enum_value(value, description=text) for key, (value, text) in sorted(values.items())}
    python_enum = Enum(name, members)  # type: ignore[misc]
    return strawberry.enum(python_enum, name=name, description=description)


def enum_of(field: ResourceField) -> type[Enum]:
    """A field's enum with names in capitals. Lines `value: description` of its docstring describe the values."""
    python_enum = type(field.choices[0])
    summary, *lines = inspect.cleandoc(python_enum.__doc__ or "").splitlines()
    descriptions = dict(line.split(": ", 1) for line in lines if ": " in line)
    values = {}
    for choice in field.choices:
        description = descriptions.get(str(choice.value), f"{choice.name}.")
        values[choice.name.upper()] = (choice.value, description[:1].upper() + description[1:])
    return enum(python_enum.__name__, summary, values)


def _set_fields(cls: type, fields: Mapping[Member, tuple[Any, Any]]) -> None:
    cls.__annotations__ = {}
    for member, (annotation, field) in sorted(fields.items(), key=lambda item: item[0].name):
        cls.__annotations__[f"field_{member.name}"] = annotation
        setattr(cls, f"field_{member.name}", field)


def _input_field(member: Member, required: bool) -> tuple[Any, Any]:
    options: dict[str, Any] = {"name": member.name, "description": member.description}
    if not required or member.default is not strawberry.UNSET:
        options["default"] = member.default
    return member.annotation if required else member.annotation | None, strawberry.field(**options)


def _object_field(member: Member) -> Any:
    resolver: dict[str, Any] = {"resolver": _resolver(member)} if member.arguments else {}
    return strawberry.field(**resolver, name=member.name, description=member.description)


def _resolver(member: Member) -> Callable[..., Any]:
    """A function with the arguments' signature, for Strawberry. `schema.py` replaces it, so it is never called."""

    def resolver(*_: Any, **__: Any) -> None:
        raise AssertionError(f"{member.name} must have a resolver")

    parameters = [
        inspect.Parameter(
            f"argument_{argument.name}",
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if argument.required else strawberry.UNSET,
            annotation=Annotated[
                argument.annotation if argument.required else argument.annotation | None,
                strawberry.argument(name=argument.name, description=argument.description),
            ],
        )
        for argument in member.arguments
    ]
    resolver.__signature__ = inspect.Signature(parameters, return_annotation=member.annotation)  # type: ignore[attr-defined]
    resolver.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    resolver.__annotations__["return"] = member.annotation
    return resolver
