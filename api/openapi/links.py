"""What can be done next with what an operation has answered: the links between operations in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.openapi.schemas import created_name, reference
from api.rest.endpoint import Endpoint, ResponseSpec, Schema
from schema.engine.model.resource import Relation, Resource

Expressions = Mapping[str, str]


def operation_links(
    endpoint: Endpoint, reply: ResponseSpec, endpoints: Sequence[Endpoint], resources: Sequence[Resource]
) -> dict[str, Any]:
    """The links of one answer, by what each leads to."""
    links: dict[str, Schema] = {}
    for resource in resources:
        if reply.schema in (reference(resource.name), reference(created_name(resource))):
            links |= _with_id(f"/{resource.plural}/{{id}}", "$response.body#/id", endpoint, endpoints)
        if reply.schema == reference(f"{resource.name}Page"):
            links |= _with_id(f"/{resource.plural}/{{id}}", "$response.body#/items/0/id", endpoint, endpoints)
        for relation in resource.relations.values():
            if _is_about_one(endpoint, resource, relation):
                links |= _same_path(endpoint, endpoints)
    if any(parameter.name == "after" for parameter in endpoint.parameters):
        links["next"] = _link(endpoint, _next_page(endpoint), "The next page, unless `next` is null.")
    return links


def _with_id(path: str, id: str, endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """To all that can be done with a record by its id alone."""
    found = (it for it in endpoints if it.path.startswith(path) and it.path.count("{") == 1 and it is not endpoint)
    return {other.name: _link(other, {"id": id}) for other in found}


def _same_path(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """To all else that can be done at the same place, unless nothing is left there."""
    ids = {it.name: f"$request.path.{it.name}" for it in endpoint.parameters if it.place == "path"}
    found = (it for it in endpoints if it.path == endpoint.path and it is not endpoint and endpoint.method != "DELETE")
    return {other.name: _link(other, ids) for other in found}


def _is_about_one(endpoint: Endpoint, resource: Resource, relation: Relation) -> bool:
    return endpoint.path == f"/{resource.plural}/{{id}}/{relation.name}/{{{relation.far}}}"


def _next_page(endpoint: Endpoint) -> Expressions:
    """A cursor belongs to its list, so whatever else was asked goes along; what was not sent is not sent again."""
    same = {it.name: f"$request.{it.place}.{it.name}" for it in endpoint.parameters if it.place in ("path", "query")}
    return {**{name: it for name, it in same.items() if name != "before"}, "after": "$response.body#/next"}


def _link(to: Endpoint, parameters: Expressions, description: str = "") -> Schema:
    return {"operationId": to.name, "parameters": dict(parameters), "description": description or f"{to.summary}."}
