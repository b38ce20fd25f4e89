"""The problem responses of operations: which status codes each can return, with what they mean and an example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.http import problem_details
from api.http.problem_details import MAX_TEXT, HttpError, status_of
from api.openapi.headers import header_references
from api.rest.endpoint import Endpoint
from api.rest.json_schemas import closed_object
from api.rest.parameters import Schema
from schema.engine import errors
from schema.engine.errors import MAX_FIELD_ERRORS, DirectoryError, FieldError

ErrorType = type[DirectoryError]
ALWAYS: tuple[ErrorType, ...] = (
    errors.BadRequest,
    errors.Unauthenticated,
    errors.Forbidden,
    problem_details.NotAcceptable,
    problem_details.UriTooLong,
    errors.ValidationFailed,
    problem_details.TooManyRequests,
    DirectoryError,
    errors.Overloaded,
    errors.DatabaseUnavailable,
    errors.Timeout,
)
WITH_BODY: tuple[ErrorType, ...] = (
    errors.QueryTooComplex,
    problem_details.PayloadTooLarge,
    problem_details.UnsupportedMediaType,
)
HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept-Patch", "Accept-Post"),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
# The first error class with a status gives its component the name.
_NAMES = {
    status_of(error): error.code.title().replace("_", "")
    for error in reversed([*problem_details.STATUS, *HttpError.__subclasses__()])
}
# Example errors, where the description of the class would be too general.
_EXAMPLES: Mapping[str, DirectoryError] = {
    error.code: error
    for error in (
        errors.BadRequest("the cursor 'WyJhIl0' was not issued by this list with this sort and these filters"),
        errors.ValidationFailed.of(FieldError(("age",), "must be at most 150, got 200", "less_than_equal")),
        errors.NotFound("there is no user 019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"),
        errors.Conflict("email is already taken", [FieldError(("email",), "is already taken", "taken")]),
        errors.VersionMismatch("the user has version 2 now: read it again"),
        problem_details.NotAcceptable("Accept: must allow application/json"),
        problem_details.UnsupportedMediaType("Content-Type: must be application/json, in UTF-8"),
        problem_details.INTERNAL_ERROR,
    )
}


def problem_responses(endpoint: Endpoint) -> dict[str, Any]:
    """Return references to the problems that an operation can return, by status."""
    statuses = sorted({status_of(error) for error in _errors(endpoint)})
    return {str(status): {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in statuses}


def problem_components(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return a response for each status that any of the operations can return."""
    by_status: dict[int, list[ErrorType]] = {}
    for error in dict.fromkeys(error for endpoint in endpoints for error in _errors(endpoint)):
        by_status.setdefault(status_of(error), []).append(error)
    return {_NAMES[status]: _response(status, group) for status, group in sorted(by_status.items())}


def _errors(endpoint: Endpoint) -> Iterable[ErrorType]:
    return (*ALWAYS, *endpoint.errors, *(WITH_BODY if endpoint.body else ()))


def _response(status: int, group: list[ErrorType]) -> dict[str, Any]:
    examples = {error.code: {"summary": error.title, "value": _example(error, status)} for error in group}
    content: Schema = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    return {
        "description": " ".join(f"{error.title}. {error.description}" for error in group),
        "headers": header_references(*HEADERS.get(status, ())),
        "content": {problem_details.MEDIA_TYPE.decode(): content},
    }


def _example(error: ErrorType, status: int) -> dict[str, Any]:
    example = _EXAMPLES.get(error.code) or error(error.description)
    return problem_details.problem_document(example, status, "/users", "4f1c2a9e5d7b4c36")


def _text(description: str, **keywords: Any) -> Schema:
    return {"type": "string", "maxLength": MAX_TEXT, "pattern": r"^[\s\S]*$", **keywords, "description": description}


PROBLEM = closed_object(
    {
        "type": _text("The page of the problem type on this server.", format="uri-reference"),
        "title": _text("The problem type in a few words."),
        "status": {
            "type": "integer",
            "format": "int32",
            "minimum": 400,
            "maximum": 599,
            "description": "The HTTP status.",
        },
        "detail": _text("What was wrong with this request."),
        "instance": _text("The path of the request.", format="uri-reference"),
        "code": _text("The problem type, for programs.", maxLength=40, pattern="^[A-Z_]+$"),
        "request_id": _text("The id of this request in the server's log."),
        "errors": {
            "type": "array",
            "maxItems": MAX_FIELD_ERRORS,
            "description": "Each thing that is wrong with the request, and where.",
            "items": closed_object(
                {
                    "pointer": _text("A JSON Pointer (RFC 6901) into the body."),
                    "parameter": _text("The name of a parameter."),
                    "message": _text("What is wrong there, and what is valid."),
                    "code": _text("What is wrong there, for programs."),
                },
                ["message", "code"],
            ),
        },
    },
    description="Problem details (RFC 9457).",
)
