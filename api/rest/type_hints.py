"""From the type of a function's parameter to a `Value` in a URL: its schema, and how its text is read.

What a type leaves open is bounded here: text to 1000 characters without control characters, integers to 64 bits, lists
to 50 values. Text is read as strictly as JSON: an integer is `36`, never `036`, `+36` or `3_6`.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import Enum
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter, ValidationError

from api.rest import json_schemas
from api.rest.parameters import Schema
from api.rest.url_values import ValueType
from schema.engine.model.input_models import error_message

MAX_TEXT, MAX_ITEMS = 1000, 50
PLAIN = (str, int, float, bool, Enum, datetime, date, UUID)
_TEXT = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_TEXT_IN_LIST = r"^[^,\u0000-\u001f\u007f-\u009f]*$"
_DATE = {"minLength": 10, "maxLength": 10, "pattern": "^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
_FORMATS: Mapping[str, Schema] = {"date-time": json_schemas.MOMENT, "uuid": json_schemas.UUID, "date": _DATE}
_BOOLEAN = re.compile("true|false")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_LITERALS = {"integer": _NUMBER, "number": _NUMBER, "boolean": _BOOLEAN}
_OWN_PATTERNS = {_TEXT, _TEXT_IN_LIST, *(schema["pattern"] for schema in _FORMATS.values())}
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def is_plain(hint: Any) -> bool:
    """Return whether a type can be read from one text, or from a list of texts."""
    if get_origin(hint) in (Annotated, list):
        return is_plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return all(is_plain(part) for part in get_args(hint) if part is not type(None))
    return get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, PLAIN))


def value_of_hint(hint: Any, default: Any = None) -> tuple[ValueType, bool]:
    """Return the value of a plain type, and whether it is a list, of which `read` converts one item."""
    required = _without_none(hint)
    adapter: TypeAdapter[Any] = TypeAdapter(required, config=_STRICT)
    generated = adapter.json_schema()
    schema: Schema = _inlined(generated, generated.pop("$defs", {}))
    schema.pop("title", None)
    many = schema.get("type") == "array"
    schema = _bounded(schema)
    if default is not None:
        schema["default"] = adapter.dump_python(default, mode="json")
    examples = schema.pop("examples", [None])
    if not many:
        return ValueType(schema, _reader(adapter, schema), examples[0]), False
    item: TypeAdapter[Any] = TypeAdapter(get_args(_without_annotation(required))[0], config=_STRICT)
    return ValueType(schema, _reader(item, schema["items"]), examples[0]), True


def _without_none(hint: Any) -> Any:
    """Remove None from a union: a URL has no null, so what may be None is left out instead."""
    if get_origin(hint) is Annotated:
        inner, *metadata = get_args(hint)
        return Annotated[(_without_none(inner), *metadata)]
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    return reduce(or_, (part for part in get_args(hint) if part is not type(None)))


def _without_annotation(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _inlined(schema: Any, named: Mapping[str, Schema]) -> Any:
    """Replace the references in a schema by what they refer to."""
    if isinstance(schema, list):
        return [_inlined(part, named) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(named[schema["$ref"].rpartition("/")[2]], named)
    return {key: _inlined(part, named) for key, part in schema.items()}


def _bounded(schema: Schema, text: str = _TEXT) -> Schema:
    if "anyOf" in schema:
        return schema | {"anyOf": [_bounded(part, text) for part in schema["anyOf"]]}
    if schema.get("type") == "integer" and "enum" in schema:
        return {"format": "int64", "minimum": min(schema["enum"]), "maximum": max(schema["enum"]), **schema}
    if "enum" in schema or "const" in schema:
        return schema
    match schema.get("type"):
        case "array":
            return {"maxItems": MAX_ITEMS, **schema, "items": _bounded(schema["items"], _TEXT_IN_LIST)}
        case "string":
            return {**(_FORMATS.get(schema.get("format", "")) or {"maxLength": MAX_TEXT, "pattern": text}), **schema}
        case "integer":
            minimum = {} if "exclusiveMinimum" in schema else {"minimum": -(2**63)}
            maximum = {} if "exclusiveMaximum" in schema else {"maximum": 2**63 - 1}
            return {"format": "int64", **minimum, **maximum, **schema}
        case _:
            return schema


def _reader(adapter: TypeAdapter[Any], schema: Schema) -> Callable[[str], Any]:
    alternatives: list[Schema] = schema.get("anyOf", [schema])
    json_types = {alternative.get("type") for alternative in alternatives}
    expected = f"must be {' or '.join(map(_description, alternatives))}"

    def read(text: str) -> Any:
        is_literal = any(type_ in _LITERALS and _LITERALS[type_].fullmatch(text) for type_ in json_types)
        candidates = [text] if is_literal else []
        if "string" in json_types or not is_literal:
            candidates.append(json.dumps(text))
        message = ""
        for candidate in candidates:
            try:
                value = adapter.validate_json(candidate)
            except ValidationError as error:
                message = message or error_message(error.errors(include_url=False)[0])
                continue
            if any(_fits(alternative, json.loads(candidate)) for alternative in alternatives):
                return value
        raise ValueError(message or expected)

    return read


def _fits(schema: Schema, value: Any) -> bool:
    """Return whether a value has the schema's type and keeps to the bounds that were added to it."""
    match schema.get("type"):
        case "string" if "enum" not in schema:
            short = isinstance(value, str) and len(value) <= schema.get("maxLength", len(value))
            pattern = schema.get("pattern", "")
            return short and (pattern not in _OWN_PATTERNS or bool(re.fullmatch(pattern, value)))
        case "integer":
            integer = type(value) is int
            return integer and bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
        case _:
            return True


def _description(schema: Schema) -> str:
    if schema.get("type") == "integer":
        return "an integer of 64 bits"
    if schema.get("format") in _FORMATS:
        return f"a {schema['format']} (RFC 3339)" if "date" in schema["format"] else f"a {schema['format']}"
    return f"text of at most {schema.get('maxLength')} characters, without control characters"
