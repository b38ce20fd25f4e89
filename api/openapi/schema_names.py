"""The named schemas of the document: those of the models, and those that custom endpoints bring along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from api.openapi.problems import PROBLEM
from api.rest import json_schemas
from api.rest.bodies import REFERENCE
from api.rest.endpoint import Endpoint
from api.rest.parameters import Schema
from schema.engine.model.resource import Resource

Schemas = Mapping[str, Schema]


def separate_inputs(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Rename the input form of a type to `…Input` where it differs from its output form.

    They differ by members with a default: optional in a request, always present in a response.
    """
    names = _differing(_input_schemas(endpoints), _output_schemas(endpoints))
    return [_with_inputs(endpoint, names) for endpoint in endpoints]


def named_schemas(endpoints: Sequence[Endpoint], resources: Iterable[Resource]) -> dict[str, Schema]:
    """Return all schemas by name; two different schemas of one name are an error."""
    schemas = {"Problem": PROBLEM}
    for resource in resources:
        schemas |= _resource_schemas(resource)
    for endpoint in endpoints:
        for name, schema in (*_input_schemas([endpoint]).items(), *_output_schemas([endpoint]).items()):
            assert schemas.get(name, schema) == schema, (
                f"{endpoint.name}: two schemas have the name {name}: it must be unique"
            )
            schemas[name] = schema
    return schemas


def _resource_schemas(resource: Resource) -> dict[str, Schema]:
    schemas = {
        resource.name: json_schemas.read_schema(resource),
        f"{resource.name}Create": json_schemas.create_schema(resource),
        f"{resource.name}Update": json_schemas.update_schema(resource),
        f"{resource.name}Page": json_schemas.page_schema(resource.name, f"A page of {resource.plural}."),
    }
    if resource.shown_once:
        schemas[json_schemas.created_name(resource)] = json_schemas.created_schema(resource)
    for relation in resource.relations.values():
        if relation.many and relation.link_fields:
            page = json_schemas.page_schema(relation.item_name, relation.description)
            schemas |= {relation.item_name: json_schemas.item_schema(relation), f"{relation.item_name}Page": page}
            if relation.owning:
                schemas[f"{relation.item_name}Input"] = json_schemas.link_schema(relation)
    return schemas


def _input_schemas(endpoints: Iterable[Endpoint]) -> dict[str, Schema]:
    return {name: schema for endpoint in endpoints if endpoint.body for name, schema in endpoint.body.schemas.items()}


def _output_schemas(endpoints: Iterable[Endpoint]) -> dict[str, Schema]:
    specs = (spec for endpoint in endpoints for spec in endpoint.responses)
    return {name: schema for spec in specs for name, schema in spec.schemas.items()}


def _differing(inputs: Schemas, outputs: Schemas) -> set[str]:
    """Return the names that differ as input and output, by themselves or by what they refer to."""
    common = inputs.keys() & outputs.keys()
    names = {name for name in common if inputs[name] != outputs[name]}
    while more := {name for name in common - names if _renamed(inputs[name], names) != inputs[name]}:
        names |= more
    return names


def _with_inputs(endpoint: Endpoint, names: set[str]) -> Endpoint:
    body = endpoint.body
    if body is None or not names:
        return endpoint
    schemas = {_input_name(name, names): _renamed(schema, names) for name, schema in body.schemas.items()}
    return replace(endpoint, body=replace(body, schema=_renamed(body.schema, names), schemas=schemas))


def _renamed(schema: Any, names: set[str]) -> Any:
    """Return the schema with its references to any of the names changed to `…Input`."""
    if isinstance(schema, list):
        return [_renamed(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return schema | {"$ref": REFERENCE.format(model=_input_name(schema["$ref"].rpartition("/")[2], names))}
    return {key: _renamed(part, names) for key, part in schema.items()}


def _input_name(name: str, names: set[str]) -> str:
    return f"{name}Input" if name in names else name
