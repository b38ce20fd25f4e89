"""Errors as RFC 9457 problem documents, and the only dictionary from what went wrong to a status code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from api.rest.endpoint import EndpointResponse, Schema
from schema.engine.errors import (
    MAX_FIELD_ERRORS,
    BadRequest,
    Conflict,
    DatabaseUnavailable,
    DirectoryError,
    FieldError,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InvalidCredential,
    NotFound,
    Overloaded,
    QueryTooComplex,
    RequestError,
    ServiceUnavailable,
    Timeout,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)

MEDIA_TYPE = b"application/problem+json"
LONGEST, LONGEST_PATH = 4000, 300


class HttpError(RequestError):
    """What only HTTP can get wrong. `headers` go with the answer."""

    status: ClassVar[int]

    def __init__(self, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(detail)
        self.headers = tuple(headers)


class MethodNotAllowed(HttpError):
    """There is such a path, but not with this method."""

    code, title, status = "METHOD_NOT_ALLOWED", "Not with this method", 405


class NotAcceptable(HttpError):
    """The caller takes no media type that we have."""

    code, title, status = "NOT_ACCEPTABLE", "No answer in that form", 406


class RequestTimeout(HttpError):
    """The request did not arrive in time."""

    code, title, status = "REQUEST_TIMEOUT", "The request took too long to arrive", 408


class PayloadTooLarge(HttpError):
    """The body is larger than we take."""

    code, title, status = "PAYLOAD_TOO_LARGE", "The body is too large", 413


class UriTooLong(HttpError):
    """The URL is longer than we take."""

    code, title, status = "URI_TOO_LONG", "The URL is too long", 414


class UnsupportedMediaType(HttpError):
    """The body is in a form that we do not read."""

    code, title, status = "UNSUPPORTED_MEDIA_TYPE", "No body in that form", 415


class HeadersTooLarge(HttpError):
    """The headers are larger than we take."""

    code, title, status = "HEADERS_TOO_LARGE", "The headers are too large", 431


class WebSocketRefused(HttpError, BadRequest):
    """A WebSocket handshake of a version that is not supported; `headers` name the one that is (RFC 6455, 4.4)."""


class NotImplementedHere(HttpError):
    """HTTP that this server does not speak."""

    code, title, status = "NOT_IMPLEMENTED", "Not spoken here", 501


class VersionNotSupported(HttpError):
    """A version of HTTP that this server does not speak."""

    code, title, status = "HTTP_VERSION_NOT_SUPPORTED", "Not in that version of HTTP", 505


class TooManyRequests(HttpError):
    """The caller has asked too often of late."""

    code, title, status = "RATE_LIMITED", "Too many requests", 429


STATUS: dict[type[DirectoryError], int] = {
    DirectoryError: 500,
    BadRequest: 400,
    QueryTooComplex: 400,
    Unauthenticated: 401,
    InvalidCredential: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    RequestTimeout: 408,
    Conflict: 409,
    IdempotencyInProgress: 409,
    VersionMismatch: 412,
    PayloadTooLarge: 413,
    UriTooLong: 414,
    UnsupportedMediaType: 415,
    ValidationFailed: 422,
    IdempotencyMismatch: 422,
    TooManyRequests: 429,
    HeadersTooLarge: 431,
    ServiceUnavailable: 503,
    Overloaded: 503,
    DatabaseUnavailable: 503,
    Timeout: 503,
    NotImplementedHere: 501,
    VersionNotSupported: 505,
}

INTERNAL = DirectoryError("Something went wrong on our side. The request id will lead whoever runs this service to it.")


def answer(error: DirectoryError, path: str, request_id: str) -> EndpointResponse:
    """The problem document of an error, with its status and headers."""
    status = status_of(type(error))
    return EndpointResponse(status, orjson.dumps(document(error, status, path, request_id)), tuple(headers_for(error)))


def status_of(kind: type[DirectoryError]) -> int:
    """The status of a kind of error: its own, or that of the kind it is one of."""
    return next(STATUS[known] for known in kind.__mro__ if known in STATUS)


def document(error: DirectoryError, status: int, path: str, request_id: str) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        "type": type_of(error.code),
        "title": error.title,
        "status": status,
        "detail": error.detail[:LONGEST],
        "instance": quote(path[:LONGEST_PATH]),
        "code": error.code,
        "request_id": request_id,
        "errors": [_member(field_error) for field_error in error.field_errors[:MAX_FIELD_ERRORS]],
    }


def type_of(code: str) -> str:
    """The page about a kind of problem, which is its `type`."""
    return f"/problems/{code.lower().replace('_', '-')}"


def _member(field_error: FieldError) -> dict[str, str]:
    """One of its `errors`: where, what, and a code."""
    if field_error.place == "parameter":
        return {
            "parameter": str(field_error.path[0])[:LONGEST],
            "message": field_error.message[:LONGEST],
            "code": field_error.code,
        }
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in field_error.path)
    pointer = "".join(f"/{part}" for part in parts)
    return {"pointer": pointer[:LONGEST], "message": field_error.message[:LONGEST], "code": field_error.code}


def headers_for(error: DirectoryError) -> Iterable[tuple[bytes, bytes]]:
    """The headers that go with an error."""
    yield b"content-type", MEDIA_TYPE
    if isinstance(error, ServiceUnavailable):
        yield b"retry-after", str(error.retry_after).encode()
    if isinstance(error, Unauthenticated):
        yield b"www-authenticate", error.challenge.encode()
    if isinstance(error, HttpError):
        yield from error.headers


_SOME: Schema = {"type": "string", "maxLength": LONGEST, "pattern": r"^[\s\S]*$"}
PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {**_SOME, "format": "uri-reference", "description": "A page of ours about this kind of problem."},
        "title": {**_SOME, "description": "The kind of problem in a few words."},
        "status": {
            "type": "integer",
            "format": "int32",
            "minimum": 400,
            "maximum": 599,
            "description": "The HTTP status.",
        },
        "detail": {**_SOME, "description": "What went wrong this time."},
        "instance": {**_SOME, "format": "uri-reference", "description": "The path that was asked for."},
        "code": {
            "type": "string",
            "maxLength": 40,
            "pattern": "^[A-Z_]+$",
            "description": "The kind of problem, for programs.",
        },
        "request_id": {**_SOME, "description": "What the log knows this request by."},
        "errors": {
            "type": "array",
            "maxItems": MAX_FIELD_ERRORS,
            "description": "Each thing that is wrong with the request, and where.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {**_SOME, "description": "A JSON Pointer (RFC 6901) into the body."},
                    "parameter": {**_SOME, "description": "The name of a parameter."},
                    "message": {**_SOME, "description": "What is wrong there."},
                    "code": {**_SOME, "description": "What is wrong there, for programs."},
                },
                "required": ["message", "code"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id", "errors"],
    "additionalProperties": False,
}
