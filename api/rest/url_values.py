"""Values as they stand in a URL: the schema of each kind, and how one is read from its text.

Both are made in one place, so that what the document promises is what is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api.rest.json_schemas import MOMENT, UUID
from api.rest.parameters import Schema
from schema.engine.model.field import GREATEST_INTEGER, LEAST_INTEGER, FieldKind, ResourceField
from schema.engine.model.input_models import moment
from schema.engine.query.search import MIN_LENGTH

# How many values a list may have: so many that an ordinary one fits into a URL.
MOST_VALUES: Mapping[FieldKind, int] = {"id": 100, "integer": 50, "time": 20, "text": 20, "enum": 20, "boolean": 20}
TEXT = r"^[^\u0000-\u001f\u007f-\u009f]+$"
TEXT_IN_LIST = r"^[^,\u0000-\u001f\u007f-\u009f]+$"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Value:
    """What stands for a value. `read` makes the value of a text, or raises `ValueError`."""

    schema: Schema
    read: Callable[[str], Any]
    example: Any = None


def value_of(field: ResourceField) -> Value:
    """One value of a field."""
    match field.kind:
        case "id":
            return Value(UUID, _uuid, field.example)
        case "enum":
            return one_of({str(choice.value): choice.value for choice in field.choices}, field.example)
        case "boolean":
            return boolean(field.example)
        case "integer":
            return integer(LEAST_INTEGER, GREATEST_INTEGER, field.example)
        case "time":
            return Value(MOMENT, moment, field.example)
        case "text":
            return _text(TEXT, field.max_length or 0, field.example)


def part_of(field: ResourceField) -> Value:
    """A part of a text that is to be looked for."""
    example = str(field.example)[:MIN_LENGTH] if field.example else None
    return _text(TEXT, field.max_length or 0, example, MIN_LENGTH)


def list_of(field: ResourceField) -> Value:
    """Several values of a field; `read` reads one of them."""
    one = value_of(field)
    if field.kind == "text":
        one = _text(TEXT_IN_LIST, field.max_length or 0, field.example)
    examples = {} if one.example is None else {"examples": [one.example]}
    items, most = {**one.schema, **examples}, MOST_VALUES[field.kind]
    example = None if one.example is None else [one.example]
    return Value({"type": "array", "minItems": 1, "maxItems": most, "items": items}, one.read, example)


def integer(least: int, greatest: int, example: int | None = None) -> Value:
    """A whole number."""

    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= greatest:
            raise ValueError(f"it has to be an integer from {least} to {greatest}")
        return int(text)

    return Value({"type": "integer", "format": "int32", "minimum": least, "maximum": greatest}, read, example)


def boolean(example: bool | None = None) -> Value:
    """True or false."""

    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("it has to be true or false")
        return text == "true"

    return Value({"type": "boolean"}, read, example)


def one_of(choices: Mapping[str, Any], example: str | None = None) -> Value:
    """One of some words, each of which stands for something."""

    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"it has to be one of {', '.join(choices)}")
        return choices[text]

    return Value({"type": "string", "enum": list(choices)}, read, example)


def cursor(schema: Schema) -> Value:
    """A place in a list. There is no example: only the list itself can give one."""
    compiled, longest = re.compile(schema["pattern"], re.ASCII), schema["maxLength"]

    def read(text: str) -> str:
        if not compiled.fullmatch(text) or len(text) > longest:
            raise ValueError(f"a cursor is made of letters, digits, - and _, at most {longest} of them")
        return text

    return Value(schema, read)


def _text(pattern: str, longest: int, example: str | None, shortest: int = 1) -> Value:
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text) or not shortest <= len(text) <= longest:
            raise ValueError(f"it has to be {shortest} to {longest} characters, none of them a control character")
        return text

    return Value({"type": "string", "minLength": shortest, "maxLength": longest, "pattern": pattern}, read, example)


def _uuid(text: str) -> str:
    if not re.fullmatch(UUID["pattern"], text, re.ASCII):
        raise ValueError("it has to be a UUID")
    return text.lower()
