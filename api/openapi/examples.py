"""Examples of schemas, built from those of their parts, so that a field's example shows wherever the field does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from api.rest.parameters import Schema

_FORMATS = {
    "uuid": "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11",
    "date-time": "2026-11-22T09:30:00.000000Z",
    "date": "2026-11-22",
    "time": "09:30:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}


class NoExample(Exception):
    """No example can be built for a schema."""


def examples_of(schema: Schema, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """Return OpenAPI examples: the smallest valid value and a whole one. References are looked up in `schemas`."""
    try:
        whole, smallest = example_of(schema, schemas), example_of(schema, schemas, only_required=True)
    except NoExample:
        return {}
    examples = {"smallest": {"value": smallest}} if smallest and smallest != whole else {}
    return {**examples, "whole": {"value": whole}}


def example_of(schema: Schema, schemas: Mapping[str, Schema], *, only_required: bool = False) -> Any:
    """Return a valid value, or raise `NoExample`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in schemas:
            raise NoExample
        # Without itself, so that a recursive schema ends.
        others = {key: other for key, other in schemas.items() if key != name}
        return example_of(schemas[name], others, only_required=only_required)
    if schema.get("examples"):
        return schema["examples"][0]
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    if "enum" in schema:
        return schema["enum"][0]
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        return example_of(part, schemas)
    if "properties" in schema:
        return _object(schema, schemas, only_required)
    return _by_type(schema, schemas)


def _object(schema: Schema, schemas: Mapping[str, Schema], only_required: bool) -> dict[str, Any]:
    """Return the required members, and the others that have an example of their own."""
    required = schema.get("required", ())
    members = {
        name: part
        for name, part in schema["properties"].items()
        if name in required or (part.get("examples") and not only_required)
    }
    return {name: example_of(part, schemas) for name, part in members.items()}


def _by_type(schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    type_ = schema.get("type")
    match type_[0] if isinstance(type_, list) else type_:
        case "object":
            return {}
        case "array":
            return _array(schema, schemas)
        case "integer" | "number":
            least, most = schema.get("minimum", 1), schema.get("maximum", 1)
            return least if least > 1 else min(1, most)
        case "boolean":
            return True
        case "string":
            return _text(schema)
        case _:
            return None


def _array(schema: Schema, schemas: Mapping[str, Schema]) -> list[Any]:
    try:
        return [example_of(schema["items"], schemas)] if "items" in schema else []
    except NoExample:
        return []


def _text(schema: Schema) -> str:
    text = _FORMATS.get(schema.get("format", ""), "text")
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)):
        raise NoExample
    try:
        if not re.search(schema.get("pattern", ""), text):
            raise NoExample
    except re.error:
        raise NoExample from None
    return text
