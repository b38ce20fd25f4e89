"""Input models: validators for what clients may send, derived once from a model's fields.

An input model reads JSON or a Python dictionary and returns a dictionary of the members that were sent. Its types are
strict as in JSON Schema: `36.0` is an integer, `"36"` and `true` are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from schema.engine.errors import FieldError, ValidationFailed
from schema.engine.model.action import Action
from schema.engine.model.field import (
    EMAIL_PATTERN,
    MAX_INTEGER,
    MIN_INTEGER,
    TEXT_PATTERN,
    TIME_INPUT_PATTERN,
    ResourceField,
    unwrap_optional,
)
from schema.engine.model.policy import SCOPES_PATTERN
from schema.engine.model.resource import Relation, Resource
from schema.engine.model.strict_json import check_limits, check_unique_keys, parse_json

UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
MAX_ARGUMENT_LENGTH = 1000
MAX_SHOWN_NUMBER = 999_999
_PATTERNS = {
    TEXT_PATTERN: "must not be blank or contain control characters",
    EMAIL_PATTERN: "must be an address like name@example.com",
    UUID_PATTERN: "must be a UUID",
    SCOPES_PATTERN: "must be scopes such as read, write or users:read, separated by single spaces",
}
_TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "list_type": "an array",
}
_JSON_TYPES = {bool: "a boolean", type(None): "null", dict: "an object", list: "an array"}
_TIME = re.compile(TIME_INPUT_PATTERN)
_FIRST, _LAST = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"


class InputModel:
    """A validator for a set of fields; each has a type, and whether it is required."""

    def __init__(self, name: str, fields: Mapping[str, tuple[Any, bool]]) -> None:
        types = {key: Required[type] if required else NotRequired[type] for key, (type, required) in fields.items()}
        typed_dict = with_config(ConfigDict(extra="forbid", strict=True))(_typed_dict(name, types))
        self.names = tuple(fields)
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(typed_dict)

    def read_json(self, body: bytes) -> dict[str, Any]:
        """Validate a JSON text.

        Raises:
            BadRequest: it is not JSON.
            QueryTooComplex: it has more than `MAX_JSON_VALUES` values.
            ValidationFailed: with all field errors.
        """
        check_limits(body)
        try:
            data = self._adapter.validate_json(body)
        except ValidationError as error:
            parse_json(body)
            raise ValidationFailed.of(*field_errors_from(error.errors(include_url=False), self.names)) from None
        check_unique_keys(body, len(data))
        return data

    def read(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Validate a dictionary, which raises `ValidationFailed`."""
        try:
            return self._adapter.validate_python(data)
        except ValidationError as error:
            raise ValidationFailed.of(*field_errors_from(error.errors(include_url=False), self.names)) from None

    def json_schema(self) -> dict[str, Any]:
        return self._adapter.json_schema()


# Type checkers know `TypedDict` as a declaration only; here it is called.
_typed_dict: Callable[[str, Mapping[str, Any]], type] = TypedDict  # type: ignore[assignment]


@cache
def create_input(resource: Resource) -> InputModel:
    accepted = [field for field in resource.fields.values() if not field.read_only]
    return InputModel(
        f"{resource.name}Create", {field.name: (validator_type(field), field.required) for field in accepted}
    )


@cache
def update_input(resource: Resource) -> InputModel:
    """The input model of a change; null clears a field."""
    accepted = [field for field in resource.fields.values() if not field.read_only]
    return InputModel(f"{resource.name}Update", {field.name: (validator_type(field), False) for field in accepted})


@cache
def link_input(relation: Relation) -> InputModel:
    accepted = [field for field in relation.link_fields if not field.read_only]
    return InputModel(f"{relation.name}Link", {field.name: (validator_type(field), False) for field in accepted})


@cache
def action_input(resource: Resource, action: Action) -> InputModel:
    """The input model of an action's parameters. One that is named like a field has the field's bounds."""
    fields = {
        name: (_argument_type(resource.fields.get(name), annotation), default is ...)
        for name, (annotation, default) in action.parameters.items()
    }
    return InputModel(action.name, fields)


def validator_type(field: ResourceField) -> Any:
    type = _non_null_type(field)
    return type | None if field.nullable else type


def normalize_time(text: str) -> str:
    """Convert an RFC 3339 time to UTC with microseconds; clamp it to the years 1 to 9999.

    Raises:
        ValueError: it is not an RFC 3339 time, or there is no such time.
    """
    if not _TIME.fullmatch(text):
        raise ValueError("must be an RFC 3339 time like 2026-11-22T09:30:00Z")
    try:
        time = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        return _FIRST if text.startswith("0001") else _LAST
    except ValueError as error:
        raise ValueError("must be an existing date and time") from error
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def field_errors_from(errors: Iterable[ErrorDetails], names: tuple[str, ...]) -> list[FieldError]:
    """Convert pydantic's errors."""
    return [FieldError(_path(error), _message(error, names), _code(error)) for error in errors]


def error_message(error: ErrorDetails) -> str:
    """Say what would be right, in place of pydantic's message."""
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "is required"
        case "string_pattern_mismatch":
            return _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
        case "value_error":
            return str(context["error"])
        case "string_unicode":
            return "must not contain lone surrogates"
        case "less_than_equal":
            return f"must be at most {context['le']}{_got(error['input'])}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}{_got(error['input'])}"
        case "string_too_short" | "string_too_long":
            return f"{_translated(error['msg'])}, got {len(error['input'])}"
        case type if type in _TYPES:
            return f"must be {_TYPES[type]}{_got(error['input'])}"
        case _:
            return _translated(error["msg"])


def _non_null_type(field: ResourceField) -> Any:
    if field.kind == "integer":
        return Annotated[
            int, Field(strict=True, ge=field.minimum, le=field.maximum), BeforeValidator(_float_to_integer)
        ]
    if field.kind == "boolean":
        return bool
    if field.kind == "enum":
        return Literal[tuple(choice.value for choice in field.choices)]
    if field.kind == "time":
        return Annotated[str, AfterValidator(normalize_time)]
    if field.kind == "id":
        return Annotated[str, StringConstraints(pattern=UUID_PATTERN, to_lower=True)]
    return Annotated[
        str, StringConstraints(min_length=field.min_length, max_length=field.max_length, pattern=field.pattern)
    ]


def _argument_type(field: ResourceField | None, annotation: Any) -> Any:
    """The annotated type of an action's parameter, with bounds for text and integers."""
    inner, nullable = unwrap_optional(annotation)
    if inner is int:
        minimum, maximum = (field.minimum, field.maximum) if field else (MIN_INTEGER, MAX_INTEGER)
        inner = Annotated[int, Field(strict=True, ge=minimum, le=maximum), BeforeValidator(_float_to_integer)]
    elif inner is str and field:
        inner = _non_null_type(field)
    elif inner is str:
        inner = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ARGUMENT_LENGTH, pattern=TEXT_PATTERN)]
    return inner | None if nullable else inner


def _float_to_integer(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part for part in error["loc"] if not (isinstance(part, str) and part.startswith("function-")))


def _message(error: ErrorDetails, names: tuple[str, ...]) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown field; fields: {', '.join(names) or 'none'}"
    return error_message(error)


def _got(value: Any) -> str:
    """Show a short number; of null, booleans, objects and arrays name the JSON type.

    Text may be a secret, and a long number may identify a person.
    """
    if type(value) in (int, float):
        return f", got {value}" if abs(value) <= MAX_SHOWN_NUMBER else ""
    json_type = _JSON_TYPES.get(type(value))
    return f", got {json_type}" if json_type else ""


def _translated(message: str) -> str:
    """Turn “Input should be …” into “must be …”."""
    _, should, rest = message.partition(" should ")
    return f"must {rest}" if should else message[:1].lower() + message[1:]


def _code(error: ErrorDetails) -> str:
    known = {"missing": "required", "extra_forbidden": "unknown", "value_error": "invalid"}
    return known.get(error["type"], error["type"])
