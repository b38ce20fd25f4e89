"""What is accepted: a model's create and update faces, as validators made once from its fields.

A face reads JSON bytes or a Python dictionary and gives a dictionary of what was sent, nothing more. Its types are
strict in the way of JSON Schema: `36.0` is an integer, `"36"` and `true` are none.
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
_PATTERNS = {
    TEXT_PATTERN: "it may not be blank, nor hold control characters",
    EMAIL_PATTERN: "it has to look like name@example.com",
    UUID_PATTERN: "it has to be a UUID",
    SCOPES_PATTERN: "it has to be words like read, write or users:read, with one space between",
}
_MOMENT = re.compile(TIME_INPUT_PATTERN)
_FIRST, _LAST = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"


class InputModel:
    """Validates what is sent for some fields."""

    def __init__(self, name: str, fields: Mapping[str, tuple[Any, bool]]) -> None:
        kinds = {key: Required[kind] if required else NotRequired[kind] for key, (kind, required) in fields.items()}
        typed = with_config(ConfigDict(extra="forbid", strict=True))(_typed_dict(name, kinds))
        self.names = tuple(fields)
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(typed)

    def read_json(self, body: bytes) -> dict[str, Any]:
        """What the body holds.

        Raises:
            BadRequest: it is no JSON.
            TooComplex: it has more values than a body may have.
            Invalid: with a fault for each thing wrong.
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
        """The same for a dictionary."""
        try:
            return self._adapter.validate_python(data)
        except ValidationError as error:
            raise ValidationFailed.of(*field_errors_from(error.errors(include_url=False), self.names)) from None

    def json_schema(self) -> dict[str, Any]:
        """What is accepted, as JSON Schema."""
        return self._adapter.json_schema()


# A type checker takes `TypedDict` for a declaration; here it is a function.
_typed_dict: Callable[[str, Mapping[str, Any]], type] = TypedDict  # type: ignore[assignment]


@cache
def create_input(resource: Resource) -> InputModel:
    """What a new record is made of."""
    accepted = [field for field in resource.fields.values() if not field.read_only]
    return InputModel(
        f"{resource.name}Create", {field.name: (validator_type(field), field.required) for field in accepted}
    )


@cache
def update_input(resource: Resource) -> InputModel:
    """What can be changed of a record; null clears a field."""
    accepted = [field for field in resource.fields.values() if not field.read_only]
    return InputModel(f"{resource.name}Update", {field.name: (validator_type(field), False) for field in accepted})


@cache
def link_input(relation: Relation) -> InputModel:
    """What can be said of a link."""
    accepted = [field for field in relation.link_fields if not field.read_only]
    return InputModel(f"{relation.name}Link", {field.name: (validator_type(field), False) for field in accepted})


@cache
def action_input(resource: Resource, action: Action) -> InputModel:
    """What a model's own verb is given. A parameter that is called like a field has the field's bounds."""
    given = action.parameters.items()
    kinds = {name: (_argument(resource.fields.get(name), kind), default is ...) for name, (kind, default) in given}
    return InputModel(action.name, kinds)


def validator_type(field: ResourceField) -> Any:
    """The type that validates a field."""
    kind = _plain_kind(field)
    return kind | None if field.nullable else kind


def normalize_time(text: str) -> str:
    """A time as we spell it; `ValueError` unless it is RFC 3339. What lies beyond our years is their first or last."""
    if not _MOMENT.fullmatch(text):
        raise ValueError("a time is written as in 2026-11-22T09:30:00Z (RFC 3339)")
    try:
        read = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        return _FIRST if text.startswith("0001") else _LAST
    except ValueError as error:
        raise ValueError("there is no such time") from error
    return read.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def field_errors_from(errors: Iterable[ErrorDetails], names: tuple[str, ...]) -> list[FieldError]:
    """Pydantic's findings in our words."""
    return [FieldError(_path(error), _message(error, names), _code(error)) for error in errors]


def _plain_kind(field: ResourceField) -> Any:
    if field.kind == "integer":
        return Annotated[int, Field(strict=True, ge=field.minimum, le=field.maximum), BeforeValidator(_whole)]
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


def _argument(field: ResourceField | None, kind: Any) -> Any:
    """The type of a verb's parameter: as it is written, but that text and integers are bounded as everywhere."""
    inner, nullable = unwrap_optional(kind)
    if inner is int:
        least, greatest = (field.minimum, field.maximum) if field else (MIN_INTEGER, MAX_INTEGER)
        inner = Annotated[int, Field(strict=True, ge=least, le=greatest), BeforeValidator(_whole)]
    elif inner is str and field:
        inner = _plain_kind(field)
    elif inner is str:
        inner = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ARGUMENT_LENGTH, pattern=TEXT_PATTERN)]
    return inner | None if nullable else inner


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    return tuple(part for part in error["loc"] if not (isinstance(part, str) and part.startswith("function-")))


def _message(error: ErrorDetails, names: tuple[str, ...]) -> str:
    match error["type"]:
        case "missing":
            return "it is required"
        case "extra_forbidden":
            return f"there is no such field; there are {', '.join(names) or 'none'}"
        case "string_pattern_mismatch":
            return _PATTERNS.get(error["ctx"]["pattern"], f"it has to match {error['ctx']['pattern']}")
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def _code(error: ErrorDetails) -> str:
    known = {"missing": "required", "extra_forbidden": "unknown", "value_error": "invalid"}
    return known.get(error["type"], error["type"])
