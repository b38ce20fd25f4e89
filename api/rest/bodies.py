"""JSON bodies of typed endpoints: from a type to its schema, its reader and its writer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from api.rest.parameters import Schema
from schema.engine.errors import ValidationFailed
from schema.engine.model.input_models import field_errors_from
from schema.engine.model.strict_json import parse_json

Mode = Literal["validation", "serialization"]
REFERENCE = "#/components/schemas/{model}"


def json_schema_of(hint: Any, mode: Mode) -> tuple[Schema, dict[str, Schema]]:
    """Return a type's schema, and the named schemas it refers to. The schema of a class is a reference to its name."""
    schema = TypeAdapter(hint).json_schema(ref_template=REFERENCE, mode=mode, schema_generator=_SchemaGenerator)
    complete_schema(schema, describe_defaults=mode == "validation")
    named: dict[str, Schema] = schema.pop("$defs", {})
    if schema.get("type") != "object" or not isinstance(hint, type) or "title" not in schema:
        return schema, named
    return {"$ref": REFERENCE.format(model=hint.__name__)}, {**named, hint.__name__: schema}


def complete_schema(schema: Any, *, describe_defaults: bool = False) -> None:
    """Add integer formats, and move defaults into descriptions, in place.

    Client generators treat a member with a `default` as one that is always sent.
    """
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and {"minimum", "maximum"} <= schema.keys():
            fits = schema["minimum"] >= -(2**31) and schema["maximum"] < 2**31
            schema.setdefault("format", "int32" if fits else "int64")
        for name, member in schema.get("properties", {}).items():
            default = member.pop("default", None)
            if default is not None and describe_defaults:
                text = member.get("description", f"{name.replace('_', ' ').capitalize()}.")
                member["description"] = f"{text} Default: `{json.dumps(default)}`."
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            complete_schema(part, describe_defaults=describe_defaults)


def json_reader(hint: Any) -> Callable[[bytes], Any]:
    """Return a function that converts a body; it raises `BadRequest`, `QueryTooComplex` or `ValidationFailed`."""
    adapter, strict_adapter = TypeAdapter[Any](hint), _strict_adapter(hint)
    names = tuple(getattr(hint, "model_fields", ()))

    def read(body: bytes) -> Any:
        data = parse_json(body)
        with contextlib.suppress(ValidationError):
            return validated(body)
        # JSON Schema counts 36.0 as an integer.
        try:
            return validated(json.dumps(_with_integers(data)).encode())
        except ValidationError as error:
            raise ValidationFailed.of(*field_errors_from(error.errors(include_url=False), names)) from None

    def validated(body: bytes) -> Any:
        if strict_adapter is None:
            return adapter.validate_json(body, strict=True)
        strict_adapter.validate_json(body, strict=True)
        return adapter.validate_json(body)

    return read


def json_writer(hint: Any) -> Callable[[Any], bytes]:
    """Return a function that serialises a value, after converting it to the type if it is of another."""
    adapter: TypeAdapter[Any] = TypeAdapter(hint)

    def write(value: Any) -> bytes:
        if not (isinstance(hint, type) and isinstance(value, hint)):
            value = adapter.validate_python(value, from_attributes=True)
        return adapter.dump_json(value)

    return write


class _SchemaGenerator(GenerateJsonSchema):
    """Pydantic's generator, except that in output the members with a default are required, too."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "validation" or field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return field.get("serialization_exclude_if") is None


def _strict_adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return an adapter for a plain model with the same fields, if the class has its own `__init__`, as SQLModel's do.

    Pydantic does not validate those strictly.
    """
    if not getattr(hint, "__pydantic_custom_init__", False):
        return None
    assert not hint.model_config.get("table"), f"{hint.__name__} must not be a table: SQLModel does not validate tables"
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in hint.model_fields.items()}
    return TypeAdapter(
        create_model(hint.__name__, __config__=ConfigDict(extra=hint.model_config.get("extra")), **fields)
    )


def _with_integers(data: Any) -> Any:
    """Replace floats without a fraction by integers."""
    if isinstance(data, dict):
        return {key: _with_integers(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_with_integers(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() and abs(data) < 2**63 else data
