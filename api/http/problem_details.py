"""Problem details (RFC 9457): each error class's status code, and the document and headers that report an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from api.http.responses import HTTPResponse
from schema.engine.errors import (
    INTERNAL,
    MAX_FIELD_ERRORS,
    BadRequest,
    Conflict,
    DirectoryError,
    FieldError,
    Forbidden,
    IdempotencyMismatch,
    NotFound,
    QueryTooComplex,
    RequestError,
    ServiceUnavailable,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)

MEDIA_TYPE = b"application/problem+json"
MAX_TEXT, MAX_PATH = 4000, 300


class HttpError(RequestError):
    """An error that only HTTP has. `headers` are added to the response."""

    status: ClassVar[int]

    def __init__(self, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(detail)
        self.headers = tuple(headers)


class MethodNotAllowed(HttpError):
    code, title, status = "METHOD_NOT_ALLOWED", "Method not allowed", 405
    description = "The path exists, but does not support this method."
    remedy = "Use one of the methods in the header Allow."


class NotAcceptable(HttpError):
    code, title, status = "NOT_ACCEPTABLE", "Not acceptable", 406
    description = "The header Accept excludes every media type in which the response is available."
    remedy = "Accept application/json, or leave the header out."


class RequestTimeout(HttpError):
    code, title, status = "REQUEST_TIMEOUT", "Request not received in time", 408
    description = "The headers or the body did not arrive in time."
    remedy = "Send the request again, without pauses."


class PayloadTooLarge(HttpError):
    code, title, status = "PAYLOAD_TOO_LARGE", "Body too large", 413
    description = "The body is larger than this server accepts."
    remedy = "Send less at a time."


class UriTooLong(HttpError):
    code, title, status = "URI_TOO_LONG", "URL too long", 414
    description = "The URL is longer than this server accepts."
    remedy = "Send fewer values at a time, or use GraphQL, which takes them in a body."


class UnsupportedMediaType(HttpError):
    code, title, status = "UNSUPPORTED_MEDIA_TYPE", "Unsupported media type", 415
    description = "The body has a media type or an encoding that this endpoint does not accept."
    remedy = "Send JSON in UTF-8 with a Content-Type that the header Accept-Post or Accept-Patch lists."


class TooManyRequests(HttpError):
    code, title, status = "RATE_LIMITED", "Too many requests", 429
    description = "This client has sent more requests than its rate limit allows."
    remedy = "Retry after the number of seconds in the header Retry-After."


class HeadersTooLarge(HttpError):
    code, title, status = "HEADERS_TOO_LARGE", "Headers too large", 431
    description = "The headers together are larger than this server accepts."
    remedy = "Send fewer or shorter headers. Cookies are the usual cause; the APIs need none."


class NotImplementedHere(HttpError):
    code, title, status = "NOT_IMPLEMENTED", "Not implemented", 501
    description = "The request uses an unsupported part of HTTP: CONNECT, or a transfer coding other than chunked."
    remedy = "Send the body with a Content-Length or chunked."


class VersionNotSupported(HttpError):
    code, title, status = "HTTP_VERSION_NOT_SUPPORTED", "HTTP version not supported", 505
    description = "This server supports HTTP/1.1. HTTP/2 and HTTP/3 are left to the proxy in front of it."
    remedy = "Send the request as HTTP/1.1."


class WebSocketRefused(HttpError, BadRequest):
    """A WebSocket handshake of an unsupported version; `headers` name the supported one (RFC 6455, 4.4)."""

    status = 400


STATUS: dict[type[DirectoryError], int] = {
    BadRequest: 400,
    QueryTooComplex: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    VersionMismatch: 412,
    ValidationFailed: 422,
    IdempotencyMismatch: 422,
    DirectoryError: 500,
    ServiceUnavailable: 503,
}

INTERNAL_ERROR = DirectoryError(INTERNAL)


def problem_response(error: DirectoryError, path: str, request_id: str) -> HTTPResponse:
    """Report an error as a problem document, with its status and headers."""
    status = status_of(type(error))
    body = orjson.dumps(problem_document(error, status, path, request_id))
    return HTTPResponse(status, body, ((b"content-type", MEDIA_TYPE), *headers_for(error)))


def status_of(error_type: type[DirectoryError]) -> int:
    """Return the status code of an error class; a class without its own inherits that of its base class."""
    if issubclass(error_type, HttpError):
        return error_type.status
    return next(STATUS[base] for base in error_type.__mro__ if base in STATUS)


def problem_document(error: DirectoryError, status: int, path: str, request_id: str) -> dict[str, Any]:
    """Return the members of the problem document. Texts from the request are cut to a fixed length."""
    return {
        "type": problem_type(error.code),
        "title": error.title,
        "status": status,
        "detail": error.detail[:MAX_TEXT],
        "instance": quote(path[:MAX_PATH]),
        "code": error.code,
        "request_id": request_id,
        "errors": [_field_error(field_error) for field_error in error.field_errors[:MAX_FIELD_ERRORS]],
    }


def problem_type(code: str) -> str:
    """Return the URI of a problem type: the path of its page."""
    return f"/problems/{code.lower().replace('_', '-')}"


def headers_for(error: DirectoryError) -> Iterable[tuple[bytes, bytes]]:
    """Yield the headers that a response with this error needs, in any media type."""
    if isinstance(error, ServiceUnavailable):
        yield b"retry-after", str(error.retry_after).encode()
    if isinstance(error, Unauthenticated):
        yield b"www-authenticate", error.challenge.encode()
    if isinstance(error, HttpError):
        yield from error.headers


def _field_error(error: FieldError) -> dict[str, str]:
    """Render one of `errors`: a parameter's name or a JSON Pointer (RFC 6901), a message and a code."""
    message = {"message": error.message[:MAX_TEXT], "code": error.code}
    if error.location == "parameter":
        return {"parameter": str(error.path[0])[:MAX_TEXT], **message}
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in error.path)
    return {"pointer": "".join(f"/{part}" for part in parts)[:MAX_TEXT], **message}
