"""The endpoints of a link: get, add or change, and remove one item of a relation's list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from api.http.responses import HTTPResponse
from api.rest.endpoint import Body, Endpoint, EndpointRequest, ResponseSpec
from api.rest.json_schemas import UUID, reference
from api.rest.list_parameters import item_selection
from api.rest.parameters import Parameter
from schema.engine.errors import Forbidden, NotFound
from schema.engine.model import input_models
from schema.engine.model.names import pascal_case
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.operations import links

NO_CONTENT = ResponseSpec(204, "Done.")


def id_parameter(resource: Resource, name: str = "id") -> Parameter:
    """Declare a record's id in a path. Its format is not checked: a malformed id is a 404, like an unknown one."""
    return Parameter(
        name=name,
        location="path",
        schema=UUID,
        read=str.lower,
        description=f"The {resource.singular}'s id.",
        required=True,
        example=resource.fields["id"].example,
    )


def link_endpoints(resource: Resource, relation: Relation) -> Iterator[Endpoint]:
    """Yield GET, PUT and DELETE of one item of a list."""
    source, item, target_key = resource.singular, relation.singular, relation.remote_key
    endpoint = partial(
        Endpoint,
        path=f"/{resource.plural}/{{id}}/{relation.name}/{{{target_key}}}",
        tag=resource.plural,
        parameters=(id_parameter(resource), id_parameter(resource_of(relation.target), target_key)),
    )

    async def get_link(request: EndpointRequest) -> HTTPResponse:
        id, target_id = request.path["id"], request.path[target_key]
        link = await links.get_link(request.unit_of_work, relation, id, target_id, item_selection(relation))
        return HTTPResponse(200, link)

    async def put_link(request: EndpointRequest) -> HTTPResponse:
        id, target_id = request.path["id"], request.path[target_key]
        await links.link(request.unit_of_work, relation, id, target_id, request.body or {}, [])
        return HTTPResponse(204)

    async def remove_link(request: EndpointRequest) -> HTTPResponse:
        await links.unlink(request.unit_of_work, relation, request.path["id"], request.path[target_key], [])
        return HTTPResponse(204)

    yield endpoint(
        method="GET",
        name=f"get{resource.name}{pascal_case(relation.singular)}",
        summary=f"Get a {item} of a {source}",
        description=f"One of the {source}'s {relation.name}.",
        responses=(ResponseSpec(200, f"The {item}.", reference(relation.item_name)),),
        errors=(NotFound,),
        handler=get_link,
    )
    yield endpoint(
        method="PUT",
        name=f"put{resource.name}{pascal_case(relation.singular)}",
        summary=f"Add or change a {item} of a {source}",
        description=f"Adds the {item} to the {source}, or changes the fields that are sent if it is there already.",
        body=_body(relation),
        responses=(NO_CONTENT,),
        errors=(Forbidden, NotFound),
        handler=put_link,
    )
    yield endpoint(
        method="DELETE",
        name=f"remove{resource.name}{pascal_case(relation.singular)}",
        summary=f"Remove a {item} from a {source}",
        description=f"Removes the {item} from the {source}. Succeeds if it was not there.",
        responses=(NO_CONTENT,),
        errors=(Forbidden, NotFound),
        handler=remove_link,
    )


def _body(relation: Relation) -> Body | None:
    if all(field.read_only for field in relation.link_fields):
        return None
    return Body(reference(f"{relation.item_name}Input"), input_models.link_input(relation).read_json, required=False)
