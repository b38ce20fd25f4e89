"""Strawberry types made from data: objects, inputs, enums, and fields with arguments.

Types refer to one another, so each is made bare first and filled in when all are there. Members stand in alphabetical
order, whatever the order they are given in: a reader finds them, and linters ask for it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, NewType

import strawberry
from strawberry.scalars import ID

from schema.engine.model.field import ResourceField
from schema.engine.model.input_models import normalize_time

DateTime = NewType("DateTime", str)
DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="A moment in UTC, as RFC 3339 spells it: `2026-11-22T09:30:00.000000Z`.",
    specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
    serialize=str,
    parse_value=lambda value: normalize_time(_text(value)),
)


@dataclass(frozen=True, slots=True)
class Member:
    """A field of an object, which may take arguments, or of an input, which may have a default."""

    name: str
    kind: Any
    description: str
    arguments: tuple[Argument, ...] = ()
    default: Any = strawberry.UNSET


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a field; one that is not required may be left out."""

    name: str
    kind: Any
    description: str
    required: bool = False


def bare(name: str, *bases: type) -> type:
    """A class to be filled in; what its bases have, it has too."""
    return type(name, bases, {})


def fill_object(made: type, description: str, members: Iterable[Member]) -> None:
    """Make a class an object type."""
    _give(made, {member: _object_field(member) for member in members}, {member.name: member.kind for member in members})
    made.is_type_of = classmethod(lambda cls, value, info: True)  # type: ignore[attr-defined]
    strawberry.type(made, name=made.__name__, description=description)


def fill_interface(made: type, description: str, members: Iterable[Member]) -> None:
    """Make a class an interface."""
    _give(made, {member: _object_field(member) for member in members}, {member.name: member.kind for member in members})
    strawberry.interface(made, name=made.__name__, description=description)


def fill_input(made: type, description: str, members: Iterable[Member], required: Iterable[str] = ()) -> None:
    """Make a class an input type. What is not required may be left out, which is not the same as null."""
    needed = set(required)
    kinds = {member.name: member.kind if member.name in needed else member.kind | None for member in members}
    _give(made, {member: _input_field(member, member.name in needed) for member in members}, kinds)
    strawberry.input(made, name=made.__name__, description=description)


def _give(made: type, fields: Mapping[Member, Any], kinds: Mapping[str, Any]) -> None:
    ordered = sorted(fields, key=lambda member: member.name)
    made.__annotations__ = {f"field_{member.name}": kinds[member.name] for member in ordered}
    for member in ordered:
        setattr(made, f"field_{member.name}", fields[member])


def _input_field(member: Member, required: bool) -> Any:
    words: dict[str, Any] = {"name": member.name, "description": member.description}
    if required and member.default is strawberry.UNSET:
        return strawberry.field(**words)
    return strawberry.field(default=member.default, **words)


def enum(name: str, description: str, values: Mapping[str, tuple[Any, str]]) -> type[Enum]:
    """An enum type: each name with what it stands for and a description."""
    members = {key: strawberry.enum_value(value, description=words) for key, (value, words) in sorted(values.items())}
    made = Enum(name, members)  # type: ignore[misc]
    return strawberry.enum(made, name=name, description=description)


def enum_of(field: ResourceField) -> type[Enum]:
    """A field's enum as GraphQL has it: names in capitals. The values' descriptions are lines of its docstring."""
    python = type(field.choices[0])
    summary, *lines = inspect.cleandoc(python.__doc__ or "").splitlines()
    said = dict(line.split(": ", 1) for line in lines if ": " in line)
    values = {}
    for choice in field.choices:
        words = said.get(str(choice.value), f"{choice.name}.")
        values[choice.name.upper()] = (choice.value, words[:1].upper() + words[1:])
    return enum(python.__name__, summary, values)


def camel_case(name: str) -> str:
    """A name in snake_case as GraphQL spells it."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def snake_case(name: str) -> str:
    """A name in camelCase as the models spell it."""
    return re.sub(r"(?=[A-Z])", "_", name).lower()


def pascal_case(name: str) -> str:
    """A name in snake_case or camelCase as that of a type."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def scalar_of(field: ResourceField, enums: Mapping[str, type[Enum]]) -> Any:
    """The GraphQL type of a field's values."""
    if field.kind == "enum":
        return enums[type(field.choices[0]).__name__]
    return {"id": ID, "boolean": bool, "integer": int, "time": DateTime, "text": str}[field.kind]


def _object_field(member: Member) -> Any:
    if not member.arguments:
        return strawberry.field(name=member.name, description=member.description)
    return strawberry.field(resolver=_signed(member), name=member.name, description=member.description)


def _signed(member: Member) -> Callable[..., Any]:
    """A function with the arguments' signature. It is never called: `execution.py` knows the answer."""

    def answered_elsewhere(*_: Any, **__: Any) -> None:
        raise AssertionError(f"{member.name} is answered by the planner")

    parameters = [
        inspect.Parameter(
            f"argument_{it.name}",
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if it.required else strawberry.UNSET,
            annotation=Annotated[
                it.kind if it.required else it.kind | None,
                strawberry.argument(name=it.name, description=it.description),
            ],
        )
        for it in member.arguments
    ]
    answered_elsewhere.__signature__ = inspect.Signature(parameters, return_annotation=member.kind)  # type: ignore[attr-defined]
    answered_elsewhere.__annotations__ = {it.name: it.annotation for it in parameters} | {"return": member.kind}
    return answered_elsewhere


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a time is a string")
    return value
