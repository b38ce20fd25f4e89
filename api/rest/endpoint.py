"""What an endpoint is: a method, a path, what it takes, what it answers, and the function that does it.

The OpenAPI document and the checks on a request are both made from these words, so neither can promise what the other
does not keep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from schema.engine.errors import DirectoryError
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory, UnitOfWork

Schema = dict[str, Any]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path, the query or the headers. `read` makes a value of the text, or raises `ValueError`."""

    name: str
    place: Literal["path", "query", "header"]
    schema: Schema
    read: Callable[[str], Any]
    description: str
    required: bool = False
    many: bool = False
    example: Any = None


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries. `read` makes a value of the bytes, or raises what is wrong with them."""

    schema: Schema
    read: Callable[[bytes], Any]
    media: tuple[str, ...] = (JSON,)
    required: bool = True
    examples: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """What a request is answered with when all goes well. No schema: no content."""

    status: int
    description: str
    schema: Schema | None = None
    headers: tuple[str, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Schema] = field(default_factory=dict)


class EndpointRequest(NamedTuple):
    """A request whose every part has been read: what an endpoint's function is given."""

    actor: Actor
    directory: Directory
    base: str
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    sent: Mapping[str, list[str]]
    url: str
    body: Any = None

    @property
    def unit_of_work(self) -> UnitOfWork:
        """A transaction of the actor's own."""
        return self.directory.unit_of_work(self.actor)


class EndpointResponse(NamedTuple):
    """Status, JSON and headers of an answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One operation of the REST door. A `confidential` answer may not be stored (`Cache-Control: no-store`)."""

    method: Method
    path: str
    name: str
    summary: str
    description: str
    tag: str
    replies: tuple[ResponseSpec, ...]
    call: Callable[[EndpointRequest], Awaitable[EndpointResponse]]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[type[DirectoryError], ...] = ()
    confidential: bool = False
