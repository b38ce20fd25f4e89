"""Parameters of endpoints: their declaration, and how the path, the query and the headers are read by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from schema.engine.errors import BadRequest, FieldError, ValidationFailed

Schema = dict[str, Any]
# Longer names are no typing errors, and comparing them takes time.
MAX_SUGGESTED_NAME = 40
MAX_ENTITY_TAGS = 1000


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter. `read` converts its text, or raises `ValueError` with a message for the client.

    `many` parameters are lists: their schema is an array, and `read` converts one item.
    """

    name: str
    location: Literal["path", "query", "header"]
    schema: Schema
    read: Callable[[str], Any]
    description: str
    required: bool = False
    many: bool = False
    example: Any = None


class ParameterReader:
    def __init__(self, parameters: Iterable[Parameter]) -> None:
        declared = list(parameters)
        self._path = {parameter.name: parameter for parameter in declared if parameter.location == "path"}
        self._query = {parameter.name: parameter for parameter in declared if parameter.location == "query"}
        self._headers = {parameter.name.lower(): parameter for parameter in declared if parameter.location == "header"}
        self._any_required = any(parameter.required for parameter in self._query.values())

    def read(
        self, path: Mapping[str, str], query: Mapping[str, list[str]], headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values of the path and of the query; headers are checked only. Header names are in lower case.

        Raises:
            BadRequest: a single-valued parameter is sent more than once.
            ValidationFailed: parameters are unknown, missing or invalid; lists them all.
        """
        errors: list[FieldError] = []
        path_values = _values(self._path, {name: [text] for name, text in path.items()}, errors) if path else {}
        query_values = _values(self._query, query, errors) if query or self._any_required else {}
        for name, parameter in self._headers.items():
            if name in headers:
                _values({name: parameter}, {name: [headers[name]]}, errors)
        if errors:
            raise ValidationFailed.of(*errors)
        return path_values, query_values


def _values(
    declared: Mapping[str, Parameter], sent: Mapping[str, list[str]], errors: list[FieldError]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, texts in sent.items():
        parameter = declared.get(name)
        if parameter is None:
            errors.append(_error(name, _unknown(name, declared, suggest=not errors), "unknown"))
            continue
        try:
            values[name] = _list(parameter, texts) if parameter.many else _single(parameter, texts)
        except ValueError as error:
            errors.append(_error(parameter.name, str(error), "invalid"))
    for name, parameter in declared.items():
        if parameter.required and name not in sent:
            errors.append(_error(name, "is required", "required"))
    return values


def _single(parameter: Parameter, texts: list[str]) -> Any:
    if len(texts) > 1:
        message = "must not be sent more than once"
        raise BadRequest(f"{parameter.name}: {message}", [_error(parameter.name, message, "repeated")])
    return parameter.read(texts[0])


def _list(parameter: Parameter, texts: list[str]) -> list[Any]:
    items = [item for text in texts for item in text.split(",")]
    least, most = parameter.schema.get("minItems", 0), parameter.schema["maxItems"]
    if not least <= len(items) <= most:
        raise ValueError(f"must have {least} to {most} values, got {len(items)}")
    return [parameter.read(item) for item in items]


def _unknown(name: str, declared: Iterable[str], *, suggest: bool) -> str:
    names = list(declared)
    if not names:
        return "unknown parameter; this endpoint takes none"
    similar = get_close_matches(name, names, 1) if suggest and len(name) <= MAX_SUGGESTED_NAME else []
    hint = f'; did you mean "{similar[0]}"?' if similar else "."
    return f"unknown parameter{hint} Parameters: {', '.join(names)}"


def _error(name: str, message: str, code: str) -> FieldError:
    return FieldError((name,), message, code, "parameter")


def _entity_tags(text: str) -> str:
    # Not checked against a pattern: a tag that is not one of ours matches nothing.
    if len(text) > MAX_ENTITY_TAGS:
        raise ValueError(f"must have at most {MAX_ENTITY_TAGS} characters, got {len(text)}")
    return text


IF_MATCH = Parameter(
    name="If-Match",
    location="header",
    schema={"type": "string", "format": "entity-tags", "maxLength": MAX_ENTITY_TAGS},
    read=_entity_tags,
    description="Only if the record still has the version that one of these entity tags names; otherwise 412.",
    example='"1-9c3ae4d1"',
)
IF_NONE_MATCH = replace(
    IF_MATCH,
    name="If-None-Match",
    description="The entity tags of responses that the client has; 304 if one of them is current.",
)
