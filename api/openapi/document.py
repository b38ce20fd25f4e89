"""The OpenAPI 3.1 document, made from the same endpoints and shapes that answer the requests."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.conditional_requests import HEADERS, described
from api.openapi import schema_names
from api.openapi.examples import examples_of
from api.openapi.links import operation_links
from api.openapi.problems import problem_components, problem_responses
from api.rest.endpoint import JSON, Endpoint, Parameter, ResponseSpec, Schema
from schema.engine.model.resource import Resource

TITLE = "Tandem"
VERSION = "0.1.0"
DESCRIPTION = """\
A user directory that a team runs itself: people, groups, and who belongs where.

Every record is shown whole and in one shape. Who wants fewer fields, or records inside records, asks GraphQL at
`/graphql` on the same server. What goes wrong is told as a problem document (RFC 9457).
"""


def document(
    endpoints: Sequence[Endpoint], resources: Sequence[Resource], topics: Mapping[str, str], *, development: bool
) -> dict[str, Any]:
    """The whole document. `topics` describes the tags that are no model's."""
    place = "local development" if development else "production"
    bearer: dict[str, list[str]] = {"bearer": []}
    tags = {resource.plural: resource.description for resource in resources} | dict(topics)
    _check(endpoints, tags)
    settled = schema_names.settled(endpoints)
    named = schema_names.named(settled, resources)
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
        "paths": _paths(settled, resources, named),
        "components": {
            "schemas": named,
            "responses": problem_components(settled),
            "headers": HEADERS,
            "securitySchemes": {"bearer": BEARER},
        },
    }


def route(document: Mapping[str, Any]) -> Route:
    """`/openapi.json`, as it is and packed."""
    plain = orjson.dumps(document)
    packed = gzip.compress(plain, mtime=0)
    digest = hashlib.sha256(plain).hexdigest()[:16]

    async def show(request: Request) -> Response:
        pack = bool(re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", request.headers.get("accept-encoding", "")))
        etag = f'"{digest}-gzip"' if pack else f'"{digest}"'
        headers = {"etag": etag, "cache-control": "no-cache", "vary": "Accept-Encoding"}
        if re.search(rf"^\*$|{etag}", request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        encoding = {"content-encoding": "gzip"} if pack else {}
        return Response(packed if pack else plain, headers=headers | encoding, media_type="application/json")

    return Route("/openapi.json", show)


def _check(endpoints: Sequence[Endpoint], tags: Mapping[str, str]) -> None:
    """A programmer's mistakes end the start, not a request."""
    names = [endpoint.name for endpoint in endpoints]
    places = [(endpoint.method, endpoint.path) for endpoint in endpoints]
    for endpoint in endpoints:
        assert names.count(endpoint.name) == 1, f"there are two endpoints called {endpoint.name}: give one a `name`"
        place = (endpoint.method, endpoint.path)
        assert places.count(place) == 1, f"there are two endpoints at {' '.join(place)}"
        assert endpoint.tag in tags, f"{endpoint.name}: nothing describes the tag {endpoint.tag}"
    for name, text in tags.items():
        assert text, f"the tag {name} has no description: give its module a docstring"


def _paths(endpoints: Sequence[Endpoint], resources: Sequence[Resource], named: Mapping[str, Schema]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        replies = {
            str(reply.status): _reply(reply, named, operation_links(endpoint, reply, endpoints, resources))
            for reply in endpoint.replies
        }
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, replies, named)
    return paths


def _operation(endpoint: Endpoint, replies: Schema, named: Mapping[str, Schema]) -> dict[str, Any]:
    made = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [_parameter(parameter) for parameter in endpoint.parameters],
        "responses": dict(sorted({**replies, **problem_responses(endpoint)}.items())),
    }
    if endpoint.body:
        content = _content(endpoint.body.schema, endpoint.body.examples, named)
        made["requestBody"] = {
            "description": "What is sent.",
            "required": endpoint.body.required,
            "content": dict.fromkeys(endpoint.body.media, content),
        }
    return made


def _parameter(parameter: Parameter) -> dict[str, Any]:
    # Among the schema's words, where no explorer takes an example for what the caller wants to send.
    examples = {} if parameter.example is None else {"examples": [parameter.example]}
    made = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": {**parameter.schema, **examples},
    }
    return made | ({"style": "form", "explode": True} if parameter.many else {})


def _reply(reply: ResponseSpec, named: Mapping[str, Schema], links: Schema) -> dict[str, Any]:
    made: dict[str, Any] = {"description": reply.description, "headers": described(*reply.headers)}
    if reply.schema is not None:
        made["content"] = {JSON: _content(reply.schema, reply.examples, named)}
    return {**made, "links": links} if links else made


def _content(schema: Schema, given: Mapping[str, Any], named: Mapping[str, Schema]) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in given.items()} or examples_of(schema, named)
    return {"schema": schema, **({"examples": examples} if examples else {})}


BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`tdm_…`) or a JSON Web Token, verified as RFC8725 advises.",
}
