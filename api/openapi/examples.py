"""An example of what a schema describes, put together from the examples of its parts.

What a field's declaration gives as an example therefore shows everywhere the field does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from api.rest.endpoint import Schema

_UUID = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"
_MOMENT = "2026-11-22T09:30:00.000000Z"
_FORMATS = {
    "uuid": _UUID,
    "date-time": _MOMENT,
    "date": "2026-11-22",
    "time": "09:30:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}


class NoExample(Exception):
    """Nothing says what a value of this schema could look like."""


def examples_of(schema: Schema, named: Mapping[str, Schema]) -> dict[str, Any]:
    """Examples as OpenAPI wants them: the smallest that will do, and the whole. `$ref` refers to `named`."""
    try:
        whole, smallest = example_of(schema, named), example_of(schema, named, only_required=True)
    except NoExample:
        return {}
    return ({"smallest": {"value": smallest}} if smallest and smallest != whole else {}) | {"whole": {"value": whole}}


def example_of(schema: Schema, named: Mapping[str, Schema], *, only_required: bool = False) -> Any:
    """A value that fits, or `NoExample`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in named:
            raise NoExample
        # What refers to itself is shown once.
        rest = {key: it for key, it in named.items() if key != name}
        return example_of(named[name], rest, only_required=only_required)
    if schema.get("examples"):
        return schema["examples"][0]
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        return example_of(part, named)
    if "properties" in schema:
        return _object(schema, named, only_required)
    return _by_type(schema, named)


def _object(schema: Schema, named: Mapping[str, Schema], only_required: bool) -> dict[str, Any]:
    """With every member that must be there, and of the others those that have an example of their own."""
    required = schema.get("required", ())
    chosen = {
        name: part
        for name, part in schema["properties"].items()
        if name in required or (part.get("examples") and not only_required)
    }
    return {name: example_of(part, named) for name, part in chosen.items()}


def _by_type(schema: Schema, named: Mapping[str, Schema]) -> Any:
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {}
        case "array":
            return _array(schema, named)
        case "integer" | "number":
            least, most = schema.get("minimum", 1), schema.get("maximum", 1)
            return least if least > 1 else min(1, most)
        case "boolean":
            return True
        case "string":
            return _text(schema)
        case _:
            return None


def _array(schema: Schema, named: Mapping[str, Schema]) -> list[Any]:
    try:
        return [example_of(schema["items"], named)] if "items" in schema else []
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
