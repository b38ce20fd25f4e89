"""The error tree.

    DirectoryError
    ├── RequestError                    the request is wrong: sending it again fails again
    │   ├── BadRequest                  cannot be parsed
    │   ├── ValidationFailed            can be parsed, but has invalid values
    │   ├── Unauthenticated             no credential
    │   │   └── InvalidCredential       a credential that is unknown, expired, revoked or forged
    │   ├── Forbidden                   the actor may not do this
    │   ├── NotFound                    does not exist, or is hidden from the actor
    │   ├── Conflict                    contradicts stored data
    │   │   ├── VersionMismatch         the record has another version than expected
    │   │   └── IdempotencyInProgress   the first request with the same key is still running
    │   ├── IdempotencyMismatch         the key was used for a different request
    │   └── QueryTooComplex             exceeds a limit on one request
    └── ServiceUnavailable              the service cannot answer now: a retry may succeed
        ├── Overloaded                  too many requests wait
        ├── DatabaseUnavailable         unreachable, locked or full
        │   ├── DatabaseCorrupt         SQLite cannot read its file
        │   └── DatabaseMisconfigured   a setting is wrong: a retry does not help
        └── Timeout                     the deadline passed while the request waited
            └── QueryTimeout            the deadline passed while the database ran the query

Each class carries what clients read about it: `code`, `title`, `description` and `remedy`, from which the pages at
`/problems` and the OpenAPI document are generated. APIs map classes to status codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

Location = Literal["body", "parameter"]
MAX_FIELD_ERRORS = 100

# Where a failure has no message for the client; its cause goes to the log alone.
INTERNAL = "the server failed to process the request; report the request id to its operator, whose log has the cause"
# Messages that are the same for both databases.
DATABASE_UNAVAILABLE = "the database is not available"
DATABASE_TIMEOUT = "the database did not answer in time"
COUNT_TIMEOUT = "the total could not be counted in time: request the list without it, or narrow the filter"
DISK_FAILURE = "the database is not available: its disk is full or failing"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request. `path` leads into the body, or is the name of a parameter."""

    path: tuple[str | int, ...]
    message: str
    code: str
    location: Location = "body"


class DirectoryError(Exception):
    """An error that is reported to the client, with `detail` as the message."""

    code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Internal server error"
    description: ClassVar[str] = "The server failed to process the request. Its log has the cause."
    remedy: ClassVar[str] = "Report the request id to the operator of this server. A retry may or may not succeed."

    def __init__(self, detail: str, field_errors: Iterable[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field_errors = tuple(field_errors)


class RequestError(DirectoryError):
    """The request is wrong: sending it again fails again."""


class BadRequest(RequestError):
    code = "BAD_REQUEST"
    title = "Malformed request"
    description = (
        "The request cannot be parsed: invalid JSON or UTF-8, a cursor that this list did not issue, or a parameter "
        "or header that is repeated."
    )
    remedy = "Correct what “detail” names. Take cursors from “next”, and keep the sort and the filters they came with."


class ValidationFailed(RequestError):
    code = "VALIDATION_FAILED"
    title = "Invalid request"
    description = "A parameter or field does not exist, is missing, or has a value out of its bounds."
    remedy = "Correct each entry of “errors”: it names a parameter or points into the body, and says what is valid."

    @classmethod
    def of(cls, *field_errors: FieldError) -> ValidationFailed:
        """Build the error whose detail lists these field errors, the first `MAX_FIELD_ERRORS` of them."""
        sentences = [f"{_name(error)}: {error.message}" for error in field_errors[:MAX_FIELD_ERRORS]]
        if len(field_errors) > MAX_FIELD_ERRORS:
            sentences.append(f"and {len(field_errors) - MAX_FIELD_ERRORS} more")
        return cls("; ".join(sentences), field_errors[:MAX_FIELD_ERRORS])


class Unauthenticated(RequestError):
    """There is no credential. `challenge` is the value of `WWW-Authenticate` (RFC 6750)."""

    code = "UNAUTHENTICATED"
    title = "Authentication required"
    description = "The request has no credential, or one that is unknown, expired, revoked or forged."
    remedy = "Send a valid API key or token in the header “Authorization: Bearer …”."
    challenge: ClassVar[str] = "Bearer"


class InvalidCredential(Unauthenticated):
    """The credential is unknown, expired, revoked or forged."""

    challenge = 'Bearer error="invalid_token"'


class Forbidden(RequestError):
    code = "FORBIDDEN"
    title = "Permission denied"
    description = "The credential does not permit this operation, or the request filters or sorts by a hidden field."
    remedy = "Use a credential with the required role or scope, or leave out the fields that are named."


class NotFound(RequestError):
    code = "NOT_FOUND"
    title = "Not found"
    description = "Nothing exists at this path, or nothing that the credential may read."
    remedy = "Check the id and the path; paths do not end with a slash."


class Conflict(RequestError):
    code = "CONFLICT"
    title = "Conflict with stored data"
    description = "A value that must be unique is taken, or other records still refer to this one."
    remedy = "Choose another value, or change the other records first."


class VersionMismatch(Conflict):
    code = "VERSION_MISMATCH"
    title = "Version mismatch"
    description = "The record no longer has the version that If-Match (ifVersion in GraphQL) names."
    remedy = "Read the record again, and repeat the change against its current version."


class IdempotencyInProgress(Conflict):
    code = "IDEMPOTENCY_IN_PROGRESS"
    title = "Request with the same key in progress"
    description = "A request with this Idempotency-Key was received and has not finished."
    remedy = "Wait a moment and send the request again: it returns the response of the first."


class IdempotencyMismatch(RequestError):
    code = "IDEMPOTENCY_MISMATCH"
    title = "Idempotency key used for another request"
    description = "This Idempotency-Key was used before, for a request with other content."
    remedy = "Use a new key for each new request, and repeat a key only with the same request."


class QueryTooComplex(RequestError):
    code = "QUERY_TOO_COMPLEX"
    title = "Query too complex"
    description = (
        "The body has too many values, or the query is nested too deeply, selects too much, or could return too many "
        "records."
    )
    remedy = "Request less at a time: fewer values, smaller pages, fewer levels."


class ServiceUnavailable(DirectoryError):
    """The service cannot answer now: a retry may succeed. `retry_after` is in seconds."""

    code = "UNAVAILABLE"
    title = "Service unavailable"
    description = "The service cannot answer at the moment."
    remedy = "Retry after the number of seconds in the header Retry-After."
    retry_after: ClassVar[int] = 1


class Overloaded(ServiceUnavailable):
    code = "OVERLOADED"
    title = "Server overloaded"
    description = "More requests are waiting than this server can answer in time."


class DatabaseUnavailable(ServiceUnavailable):
    code = "DB_UNAVAILABLE"
    title = "Database unavailable"
    description = "The database is unreachable, locked or full. Nothing was changed."


class DatabaseCorrupt(DatabaseUnavailable):
    """SQLite cannot read its file."""


class DatabaseMisconfigured(DatabaseUnavailable):
    """A setting of the database is wrong: a retry does not help."""


class Timeout(ServiceUnavailable):
    code = "TIMEOUT"
    title = "Request timed out"
    description = "The response was not ready before the deadline."
    remedy = "Request less, or retry after the number of seconds in the header Retry-After."


class QueryTimeout(Timeout):
    """The deadline passed while the database ran the query."""


def _name(error: FieldError) -> str:
    return ".".join(map(str, error.path)) or "the body"
