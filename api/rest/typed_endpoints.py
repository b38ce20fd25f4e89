"""Custom endpoints: a typed function becomes an endpoint, by its signature.

    @post("/greetings", summary="Greet a person")
    async def greet(greeting: Greeting) -> Message: ...

- A parameter of a plain type (`str`, `int`, `bool`, `float`, a date, a UUID, an enum, a `Literal`, a list of these)
  is read from the path if it is named there, otherwise from the query; a default makes it optional, and
  `Annotated[int, Field(ge=1)]` bounds it. `type_hints` has the details.
- One parameter of another type (a pydantic or SQLModel class, a dataclass, a dictionary) is the body.
- Parameters of type `Actor`, `Directory`, `UnitOfWork` and `EndpointRequest` are passed by the framework.
- The return annotation is the schema of the response; `None` is 204 without content.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any, get_type_hints

from api.http.responses import HTTPResponse
from api.rest.bodies import json_reader, json_schema_of, json_writer
from api.rest.endpoint import Body, Endpoint, EndpointRequest, Method, ResponseSpec
from api.rest.parameters import Parameter
from api.rest.type_hints import is_plain, value_of_hint
from schema.engine.errors import DirectoryError
from schema.engine.model.names import camel_case
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.engine.operations.unit_of_work import UnitOfWork

Function = Callable[..., Awaitable[Any]]
Injected = Callable[[EndpointRequest], Any]
Write = Callable[[Any], bytes]
WITHOUT_BODY = ("GET", "DELETE")
_INJECTED: dict[type, Injected] = {
    EndpointRequest: lambda request: request,
    Actor: lambda request: request.actor,
    Directory: lambda request: request.directory,
    UnitOfWork: lambda request: request.unit_of_work,
}


def endpoint(
    method: Method,
    path: str,
    *,
    summary: str,
    status: int | None = None,
    tag: str = "",
    name: str = "",
    errors: Iterable[type[DirectoryError]] = (),
) -> Callable[[Function], Endpoint]:
    """Return a decorator that makes a typed function an endpoint, with its docstring as the description.

    Args:
        status: of success; by default 201 for POST, 204 without content, otherwise 200.
        tag: the group in the OpenAPI document; by default the module's name.
        name: the operationId; by default the function's name in camelCase.
        errors: those that the function raises itself.
    """

    def declare(function: Function) -> Endpoint:
        hints = get_type_hints(function, include_extras=True)
        _check(function, path, hints)
        path_names = _path_names(path)
        sources = {
            key: _source(parameter, hints[key], path_names)
            for key, parameter in inspect.signature(function).parameters.items()
        }
        response, write = _response(method, status, hints["return"])
        return Endpoint(
            method=method,
            path=path,
            name=name or camel_case(function.__name__),
            summary=summary,
            description=inspect.getdoc(function) or f"{summary}.",
            tag=tag or function.__module__.rpartition(".")[2],
            parameters=tuple(source for source in sources.values() if isinstance(source, Parameter)),
            body=_body(function, method, sources),
            responses=(response,),
            errors=tuple(errors),
            handler=partial(_call, function, sources, response.status, write),
        )

    return declare


get = partial(endpoint, "GET")
post = partial(endpoint, "POST")
put = partial(endpoint, "PUT")
patch = partial(endpoint, "PATCH")
delete = partial(endpoint, "DELETE")


def endpoints_of(module: ModuleType) -> list[Endpoint]:
    return [value for value in vars(module).values() if isinstance(value, Endpoint)]


def _check(function: Function, path: str, hints: dict[str, Any]) -> None:
    """Stop the import on a programming error, before any request."""
    name = function.__qualname__
    assert inspect.iscoroutinefunction(function), f"{name}: an endpoint must be an `async def`"
    assert re.fullmatch(r"(/[\w.~-]+|/\{[a-z_]\w*\})+", path), (
        f"{name}: the path must be like /things/{{id}}, got {path!r}"
    )
    assert "return" in hints, f"{name}: must have a return annotation; `-> None` for no content"
    parameters = inspect.signature(function).parameters
    for key, parameter in parameters.items():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert not variadic, f"{name}: {key} must not be variadic"
        assert key in hints, f"{name}: {key} must have an annotation"
    for key in _path_names(path):
        plain = key in parameters and is_plain(hints[key])
        assert plain, f"{name}: {{{key}}} in the path must be a parameter of a plain type"


def _path_names(path: str) -> list[str]:
    return re.findall(r"{(\w+)", path)


def _source(parameter: inspect.Parameter, hint: Any, path_names: list[str]) -> Parameter | Body | Injected:
    """Return where a parameter's value comes from."""
    if injected := next((inject for type_, inject in _INJECTED.items() if hint is type_), None):
        return injected
    name, optional = parameter.name, parameter.default is not inspect.Parameter.empty
    if not is_plain(hint):
        schema, schemas = json_schema_of(hint, "validation")
        return Body(schema, json_reader(hint), required=not optional, schemas=schemas)
    value, many = value_of_hint(hint, parameter.default if optional else None)
    return Parameter(
        name=name,
        location="path" if name in path_names else "query",
        schema=value.schema,
        read=value.read,
        description=value.schema.pop("description", f"{name.replace('_', ' ').capitalize()}."),
        required=name in path_names or not optional,
        many=many,
        example=value.example,
    )


def _body(function: Function, method: Method, sources: dict[str, Any]) -> Body | None:
    bodies = {name: source for name, source in sources.items() if isinstance(source, Body)}
    names = ", ".join(bodies)
    assert len(bodies) <= 1, f"{function.__qualname__}: must have at most one body, got {names}"
    assert not bodies or method not in WITHOUT_BODY, (
        f"{function.__qualname__}: a {method} must have no body, got {names}"
    )
    return next(iter(bodies.values()), None)


def _response(method: Method, status: int | None, hint: Any) -> tuple[ResponseSpec, Write | None]:
    if hint is type(None):
        return ResponseSpec(status or 204, "Done."), None
    schema, schemas = json_schema_of(hint, "serialization")
    description = inspect.getdoc(hint) if isinstance(hint, type) and hint.__module__ != "builtins" else None
    status = status or (201 if method == "POST" else 200)
    return ResponseSpec(status, description or "The response.", schema, schemas=schemas), json_writer(hint)


async def _call(
    function: Function, sources: dict[str, Any], status: int, write: Write | None, request: EndpointRequest
) -> HTTPResponse:
    arguments: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, Body):
            if request.body is not None or source.required:
                arguments[name] = request.body
        elif not isinstance(source, Parameter):
            arguments[name] = source(request)
        elif name in request.path or name in request.query:
            arguments[name] = request.path[name] if source.location == "path" else request.query[name]
    result = await function(**arguments)
    return HTTPResponse(status, write(result) if write else b"")
