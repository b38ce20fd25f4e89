"""Which schema has which name in the document: the models' faces, and what endpoints of one's own bring along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from api.http.problem_details import PROBLEM
from api.openapi import schemas
from api.rest.bodies import REFERENCE
from api.rest.endpoint import Endpoint, Schema
from schema.engine.model.resource import Resource

Named = Mapping[str, Schema]


def settled(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The endpoints, a schema that means one thing when taken and another when given called `…Input` where it is taken.

    A member with a default may be left out of what is sent, but is always answered.
    """
    split = _twofold(_taken(endpoints), _given(endpoints))
    return [_with_inputs(endpoint, split) for endpoint in endpoints]


def named(endpoints: Sequence[Endpoint], resources: Iterable[Resource]) -> dict[str, Schema]:
    """All schemas by their names; no two may share one."""
    resource = {"Problem": PROBLEM, **{name: it for resource in resources for name, it in _faces(resource).items()}}
    for endpoint in endpoints:
        for name, schema in (*_taken([endpoint]).items(), *_given([endpoint]).items()):
            assert resource.get(name, schema) == schema, f"{endpoint.name}: there is another {name} already"
            resource[name] = schema
    return resource


def _faces(resource: Resource) -> dict[str, Schema]:
    faces = {
        resource.name: schemas.read_schema(resource),
        f"{resource.name}Create": schemas.create_schema(resource),
        f"{resource.name}Update": schemas.update_schema(resource),
        f"{resource.name}Page": schemas.page_schema(resource.name, f"A page of {resource.plural}."),
    }
    if resource.once:
        faces[schemas.created_name(resource)] = schemas.created_schema(resource)
    for relation in resource.relations.values():
        if relation.many and relation.link_fields:
            faces[relation.item_name] = schemas.item_schema(relation)
            faces[f"{relation.item_name}Page"] = schemas.page_schema(relation.item_name, relation.description)
            if relation.owning:
                faces[f"{relation.item_name}Input"] = schemas.link_schema(relation)
    return faces


def _taken(endpoints: Iterable[Endpoint]) -> dict[str, Schema]:
    return {name: it for endpoint in endpoints if endpoint.body for name, it in endpoint.body.schemas.items()}


def _given(endpoints: Iterable[Endpoint]) -> dict[str, Schema]:
    return {name: it for endpoint in endpoints for reply in endpoint.replies for name, it in reply.schemas.items()}


def _twofold(taken: Named, given: Named) -> set[str]:
    both = taken.keys() & given.keys()
    found = {name for name in both if taken[name] != given[name]}
    while more := {name for name in both - found if _renamed(taken[name], found) != taken[name]}:
        found |= more
    return found


def _with_inputs(endpoint: Endpoint, split: set[str]) -> Endpoint:
    body = endpoint.body
    if body is None or not split:
        return endpoint
    mine = {_new(name, split): _renamed(schema, split) for name, schema in body.schemas.items()}
    return replace(endpoint, body=replace(body, schema=_renamed(body.schema, split), schemas=mine))


def _renamed(schema: Any, names: set[str]) -> Any:
    """A schema, its references to any of these names led to their `…Input`."""
    if isinstance(schema, list):
        return [_renamed(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return schema | {"$ref": REFERENCE.format(model=_new(schema["$ref"].rpartition("/")[2], names))}
    return {key: _renamed(part, names) for key, part in schema.items()}


def _new(name: str, names: set[str]) -> str:
    return f"{name}Input" if name in names else name
