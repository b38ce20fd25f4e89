"""The OpenAPI 3.1 document, made from the same endpoints and shapes that answer the requests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.rest import problems, schemas
from api.rest.endpoint import Endpoint, Parameter, Reply, Schema
from schema.engine import errors
from schema.engine.shape import Shape

TITLE = "Tandem"
VERSION = "0.1.0"
DESCRIPTION = """\
A user directory that a team runs itself: people, groups, and who belongs where.

Every record is shown whole and in one shape. Who wants fewer fields, or records inside records, asks GraphQL at
`/graphql` on the same server. What goes wrong is told as a problem document (RFC 9457).
"""
ALWAYS: tuple[type[errors.DirectoryError], ...] = (
    errors.BadRequest, errors.Unauthenticated, errors.Forbidden, problems.NotAcceptable, problems.TooManyRequests,
    errors.DirectoryError, errors.Unavailable,
)  # fmt: skip
WITH_BODY = (problems.PayloadTooLarge, problems.UnsupportedMediaType)


def document(
    endpoints: Sequence[Endpoint], shapes: Sequence[Shape], topics: Mapping[str, str], *, development: bool
) -> dict[str, Any]:
    """The whole document. `topics` describes the tags that are no model's."""
    place = "local development" if development else "production"
    bearer: dict[str, list[str]] = {"bearer": []}
    tags = {made.plural: made.description for made in shapes} | dict(topics)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": VERSION,
            "summary": "People, groups, and who belongs where.",
            "description": DESCRIPTION,
            "contact": {"name": "Whoever runs this server"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": f"This server, {place} environment", "x-internal": "false"}],
        "security": [bearer, {}] if development else [bearer],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": _paths(endpoints),
        "components": {
            "schemas": _schemas(endpoints, shapes),
            "responses": _problems(endpoints),
            "headers": HEADERS,
            "securitySchemes": {"bearer": BEARER},
        },
    }


def route(document: Mapping[str, Any]) -> Route:
    """`/openapi.json`."""
    body = orjson.dumps(document)
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'

    async def show(request: Request) -> Response:
        headers = {"etag": etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    return Route("/openapi.json", show)


def _paths(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, endpoints)
    return paths


def _operation(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    replies = {str(reply.status): _reply(endpoint, reply, endpoints) for reply in endpoint.replies}
    refused = {status: {"$ref": f"#/components/responses/{name}"} for status, name in _refusals(endpoint).items()}
    made = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [_parameter(parameter) for parameter in endpoint.parameters],
        "responses": dict(sorted({**replies, **refused}.items())),
    }
    if endpoint.body:
        examples = {name: {"value": value} for name, value in endpoint.body.examples.items()}
        content = {"schema": endpoint.body.schema, **({"examples": examples} if examples else {})}
        made["requestBody"] = {
            "required": endpoint.body.required,
            "content": dict.fromkeys(endpoint.body.media, content),
        }
    return made


def _parameter(parameter: Parameter) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }
    if parameter.many:
        made |= {"style": "form", "explode": True}
    if parameter.example is not None:
        made["example"] = parameter.example
    return made


def _reply(endpoint: Endpoint, reply: Reply, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    made: dict[str, Any] = {"description": reply.description, "headers": _headers(*reply.headers)}
    if reply.schema is not None:
        examples = {name: {"value": value} for name, value in reply.examples.items()}
        content = {"schema": reply.schema, **({"examples": examples} if examples else {})}
        made["content"] = {"application/json": content}
    if links := _links(endpoint, reply, endpoints):
        made["links"] = links
    return made


def _links(endpoint: Endpoint, reply: Reply, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """From a new record to everything that can be done with it by its id."""
    if endpoint.method != "POST" or "Location" not in reply.headers:
        return {}
    below = f"{endpoint.path}/{{id}}"
    return {
        other.name: {
            "operationId": other.name,
            "parameters": {"path.id": "$response.body#/id"},
            "description": other.summary,
        }
        for other in endpoints
        if other.path.startswith(below) and other.path.count("{") == 1
    }


def _refusals(endpoint: Endpoint) -> dict[str, str]:
    """The problems that an operation can answer with, by status."""
    raised = [*ALWAYS, *endpoint.errors, *(WITH_BODY if endpoint.body else ())]
    if endpoint.body or any(parameter.place == "query" for parameter in endpoint.parameters):
        raised.append(errors.Invalid)
    return {str(problems.STATUS[error]): error.__name__ for error in raised}


def _problems(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """One reusable response for each problem that is named."""
    named = {name: int(status) for endpoint in endpoints for status, name in _refusals(endpoint).items()}
    return {name: _problem(name, status) for name, status in sorted(named.items())}


def _problem(name: str, status: int) -> dict[str, Any]:
    error = next(kind for kind in problems.STATUS if kind.__name__ == name)
    raised = error(f"{(error.__doc__ or '').strip()}")
    example = problems.document(raised, status, "/users", "4f1c2a9e5d7b4c36")
    more = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    return {
        "description": f"{error.title}. {raised.detail}",
        "headers": _headers(*more),
        "content": {
            "application/problem+json": {"schema": schemas.reference("Problem"), "examples": {name: {"value": example}}}
        },
    }


def _schemas(endpoints: Iterable[Endpoint], shapes: Sequence[Shape]) -> dict[str, Schema]:
    made: dict[str, Schema] = {"Problem": schemas.PROBLEM}
    for it in shapes:
        made[it.name] = schemas.read_face(it)
        made[f"{it.name}Create"] = schemas.create_face(it)
        made[f"{it.name}Update"] = schemas.update_face(it)
        made[f"{it.name}Page"] = schemas.page_face(it.name, f"A page of {it.plural}.")
        for relation in it.relations.values():
            if relation.many and relation.link_fields:
                made[relation.item_name] = schemas.item_face(relation)
                made[f"{relation.item_name}Page"] = schemas.page_face(relation.item_name, relation.description)
                if relation.owning:
                    made[f"{relation.item_name}Input"] = schemas.link_face(relation)
    for endpoint in endpoints:
        made |= endpoint.schemas
    return made


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*EVERYWHERE, *names)}


def _text(description: str, example: str, **words: Any) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": 2000, "pattern": r"^[ -~]*$", **words}
    return {"description": description, "schema": schema, "example": example}


EVERYWHERE = ("Access-Control-Allow-Origin", "RateLimit", "RateLimit-Policy", "X-Request-ID")
HEADERS: dict[str, Any] = {
    "Access-Control-Allow-Origin": _text("The page's origin, where pages of other sites are let in.", "https://app.example.org"),
    "ETag": _text("The record's version, as seen by this caller.", '"1"', pattern=r'^"[0-9]+(-public)?"$'),
    "Link": _text("The next and the previous page (RFC 8288), where there are any.", '</users?after=WzFd>; rel="next"', maxLength=16000),
    "Location": _text("Where the new record is.", "/users/019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"),
    "RateLimit": _text("How many requests are left, where they are limited.", '"default";r=599;t=60'),
    "RateLimit-Policy": _text("How many requests there may be, where they are limited.", '"default";q=600;w=60'),
    "Retry-After": {
        "description": "How many seconds to wait before trying again.",
        "schema": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 86400},
        "example": 1,
    },
    "WWW-Authenticate": _text("What would do (RFC 6750).", "Bearer"),
    "X-Request-ID": _text("What the log knows this request by.", "4f1c2a9e5d7b4c36"),
}
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`tdm_…`) or a JSON Web Token, verified as RFC8725 advises.",
}
