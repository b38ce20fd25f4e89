"""What an operation can refuse, as the document tells it: the problems it may answer with, and what they look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.http import problem_details
from api.http.conditional_requests import described
from api.http.problem_pages import meaning_of
from api.rest.endpoint import Endpoint, Schema
from schema.engine import errors
from schema.engine.errors import DirectoryError, FieldError

Kind = type[DirectoryError]
ALWAYS: tuple[Kind, ...] = (
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
WITH_BODY: tuple[Kind, ...] = (
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
# By the most general of its kinds.
_NAMES = {status: kind.code.title().replace("_", "") for kind, status in reversed(problem_details.STATUS.items())}
# What the examples say, where the meaning of the code would be too general.
_SAMPLES: Mapping[str, DirectoryError] = {
    error.code: error
    for error in (
        errors.BadRequest("the cursor 'WyJhIl0' was not given by this list with this order and these filters"),
        errors.ValidationFailed.of(
            FieldError(("age",), "input should be less than or equal to 150", "less_than_equal")
        ),
        errors.NotFound("there is no user 019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"),
        errors.Conflict("that email is taken", [FieldError(("email",), "it is taken", "taken")]),
        errors.VersionMismatch("the user has version 2 by now, not the one expected: read it again"),
        problem_details.NotAcceptable("this is to be had as application/json"),
        problem_details.UnsupportedMediaType("a body is taken as application/json, in UTF-8"),
        problem_details.INTERNAL,
    )
}


def problem_responses(endpoint: Endpoint) -> dict[str, Any]:
    """The problems that an operation can answer with, by status."""
    statuses = sorted({problem_details.status_of(kind) for kind in _raised(endpoint)})
    return {str(status): {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in statuses}


def problem_components(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """A response for each status that any of the operations refuses with."""
    by_status: dict[int, list[Kind]] = {}
    for kind in dict.fromkeys(kind for endpoint in endpoints for kind in _raised(endpoint)):
        by_status.setdefault(problem_details.status_of(kind), []).append(kind)
    return {_NAMES[status]: _response(status, kinds) for status, kinds in sorted(by_status.items())}


def _raised(endpoint: Endpoint) -> Iterable[Kind]:
    return (*ALWAYS, *endpoint.errors, *(WITH_BODY if endpoint.body else ()))


def _response(status: int, kinds: list[Kind]) -> dict[str, Any]:
    shown = {kind.code: {"summary": kind.title, "value": _example(kind, status)} for kind in kinds}
    content: Schema = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": shown}
    return {
        "description": " ".join(f"{kind.title}. {meaning_of(kind)}" for kind in kinds),
        "headers": described(*HEADERS.get(status, ())),
        "content": {problem_details.MEDIA_TYPE.decode(): content},
    }


def _example(kind: Kind, status: int) -> dict[str, Any]:
    raised = _SAMPLES.get(kind.code) or kind(meaning_of(kind))
    return problem_details.document(raised, status, "/users", "4f1c2a9e5d7b4c36")
