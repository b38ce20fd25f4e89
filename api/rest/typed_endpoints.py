"""An endpoint of one's own: a typed function, whose signature is read once.

    @post("/greetings", summary="Greet somebody")
    async def greet(greeting: Greeting) -> Message: ...

- A parameter of a plain type (`str`, `int`, `bool`, `float`, a date, a UUID, an enum, a `Literal`, a list of these)
  comes from the path if it is named there, else from the query; a default makes it optional, `Annotated[int,
  Field(ge=1)]` bounds it. `hints.py` has the details.
- One parameter of any other type (a pydantic or SQLModel class, a dataclass, a dictionary) is the body.
- `Actor`, `Directory`, `Work` and `Call` are handed in as they are.
- What the function returns is the answer, in the form of its annotation; `None` is 204 and no content.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any, get_type_hints

from api.rest.bodies import described, reader, writer
from api.rest.endpoint import Body, Endpoint, EndpointRequest, EndpointResponse, Method, Parameter, ResponseSpec
from api.rest.type_hints import is_plain, value_of_hint
from schema.engine.errors import DirectoryError
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory, UnitOfWork

Handler = Callable[..., Awaitable[Any]]
Declare = Callable[[Handler], Endpoint]
Given = Callable[[EndpointRequest], Any]
Write = Callable[[Any], bytes]
BODILESS = ("GET", "DELETE")
_GIVEN: dict[type, Given] = {
    EndpointRequest: lambda call: call,
    Actor: lambda call: call.actor,
    Directory: lambda call: call.directory,
    UnitOfWork: lambda call: call.unit_of_work,
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
) -> Declare:
    """Make a typed function an endpoint.

    Its docstring is the description. `tag` groups it in the document (by default, under its module's name), `name` is
    its operationId (by default, the function's name in camelCase), `errors` are those that it raises itself.
    """

    def declare(function: Handler) -> Endpoint:
        hints = get_type_hints(function, include_extras=True)
        _check(function, path, hints)
        in_path = _names(path)
        sources = {key: _source(it, hints[key], in_path) for key, it in inspect.signature(function).parameters.items()}
        body = _only_body(function, method, sources)
        reply, write = _reply(method, status, hints["return"])
        return Endpoint(
            method=method,
            path=path,
            name=name or _camel(function.__name__),
            summary=summary,
            description=inspect.getdoc(function) or f"{summary}.",
            tag=tag or function.__module__.rpartition(".")[2],
            replies=(reply,),
            call=partial(_called, function, sources, reply.status, write),
            parameters=tuple(it for it in sources.values() if isinstance(it, Parameter)),
            body=body,
            errors=tuple(errors),
        )

    return declare


get = partial(endpoint, "GET")
post = partial(endpoint, "POST")
put = partial(endpoint, "PUT")
patch = partial(endpoint, "PATCH")
delete = partial(endpoint, "DELETE")


def endpoints_of(module: ModuleType) -> list[Endpoint]:
    """The endpoints that a module declares."""
    return [found for found in vars(module).values() if isinstance(found, Endpoint)]


def _check(function: Handler, path: str, hints: dict[str, Any]) -> None:
    """A programmer's mistakes end the import, not a request."""
    who = function.__qualname__
    assert inspect.iscoroutinefunction(function), f"{who}: an endpoint is an `async def`"
    assert re.fullmatch(r"(/[\w.~-]+|/\{[a-z_]\w*\})+", path), f"{who}: {path!r} is no path: like /things/{{id}}"
    assert "return" in hints, f"{who}: say what it answers, `-> None` if nothing"
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        assert not several, f"{who}: {name} is not one thing"
        assert name in hints, f"{who}: {name} has no type"
    for name in _names(path):
        plain = name in parameters and is_plain(hints[name])
        assert plain, f"{who}: the path's {{{name}}} is no plain parameter of the function"


def _source(parameter: inspect.Parameter, hint: Any, in_path: list[str]) -> Parameter | Body | Given:
    """Where a parameter's value comes from."""
    if given := next((give for kind, give in _GIVEN.items() if hint is kind), None):
        return given
    name, optional = parameter.name, parameter.default is not inspect.Parameter.empty
    if not is_plain(hint):
        schema, schemas = described(hint, "validation")
        return Body(schema, reader(hint), required=not optional, schemas=schemas)
    value, many = value_of_hint(hint, parameter.default if optional else None)
    return Parameter(
        name=name,
        place="path" if name in in_path else "query",
        schema=value.schema,
        read=value.read,
        description=value.schema.pop("description", f"{name.replace('_', ' ').capitalize()}."),
        required=name in in_path or not optional,
        many=many,
        example=value.example,
    )


def _only_body(function: Handler, method: Method, sources: dict[str, Any]) -> Body | None:
    bodies = {name: source for name, source in sources.items() if isinstance(source, Body)}
    names = ", ".join(bodies)
    assert len(bodies) <= 1, f"{function.__qualname__}: an endpoint has one body, and {names} are several"
    assert not bodies or method not in BODILESS, f"{function.__qualname__}: a {method} has no body, so what is {names}?"
    return next(iter(bodies.values()), None)


def _reply(method: Method, status: int | None, hint: Any) -> tuple[ResponseSpec, Write | None]:
    if hint is type(None):
        return ResponseSpec(status or 204, "Done; there is nothing more to say."), None
    schema, schemas = described(hint, "serialization")
    words = inspect.getdoc(hint) if isinstance(hint, type) and hint.__module__ != "builtins" else None
    status = status or (201 if method == "POST" else 200)
    return ResponseSpec(status, words or "The answer.", schema, schemas=schemas), writer(hint)


async def _called(
    function: Handler, sources: dict[str, Any], status: int, write: Write | None, call: EndpointRequest
) -> EndpointResponse:
    """The endpoint's function with its parameters filled in, and its result written down."""
    given: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, Body):
            if call.body is not None or source.required:
                given[name] = call.body
        elif not isinstance(source, Parameter):
            given[name] = source(call)
        elif name in call.path or name in call.query:
            given[name] = call.path[name] if source.place == "path" else call.query[name]
    result = await function(**given)
    return EndpointResponse(status, write(result) if write else b"")


def _names(path: str) -> list[str]:
    return re.findall(r"{(\w+)", path)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
