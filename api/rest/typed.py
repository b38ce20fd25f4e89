"""An endpoint of one's own: a typed function, whose signature is read once.

    @post("/greetings", summary="Greet somebody")
    async def greet(greeting: Greeting) -> Message: ...

- A parameter of a plain type (`str`, `int`, `bool`, `float`, an enum, a `Literal`, a list of these) comes from the path,
  if it is named there, else from the query; a default makes it optional, `Annotated[int, Field(ge=1)]` bounds it.
- One parameter of any other type (a pydantic or SQLModel class, a dataclass, a dictionary) is the body.
- `Actor`, `Directory`, `Work` and `Call` are handed in as they are.
- What the function returns is the answer, in the form of its annotation; `None` is 204 and no content.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from functools import partial
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from api.rest.endpoint import Answer, Body, Call, Endpoint, Method, Parameter, Reply, Schema
from schema.engine.database import Directory, Work
from schema.engine.errors import DirectoryError, Invalid
from schema.engine.faces import faults_of
from schema.engine.jsontext import strict
from schema.engine.policy import Actor

Handler = Callable[..., Awaitable[Any]]
Declare = Callable[[Handler], Endpoint]
REFERENCE = "#/components/schemas/{model}"
MOST_VALUES = 250
_PLAIN = (str, int, float, bool, Enum)
_GIVEN: dict[Any, Callable[[Call], Any]] = {
    Call: lambda call: call,
    Actor: lambda call: call.actor,
    Directory: lambda call: call.directory,
    Work: lambda call: call.work,
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
        answered = hints.pop("return", None)
        in_path = re.findall(r"{(\w+)", path)
        sources = {key: _source(key, it, hints[key], in_path) for key, it in inspect.signature(function).parameters.items()}
        bodies = [body for body in sources.values() if isinstance(body, Body)]
        assert len(bodies) <= 1, f"{function.__qualname__}: an endpoint has one body at most"
        reply, write, schemas = _reply(method, status, answered)
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
            body=bodies[0] if bodies else None,
            errors=tuple(errors),
            schemas={**schemas, **{key: it for body in bodies for key, it in body.schemas.items()}},
        )

    return declare


def endpoints_of(module: ModuleType) -> list[Endpoint]:
    """The endpoints that a module declares."""
    return [found for found in vars(module).values() if isinstance(found, Endpoint)]


get = partial(endpoint, "GET")
post = partial(endpoint, "POST")
put = partial(endpoint, "PUT")
patch = partial(endpoint, "PATCH")
delete = partial(endpoint, "DELETE")


async def _called(
    function: Handler, sources: dict[str, Any], status: int, write: Callable[[Any], bytes] | None, call: Call
) -> Answer:
    """The endpoint's function with its parameters filled in, and its result written down."""
    given: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, Body):
            given[name] = call.body
        elif not isinstance(source, Parameter):
            given[name] = source(call)
        elif name in call.path or name in call.query:
            given[name] = call.path[name] if source.place == "path" else call.query[name]
    result = await function(**given)
    return Answer(status, write(result) if write else b"")


def _source(name: str, parameter: inspect.Parameter, hint: Any, in_path: list[str]) -> Any:
    """Where a parameter's value comes from."""
    if hint in _GIVEN:
        return _GIVEN[hint]
    optional = parameter.default is not inspect.Parameter.empty
    if not _is_plain(hint):
        return _body(hint, required=not optional)
    adapter = TypeAdapter(hint)
    schema = adapter.json_schema(ref_template=REFERENCE)
    many = schema.get("type") == "array"
    if many:
        schema.setdefault("maxItems", MOST_VALUES)
    return Parameter(
        name=name,
        place="path" if name in in_path else "query",
        schema=schema,
        read=_reader(TypeAdapter(get_args(hint)[0]) if many else adapter),
        description=schema.pop("description", f"{name.replace('_', ' ').capitalize()}."),
        required=name in in_path or not optional,
        many=many,
    )


def _body(hint: Any, *, required: bool) -> Body:
    adapter: TypeAdapter[Any] = TypeAdapter(hint)

    def read(body: bytes) -> Any:
        try:
            value = adapter.validate_json(body, strict=True)
        except ValidationError as error:
            strict(body)
            names = tuple(getattr(hint, "model_fields", ()))
            raise Invalid.of(*faults_of(error.errors(include_url=False), names)) from None
        strict(body)
        return value

    schema, schemas = _described(adapter, hint, "validation")
    return Body(schema, read, required=required, schemas=schemas)


def _reply(method: Method, status: int | None, hint: Any) -> tuple[Reply, Callable[[Any], bytes] | None, dict[str, Schema]]:
    if hint in (None, type(None)):
        return Reply(status or 204, "Done; there is nothing more to say."), None, {}
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    schema, schemas = _described(adapter, hint, "serialization")
    words = inspect.getdoc(hint) if isinstance(hint, type) and hint.__module__ != "builtins" else None
    reply = Reply(status or (201 if method == "POST" else 200), words or "The answer.", schema)
    return reply, adapter.dump_json, schemas


def _described(
    adapter: TypeAdapter[Any], hint: Any, mode: Literal["validation", "serialization"]
) -> tuple[Schema, dict[str, Schema]]:
    """A type's schema, under its own name where it has one, and the schemas that it refers to."""
    made = adapter.json_schema(ref_template=REFERENCE, mode=mode)
    schemas: dict[str, Schema] = made.pop("$defs", {})
    if made.get("type") != "object" or not isinstance(hint, type) or "title" not in made:
        return made, schemas
    return {"$ref": REFERENCE.format(model=hint.__name__)}, {**schemas, hint.__name__: made}


def _reader(adapter: TypeAdapter[Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return adapter.validate_strings(text)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]["msg"]
            raise ValueError(fault[:1].lower() + fault[1:]) from None

    return read


def _is_plain(hint: Any) -> bool:
    """Whether a type can be read from one piece of text, or from several."""
    if get_origin(hint) is Annotated:
        return _is_plain(get_args(hint)[0])
    if get_origin(hint) is list:
        return _is_plain(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return True
    arguments = [part for part in get_args(hint) if part is not type(None)]
    if arguments and get_origin(hint) is not dict:
        return all(_is_plain(part) for part in arguments)
    return isinstance(hint, type) and issubclass(hint, _PLAIN)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
