"""What an endpoint is: a method, a path, what it takes, what it returns, and the function that handles it.

The checks on a request and the OpenAPI document follow from the same declaration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from api.http.responses import HTTPResponse
from api.rest.parameters import Parameter, Schema
from schema.engine.errors import DirectoryError
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.engine.operations.unit_of_work import UnitOfWork

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Body:
    """A request body. `read` converts its bytes, or raises a `RequestError`; `schema` refers to `schemas`."""

    schema: Schema
    read: Callable[[bytes], Any]
    media_types: tuple[str, ...] = (JSON,)
    required: bool = True
    examples: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """A successful response. Without a schema it has no content."""

    status: int
    description: str
    schema: Schema | None = None
    headers: tuple[str, ...] = ()
    schemas: Mapping[str, Schema] = field(default_factory=dict)


class EndpointRequest(NamedTuple):
    """A request whose parts have been read and checked, as the handler gets it.

    `path`, `query` and `body` are converted values; `query_texts` are the parameters as sent. `url_path` is the path
    below `root_path`.
    """

    actor: Actor
    directory: Directory
    root_path: str
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    query_texts: Mapping[str, list[str]]
    url_path: str
    body: Any = None

    @property
    def unit_of_work(self) -> UnitOfWork:
        """A new transaction of the actor."""
        return self.directory.unit_of_work(self.actor)


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One operation of the REST API. `name` is its operationId.

    A `confidential` response must not be stored (`Cache-Control: no-store`).
    """

    method: Method
    path: str
    name: str
    summary: str
    description: str
    tag: str
    responses: tuple[ResponseSpec, ...]
    handler: Callable[[EndpointRequest], Awaitable[HTTPResponse]]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[type[DirectoryError], ...] = ()
    confidential: bool = False
