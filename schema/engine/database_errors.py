"""What the errors of both databases mean to a client; each driver decides which of its errors means what."""

from __future__ import annotations

from schema.engine.errors import Conflict, DatabaseUnavailable, FieldError, Overloaded, QueryTooComplex

QUEUE_FULL = "too many requests are waiting for the database"


def already_taken(column: str) -> Conflict:
    """A UNIQUE constraint on the column was violated."""
    return Conflict(f"{column} is already taken", [FieldError((column,), "is already taken", "taken")])


def broken_reference() -> Conflict:
    """A FOREIGN KEY constraint was violated."""
    return Conflict("other records refer to this record, or the record that it refers to does not exist")


def nested_too_deeply() -> QueryTooComplex:
    return QueryTooComplex("the query is nested too deeply for the database")


def queue_full() -> Overloaded:
    return Overloaded(QUEUE_FULL)


def closed() -> DatabaseUnavailable:
    return DatabaseUnavailable("the database connection is closed")
