"""GraphQL errors with the same codes and field errors as in the REST API, under `extensions`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from schema.engine.errors import INTERNAL, DirectoryError, RequestError

# Where a suggestion begins in a message of graphql-core. Text may follow it.
SUGGESTION = " Did you mean"
# Characters. Messages repeat what was sent, which may be long.
MAX_MESSAGE_LENGTH = 1000
INTERNAL_ERROR = {"message": INTERNAL, "extensions": {"code": "INTERNAL", "errors": []}}
log = logging.getLogger("tandem.graphql")


class GraphQLRequestError(RequestError):
    """A request error (GraphQL specification, 7.1.2): the operation was not run, and there is no data."""

    code = "GRAPHQL_VALIDATION_FAILED"
    title = "Invalid GraphQL request"
    description = "The document does not fit the schema: a field, an argument or a variable is wrong."
    remedy = "Correct what “locations” points to. GraphiQL at /graphql completes names and shows the schema."

    def __init__(self, errors: Sequence[GraphQLError], code: str) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = _unique([formatted_error(error, code) for error in errors])

    def without_suggestions(self) -> GraphQLRequestError:
        """Remove suggestions from the messages, for clients that may not learn names of the schema."""
        for error in self.errors:
            error["message"] = _without_suggestions(error["message"])
        return self


class ParseFailed(GraphQLRequestError):
    code = "GRAPHQL_PARSE_FAILED"
    title = "GraphQL syntax error"
    description = "The document is not valid GraphQL: a bracket or a name is misplaced."
    remedy = "Correct the position that “locations” points to."


class QueryRequired(RequestError):
    """An operation other than a query, where only queries are allowed."""

    code = "METHOD_NOT_ALLOWED"
    title = "Method not allowed"


def formatted_error(error: GraphQLError, code: str = "GRAPHQL_VALIDATION_FAILED") -> dict[str, Any]:
    """Format one error for a response. The cause of an unexpected one goes to the log alone."""
    cause = error.original_error
    formatted: dict[str, Any] = {"message": _truncated(error.message)}
    extensions: dict[str, Any] = {"code": code, "errors": []}
    if isinstance(cause, DirectoryError):
        formatted["message"] = _truncated(cause.detail)
        extensions = error_extensions(cause)
    elif cause is not None and not isinstance(cause, GraphQLError):
        log.error("a resolver failed at %s", error.path, exc_info=cause)
        formatted["message"], extensions["code"] = INTERNAL, "INTERNAL"
    if error.locations:
        formatted["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        formatted["path"] = error.path
    return {**formatted, "extensions": extensions}


def directory_error(error: DirectoryError) -> dict[str, Any]:
    """Format an error that concerns a request as a whole."""
    return {"message": error.detail, "extensions": error_extensions(error)}


def error_extensions(error: DirectoryError) -> dict[str, Any]:
    """An error's code and field errors, and for client errors the `classification` that graphql-java's tools read."""
    errors = [
        {"pointer": _pointer(field_error.path), "message": field_error.message, "code": field_error.code}
        for field_error in error.field_errors
    ]
    classification = {"classification": "ValidationError"} if isinstance(error, RequestError) else {}
    return {"code": error.code, "errors": errors, **classification}


def _unique(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each message once, with the locations of all errors that have it."""
    unique: dict[str, dict[str, Any]] = {}
    for error in errors:
        first = unique.setdefault(error["message"], error)
        if first is not error and "locations" in error:
            first.setdefault("locations", []).extend(error["locations"])
    return list(unique.values())


def _without_suggestions(message: str) -> str:
    # A suggestion without its question mark was truncated, and is removed to the end.
    sentence, *suggestions = message.split(SUGGESTION)
    return sentence + "".join(suggestion.partition("?")[2] for suggestion in suggestions)


def _truncated(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[:MAX_MESSAGE_LENGTH]}…"


def _pointer(path: Sequence[str | int]) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
