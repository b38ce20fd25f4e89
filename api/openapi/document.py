"""The OpenAPI 3.1 document, generated from the endpoints and resources that answer the requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.http.static_content import StaticContent
from api.openapi import schema_names
from api.openapi.examples import examples_of
from api.openapi.headers import HEADERS, header_references
from api.openapi.links import operation_links
from api.openapi.problems import problem_components, problem_responses
from api.rest.endpoint import JSON, Endpoint, ResponseSpec
from api.rest.parameters import Parameter, Schema
from schema.engine.model.resource import Resource

TITLE = "Tandem"
VERSION = "0.1.0"
SUMMARY = "A user directory: people, groups and memberships."
DESCRIPTION = """\
Every record is returned whole, with the same members each time. To select fields, or records inside records, use
GraphQL at `/graphql` on the same server. Errors are problem documents (RFC 9457).
"""
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key (`tdm_…`) or a JSON Web Token, verified as RFC8725 advises.",
}


def document(
    endpoints: Sequence[Endpoint], resources: Sequence[Resource], topics: Mapping[str, str], *, development: bool
) -> dict[str, Any]:
    """Return the document. `topics` maps the tags of custom endpoints to their descriptions."""
    environment = "local development" if development else "production"
    bearer: dict[str, list[str]] = {"bearer": []}
    tags = {resource.plural: resource.description for resource in resources} | dict(topics)
    _check(endpoints, tags)
    endpoints = schema_names.separate_inputs(endpoints)
    schemas = schema_names.named_schemas(endpoints, resources)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": VERSION,
            "summary": SUMMARY,
            "description": DESCRIPTION,
            "contact": {"name": "The operator of this server"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": f"This server, {environment} environment", "x-internal": "false"}],
        "security": [bearer, {}] if development else [bearer],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": _paths(endpoints, resources, schemas),
        "components": {
            "schemas": schemas,
            "responses": problem_components(endpoints),
            "headers": HEADERS,
            "securitySchemes": {"bearer": BEARER},
        },
    }


def route(document: Mapping[str, Any]) -> Route:
    """Return the route of `/openapi.json`."""
    content = StaticContent.of(orjson.dumps(document))

    async def get_document(request: Request) -> Response:
        return content.response(request.headers, "application/json", {"Cache-Control": "no-cache"})

    return Route("/openapi.json", get_document)


def _check(endpoints: Sequence[Endpoint], tags: Mapping[str, str]) -> None:
    """Stop at start on a programming error, before any request."""
    names = [endpoint.name for endpoint in endpoints]
    operations = [(endpoint.method, endpoint.path) for endpoint in endpoints]
    for endpoint in endpoints:
        assert names.count(endpoint.name) == 1, f"two endpoints have the name {endpoint.name}: `name` must be unique"
        operation = (endpoint.method, endpoint.path)
        assert operations.count(operation) == 1, f"two endpoints are declared for {' '.join(operation)}"
        assert endpoint.tag in tags, f"{endpoint.name}: the tag {endpoint.tag} must have a description"
    for name, text in tags.items():
        assert text, f"the tag {name} must have a description: the docstring of its module"


def _paths(
    endpoints: Sequence[Endpoint], resources: Sequence[Resource], schemas: Mapping[str, Schema]
) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        responses = {
            str(spec.status): _response(spec, schemas, operation_links(endpoint, spec, endpoints, resources))
            for spec in endpoint.responses
        }
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, responses, schemas)
    return paths


def _operation(endpoint: Endpoint, responses: Schema, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    operation = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": [endpoint.tag],
        "parameters": [_parameter(parameter) for parameter in endpoint.parameters],
        "responses": dict(sorted({**responses, **problem_responses(endpoint)}.items())),
    }
    if endpoint.body:
        content = _content(endpoint.body.schema, endpoint.body.examples, schemas)
        operation["requestBody"] = {
            "description": "The request body.",
            "required": endpoint.body.required,
            "content": dict.fromkeys(endpoint.body.media_types, content),
        }
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    # In the schema, where no explorer fills the example in as the value to send.
    examples = {} if parameter.example is None else {"examples": [parameter.example]}
    described = {
        "name": parameter.name,
        "in": parameter.location,
        "required": parameter.required,
        "description": parameter.description,
        "schema": {**parameter.schema, **examples},
    }
    return described | ({"style": "form", "explode": True} if parameter.many else {})


def _response(spec: ResponseSpec, schemas: Mapping[str, Schema], links: Schema) -> dict[str, Any]:
    response: dict[str, Any] = {"description": spec.description, "headers": header_references(*spec.headers)}
    if spec.schema is not None:
        response["content"] = {JSON: _content(spec.schema, {}, schemas)}
    return {**response, "links": links} if links else response


def _content(schema: Schema, declared: Mapping[str, Any], schemas: Mapping[str, Schema]) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in declared.items()} or examples_of(schema, schemas)
    return {"schema": schema, **({"examples": examples} if examples else {})}
