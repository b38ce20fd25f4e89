"""The problem types that have a page at `/problems`: the codes of all error classes that a client can receive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from api.http.problem_details import STATUS, HttpError, status_of
from schema.engine.errors import DirectoryError, ServiceUnavailable
from schema.graphql.execution.errors import GraphQLRequestError, ParseFailed


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What a page says about a code. `status` is None for codes that only GraphQL reports."""

    code: str
    title: str
    status: int | None
    description: str
    remedy: str

    @property
    def slug(self) -> str:
        return self.code.lower().replace("_", "-")


def problem_types() -> list[ProblemType]:
    """Return the type of each code, sorted by status; those of GraphQL come last."""
    types = {error.code: _problem_type(error, status_of(error)) for error in _http_errors()}
    by_status = sorted(types.values(), key=lambda problem: problem.status or 0)
    return [*by_status, _problem_type(ParseFailed, None), _problem_type(GraphQLRequestError, None)]


def _problem_type(error: type[DirectoryError], status: int | None) -> ProblemType:
    return ProblemType(error.code, error.title, status, error.description, error.remedy)


def _http_errors() -> Iterator[type[DirectoryError]]:
    """Yield the error classes with a code of their own. ServiceUnavailable itself is never raised."""
    for error in (*STATUS, *HttpError.__subclasses__()):
        for error_type in (error, *error.__subclasses__()):
            if "code" in vars(error_type) and error_type is not ServiceUnavailable:
                yield error_type
