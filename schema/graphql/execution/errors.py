"""Errors as GraphQL tells them: the same codes and faults as at the other door, under `extensions`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from schema.engine.errors import DirectoryError, QueryTooComplex, RequestError

# It may stand in the middle: what was found instead comes behind it.
SUGGESTION = " Did you mean"
# Messages repeat what was sent, which may be long.
LONGEST = 1000
log = logging.getLogger("tandem.graphql")
INTERNAL = "Something went wrong on our side. The request id will lead whoever runs this service to it."


class RequestRefused(RequestError):
    """A request that cannot be run at all: it has errors, and no data."""

    code = "GRAPHQL_VALIDATION_FAILED"
    title = "Invalid GraphQL request"
    description = "The document does not fit the schema: a field, an argument or a variable is wrong."
    remedy = "Correct what “locations” points to. GraphiQL at /graphql completes names and shows the schema."

    def __init__(self, errors: Sequence[GraphQLError], code: str) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = _once([failure(error, code) for error in errors])

    def without_suggestions(self) -> RequestRefused:
        """The same for those who are not to learn the names there are."""
        for error in self.errors:
            error["message"] = _without_suggestions(error["message"])
        return self


class ParseFailed(RequestRefused):
    """The document is not valid GraphQL."""

    code = "GRAPHQL_PARSE_FAILED"
    title = "GraphQL syntax error"
    description = "The document is not valid GraphQL: a bracket or a name is misplaced."
    remedy = "Correct the position that “locations” points to."


def too_many(records: int, most: int) -> RequestRefused:
    """What to say of a request that could bring back too many records."""
    sentence = f"the query could bring back {records} records; {most} are allowed: ask for smaller pages"
    return RequestRefused([GraphQLError(sentence)], QueryTooComplex.code)


class NotAQuery(RequestError):
    """An operation that may not come this way."""

    code = "METHOD_NOT_ALLOWED"
    title = "Method not allowed"


def failure(error: GraphQLError, code: str = "GRAPHQL_VALIDATION_FAILED") -> dict[str, Any]:
    """One of the `errors` of an answer. What nobody foresaw goes to the log, and a fixed sentence to the caller."""
    cause = error.original_error
    made: dict[str, Any] = {"message": _cut(error.message)}
    extensions: dict[str, Any] = {"code": code, "errors": []}
    if isinstance(cause, DirectoryError):
        made["message"] = _cut(cause.detail)
        extensions = graphql_error(cause)
    elif cause is not None and not isinstance(cause, GraphQLError):
        log.error("a resolver failed at %s", error.path, exc_info=cause)
        made["message"], extensions["code"] = INTERNAL, "INTERNAL"
    if error.locations:
        made["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        made["path"] = error.path
    return {**made, "extensions": extensions}


def graphql_error(error: DirectoryError) -> dict[str, Any]:
    """An error's code and faults; and, for tools that go by graphql-java's classes, whether the request is to blame."""
    field_errors = [
        _fault(field_error.path, field_error.message, field_error.code) for field_error in error.field_errors
    ]
    blamed = {"classification": "ValidationError"} if isinstance(error, RequestError) else {}
    return {"code": error.code, "errors": field_errors, **blamed}


def _once(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each message once, with all the places that it is about: ten equal mistakes are no ten answers."""
    graphql_error: dict[str, dict[str, Any]] = {}
    for error in errors:
        first = graphql_error.setdefault(error["message"], error)
        if first is not error and "locations" in error:
            first.setdefault("locations", []).extend(error["locations"])
    return list(graphql_error.values())


def _without_suggestions(message: str) -> str:
    """A message without its questions. One that does not end was cut short, and hints all the same."""
    sentence, *suggestions = message.split(SUGGESTION)
    return sentence + "".join(suggestion.partition("?")[2] for suggestion in suggestions)


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[:LONGEST]}…"


def _fault(path: Sequence[str | int], message: str, code: str) -> dict[str, str]:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return {"pointer": "".join(f"/{part}" for part in parts), "message": message, "code": code}
