"""From a type to the JSON that a request carries or an answer brings: its schema, its reader and its writer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from api.rest.endpoint import Schema
from schema.engine.errors import ValidationFailed
from schema.engine.model.input_models import field_errors_of
from schema.engine.model.strict_json import strict

Mode = Literal["validation", "serialization"]
REFERENCE = "#/components/schemas/{model}"


def described(hint: Any, mode: Mode) -> tuple[Schema, dict[str, Schema]]:
    """A type's schema, under its own name where it has one, and all named schemas that belong to it."""
    made = TypeAdapter(hint).json_schema(ref_template=REFERENCE, mode=mode, schema_generator=_Schemas)
    reword(made, tell_defaults=mode == "validation")
    named: dict[str, Schema] = made.pop("$defs", {})
    if made.get("type") != "object" or not isinstance(hint, type) or "title" not in made:
        return made, named
    return {"$ref": REFERENCE.format(model=hint.__name__)}, {**named, hint.__name__: made}


class _Schemas(GenerateJsonSchema):
    """Pydantic's generator, but that an answer is known to have all members, those with a default as well."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Whether a member is always there."""
        if self.mode == "validation" or field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return field.get("serialization_exclude_if") is None


def reword(schema: Any, *, tell_defaults: bool = False) -> None:
    """Say what a declaration has no word for: how many bits an integer takes. And tell a default in the description.

    Generators of clients take a member with a `default` for one that is always sent.
    """
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and {"minimum", "maximum"} <= schema.keys():
            small = schema["minimum"] >= -(2**31) and schema["maximum"] < 2**31
            schema.setdefault("format", "int32" if small else "int64")
        for name, member in schema.get("properties", {}).items():
            default = member.pop("default", None)
            if default is not None and tell_defaults:
                words = member.get("description", f"{name.replace('_', ' ').capitalize()}.")
                member["description"] = f"{words} Unless it is sent, `{json.dumps(default)}`."
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            reword(part, tell_defaults=tell_defaults)


def reader(hint: Any) -> Callable[[bytes], Any]:
    """The function that makes a value of a body; it raises `BadRequest`, `TooComplex` or `Invalid`."""
    adapter, twin = TypeAdapter[Any](hint), _twin(hint)
    names = tuple(getattr(hint, "model_fields", ()))

    def read(body: bytes) -> Any:
        data = strict(body)
        with contextlib.suppress(ValidationError):
            return validated(body)
        # What JSON Schema calls an integer may be spelled 36.0.
        try:
            return validated(json.dumps(_whole(data)).encode())
        except ValidationError as error:
            raise ValidationFailed.of(*field_errors_of(error.errors(include_url=False), names)) from None

    def validated(body: bytes) -> Any:
        if twin is None:
            return adapter.validate_json(body, strict=True)
        twin.validate_json(body, strict=True)
        return adapter.validate_json(body)

    return read


def writer(hint: Any) -> Callable[[Any], bytes]:
    """The function that writes a value down; what is not of the type itself is made so first."""
    adapter: TypeAdapter[Any] = TypeAdapter(hint)

    def write(value: Any) -> bytes:
        if not (isinstance(hint, type) and isinstance(value, hint)):
            value = adapter.validate_python(value, from_attributes=True)
        return adapter.dump_json(value)

    return write


def _twin(hint: Any) -> TypeAdapter[Any] | None:
    """The same fields as a plain model, for classes with an `__init__` of their own, as SQLModel's: none is strict."""
    if not getattr(hint, "__pydantic_custom_init__", False):
        return None
    assert not hint.model_config.get("table"), f"{hint.__name__} is a table, and a table validates nothing"
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in hint.model_fields.items()}
    return TypeAdapter(
        create_model(hint.__name__, __config__=ConfigDict(extra=hint.model_config.get("extra")), **fields)
    )


def _whole(data: Any) -> Any:
    """The same data, floats without a fraction as the integers they stand for."""
    if isinstance(data, dict):
        return {key: _whole(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_whole(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() and abs(data) < 2**63 else data
