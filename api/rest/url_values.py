"""Values in URLs: the schema of each type, and how it is read from text. Both come from here, so that they agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api.rest.json_schemas import MOMENT, UUID
from api.rest.parameters import Schema
from schema.engine.model.field import MAX_INTEGER, MIN_INTEGER, FieldKind, ResourceField
from schema.engine.model.input_models import normalize_time
from schema.engine.query.search import MIN_LENGTH

# Lists with so many values of ordinary length fit into a URL.
MAX_LIST_LENGTH: Mapping[FieldKind, int] = {"id": 100, "integer": 50, "time": 20, "text": 20, "enum": 20, "boolean": 20}
TEXT = r"^[^\u0000-\u001f\u007f-\u009f]+$"
TEXT_IN_LIST = r"^[^,\u0000-\u001f\u007f-\u009f]+$"
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a value. `read` converts its text, or raises `ValueError` with a message for the client."""

    schema: Schema
    read: Callable[[str], Any]
    example: Any = None


def value_of(field: ResourceField) -> ValueType:
    """Return the type of a field's values."""
    match field.kind:
        case "id":
            return ValueType(UUID, _uuid, field.example)
        case "enum":
            return one_of({str(choice.value): choice.value for choice in field.choices}, field.example)
        case "boolean":
            return boolean(field.example)
        case "integer":
            return integer(MIN_INTEGER, MAX_INTEGER, field.example)
        case "time":
            return ValueType(MOMENT, normalize_time, field.example)
        case "text":
            return _text(TEXT, field.max_length or 0, field.example)


def part_of(field: ResourceField) -> ValueType:
    """Return the type of a substring to search for in a text field."""
    example = str(field.example)[:MIN_LENGTH] if field.example else None
    return _text(TEXT, field.max_length or 0, example, MIN_LENGTH)


def list_of(field: ResourceField) -> ValueType:
    """Return the type of a list of a field's values, of which `read` converts one."""
    item = value_of(field)
    if field.kind == "text":
        item = _text(TEXT_IN_LIST, field.max_length or 0, field.example)
    examples = {} if item.example is None else {"examples": [item.example]}
    items = {**item.schema, **examples}
    schema = {"type": "array", "minItems": 1, "maxItems": MAX_LIST_LENGTH[field.kind], "items": items}
    return ValueType(schema, item.read, examples.get("examples"))


def integer(minimum: int, maximum: int, example: int | None = None) -> ValueType:
    def read(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not minimum <= int(text) <= maximum:
            raise ValueError(f"must be an integer from {minimum} to {maximum}")
        return int(text)

    return ValueType({"type": "integer", "format": "int32", "minimum": minimum, "maximum": maximum}, read, example)


def boolean(example: bool | None = None) -> ValueType:
    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"

    return ValueType({"type": "boolean"}, read, example)


def one_of(choices: Mapping[str, Any], example: str | None = None) -> ValueType:
    """Return the type of a text that must be one of the keys, and is converted to its value."""

    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return choices[text]

    return ValueType({"type": "string", "enum": list(choices)}, read, example)


def cursor(schema: Schema) -> ValueType:
    """Return the type of a cursor. It has no example, because only the list itself can issue one."""
    pattern, max_length = re.compile(schema["pattern"], re.ASCII), schema["maxLength"]

    def read(text: str) -> str:
        if not pattern.fullmatch(text) or len(text) > max_length:
            raise ValueError(f"must be a cursor: at most {max_length} letters, digits, - and _")
        return text

    return ValueType(schema, read)


def _text(pattern: str, max_length: int, example: str | None, min_length: int = 1) -> ValueType:
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text) or not min_length <= len(text) <= max_length:
            raise ValueError(f"must have {min_length} to {max_length} characters, without control characters")
        return text

    schema = {"type": "string", "minLength": min_length, "maxLength": max_length, "pattern": pattern}
    return ValueType(schema, read, example)


def _uuid(text: str) -> str:
    if not re.fullmatch(UUID["pattern"], text, re.ASCII):
        raise ValueError("must be a UUID")
    return text.lower()
