"""The tree of what can go wrong.

    DirectoryError
    ├── Refused                 the request is at fault; the same request will fail again
    │   ├── BadRequest          it cannot be read
    │   ├── Invalid             it can be read and is wrong
    │   ├── Unauthenticated     nobody knows who asks
    │   │   └── InvalidCredential   the credential proves nothing
    │   ├── Forbidden           somebody asks who may not
    │   ├── NotFound            there is none, or none that the actor may see
    │   ├── Conflict            it contradicts what is stored
    │   │   ├── VersionMismatch the record has changed in the meantime
    │   │   └── UnderWay        the same request, under the same key, is not finished
    │   ├── KeyReused           its key was used before, for another request
    │   └── TooComplex          it asks for more than one request may
    └── Unavailable             the service is at fault; the same request may succeed later
        ├── Overloaded          too many requests wait
        ├── DatabaseUnavailable the database cannot be reached, or is locked or full
        │   ├── Damaged         its file holds what SQLite cannot make sense of
        │   └── Hopeless        … nor will it be: what is set is wrong
        └── Timeout             the answer was not there in time
            └── OverlongQuery   the database was still at work on it

Each leaf has a `code` that both doors show. Status codes are the doors' business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

Place = Literal["body", "parameter"]
# A request may have thousands; nobody reads more.
MAX_FIELD_ERRORS = 100


# The same sentences whichever database it is.
AWAY = "the database is not available"
LATE = "the database did not answer in time"
UNCOUNTED = "what is to be counted was not counted in time: leave the total out, or narrow the filter"
DISK = "the database is not available: its disk is full, or fails"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with a request: where (a path into the body, or a parameter's name), what, and a code."""

    path: tuple[str | int, ...]
    message: str
    code: str
    place: Place = "body"


class DirectoryError(Exception):
    """Anything the caller is told about. The text is written for the caller to read."""

    code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str, field_errors: Iterable[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field_errors = tuple(field_errors)


class RequestError(DirectoryError):
    """The request is at fault."""


class BadRequest(RequestError):
    """It cannot be read."""

    code = "BAD_REQUEST"
    title = "The request cannot be read"


class ValidationFailed(RequestError):
    """It can be read and is wrong."""

    code = "VALIDATION_FAILED"
    title = "The request is not valid"

    @classmethod
    def of(cls, *field_errors: FieldError) -> ValidationFailed:
        """An error whose sentence is made of its field_errors."""
        sentences = [
            f"{_spelled(field_error)}: {field_error.message}" for field_error in field_errors[:MAX_FIELD_ERRORS]
        ]
        more = [f"and {len(field_errors) - MAX_FIELD_ERRORS} more"] if len(field_errors) > MAX_FIELD_ERRORS else []
        return cls("; ".join((*sentences, *more)), field_errors[:MAX_FIELD_ERRORS])


class Unauthenticated(RequestError):
    """Nobody knows who asks. `challenge` says, in the words of RFC 6750, what would do."""

    code = "UNAUTHENTICATED"
    title = "Who is asking?"
    challenge: ClassVar[str] = "Bearer"


class InvalidCredential(Unauthenticated):
    """Somebody asks with a credential that proves nothing."""

    challenge = 'Bearer error="invalid_token"'


class Forbidden(RequestError):
    """Somebody asks who may not."""

    code = "FORBIDDEN"
    title = "Not allowed"


class NotFound(RequestError):
    """There is none, or none that the actor may see."""

    code = "NOT_FOUND"
    title = "Not found"


class Conflict(RequestError):
    """It contradicts what is stored."""

    code = "CONFLICT"
    title = "In conflict with what is stored"


class VersionMismatch(Conflict):
    """The record has changed in the meantime."""

    code = "VERSION_MISMATCH"
    title = "Changed in the meantime"


class IdempotencyInProgress(Conflict):
    """The same request, under the same key, is not finished."""

    code = "IDEMPOTENCY_IN_PROGRESS"
    title = "The same request is under way"


class IdempotencyMismatch(RequestError):
    """Its key was used before, for another request."""

    code = "IDEMPOTENCY_MISMATCH"
    title = "Another request under the same key"


class QueryTooComplex(RequestError):
    """It asks for more than one request may."""

    code = "QUERY_TOO_COMPLEX"
    title = "Too much for one request"


class ServiceUnavailable(DirectoryError):
    """The service is at fault; trying again later may help."""

    code = "UNAVAILABLE"
    title = "Not now"
    retry_after: ClassVar[int] = 1


class Overloaded(ServiceUnavailable):
    """Too many requests wait."""

    code = "OVERLOADED"
    title = "Too busy"


class DatabaseUnavailable(ServiceUnavailable):
    """The database cannot be reached, or is locked or full."""

    code = "DB_UNAVAILABLE"
    title = "The database is not available"


class DatabaseCorrupt(DatabaseUnavailable):
    """Its file holds what SQLite cannot make sense of."""


class DatabaseMisconfigured(DatabaseUnavailable):
    """What is set about the database is wrong: trying again does not help."""


class Timeout(ServiceUnavailable):
    """The answer was not there in time."""

    code = "TIMEOUT"
    title = "Out of time"


class QueryTimeout(Timeout):
    """The database was at work on it when the time was up: it did not merely wait."""


def _spelled(field_error: FieldError) -> str:
    return ".".join(map(str, field_error.path)) or "the body"
