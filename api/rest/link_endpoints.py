"""The endpoints of a link: one item of a relation's list, made, changed and cut from the side that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from api.openapi.schemas import UUID, reference
from api.rest.endpoint import Body, Endpoint, EndpointRequest, EndpointResponse, Parameter, ResponseSpec
from api.rest.list_parameters import item_of
from schema.engine.errors import Forbidden, NotFound
from schema.engine.model import input_models
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.operations import links

DONE = ResponseSpec(204, "Done; there is nothing more to say.")


def link_endpoints(resource: Resource, relation: Relation) -> Iterator[Endpoint]:
    """GET, PUT and DELETE of one member of a list."""
    path, parameters = _path(resource, relation)
    one, many = relation.singular, relation.name

    async def get(call: EndpointRequest) -> EndpointResponse:
        far = call.path[relation.far]
        return EndpointResponse(
            200, await links.get_link(call.unit_of_work, relation, call.path["id"], far, item_of(relation))
        )

    async def put(call: EndpointRequest) -> EndpointResponse:
        await links.link(call.unit_of_work, relation, call.path["id"], call.path[relation.far], call.body or {}, [])
        return EndpointResponse(204)

    async def remove(call: EndpointRequest) -> EndpointResponse:
        await links.unlink(call.unit_of_work, relation, call.path["id"], call.path[relation.far], [])
        return EndpointResponse(204)

    name = f"{resource.name}{relation.singular_pascal_name}"
    yield Endpoint(
        "GET", path, f"get{name}", f"Show a {one} of a {resource.singular}",
        f"One of the {resource.singular}'s {many}.",
        tag=resource.plural, call=get, parameters=parameters, errors=(NotFound,),
        replies=(ResponseSpec(200, f"The {one}.", reference(relation.item_name)),),
    )  # fmt: skip
    yield Endpoint(
        "PUT", path, f"put{name}", f"Add or change a {one} of a {resource.singular}",
        f"Afterwards the {one} belongs to the {resource.singular}, whether or not it did before. "
        "What is not sent stays.",
        tag=resource.plural, call=put, parameters=parameters, errors=(Forbidden, NotFound), replies=(DONE,),
        body=_body(relation),
    )  # fmt: skip
    yield Endpoint(
        "DELETE", path, f"remove{name}", f"Remove a {one} from a {resource.singular}",
        f"Afterwards the {one} does not belong to the {resource.singular}, whether or not it did before.",
        tag=resource.plural, call=remove, parameters=parameters, errors=(Forbidden, NotFound), replies=(DONE,),
    )  # fmt: skip


def _path(resource: Resource, relation: Relation) -> tuple[str, tuple[Parameter, ...]]:
    target = resource_of(relation.target)
    ids = ((resource, "id"), (target, relation.far))
    parameters = tuple(
        Parameter(name, "path", UUID, str.lower, f"The {it.singular}'s id.", True, example=it.fields["id"].example)
        for it, name in ids
    )
    return f"/{resource.plural}/{{id}}/{relation.name}/{{{relation.far}}}", parameters


def _body(relation: Relation) -> Body | None:
    if not any(not field.read_only for field in relation.link_fields):
        return None
    return Body(reference(f"{relation.item_name}Input"), input_models.link_input(relation).read_json, required=False)
