"""The links between operations: which parameters of another operation a response or a request gives the values for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.rest.endpoint import Endpoint, ResponseSpec
from api.rest.json_schemas import created_name, reference
from api.rest.parameters import Schema
from schema.engine.model.resource import Relation, Resource

Expressions = Mapping[str, str]


def operation_links(
    endpoint: Endpoint, response: ResponseSpec, endpoints: Sequence[Endpoint], resources: Sequence[Resource]
) -> dict[str, Any]:
    """Return the links of one response, by the operation that each leads to."""
    links: dict[str, Schema] = {}
    for resource in resources:
        if response.schema in (reference(resource.name), reference(created_name(resource))):
            links |= _by_id(f"/{resource.plural}/{{id}}", "$response.body#/id", endpoint, endpoints)
        if response.schema == reference(f"{resource.name}Page"):
            links |= _by_id(f"/{resource.plural}/{{id}}", "$response.body#/items/0/id", endpoint, endpoints)
        for relation in resource.relations.values():
            if _is_item(endpoint, resource, relation):
                links |= _same_path(endpoint, endpoints)
    if any(parameter.name == "after" for parameter in endpoint.parameters):
        links["next"] = _link(endpoint, _next_page(endpoint), "The next page, unless `next` is null.")
    return links


def _by_id(path: str, id: str, endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Link to the operations that take only the record's id."""
    return {
        other.name: _link(other, {"id": id})
        for other in endpoints
        if other.path.startswith(path) and other.path.count("{") == 1 and other is not endpoint
    }


def _is_item(endpoint: Endpoint, resource: Resource, relation: Relation) -> bool:
    return endpoint.path == f"/{resource.plural}/{{id}}/{relation.name}/{{{relation.remote_key}}}"


def _same_path(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Link to the other operations at the same path, unless it has been deleted."""
    if endpoint.method == "DELETE":
        return {}
    ids = {
        parameter.name: f"$request.path.{parameter.name}"
        for parameter in endpoint.parameters
        if parameter.location == "path"
    }
    return {
        other.name: _link(other, ids) for other in endpoints if other.path == endpoint.path and other is not endpoint
    }


def _next_page(endpoint: Endpoint) -> Expressions:
    """Repeat the request's parameters, because a cursor is valid only with the same sort and filters."""
    parameters = {
        parameter.name: f"$request.{parameter.location}.{parameter.name}"
        for parameter in endpoint.parameters
        if parameter.location in ("path", "query") and parameter.name != "before"
    }
    return {**parameters, "after": "$response.body#/next"}


def _link(to: Endpoint, parameters: Expressions, description: str = "") -> Schema:
    return {"operationId": to.name, "parameters": dict(parameters), "description": description or f"{to.summary}."}
