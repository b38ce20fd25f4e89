"""The endpoints of a link: one item of a relation's list, made, changed and cut from the side that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator

from api.openapi.schemas import UUID, reference
from api.rest.endpoint import Answer, Body, Call, Endpoint, Parameter, Reply
from api.rest.list_parameters import item_of
from schema.engine.errors import Forbidden, NotFound
from schema.engine.model import input_models
from schema.engine.model.resource import Relation, Shape, shape
from schema.engine.operations import links

DONE = Reply(204, "Done; there is nothing more to say.")


def link_endpoints(made: Shape, relation: Relation) -> Iterator[Endpoint]:
    """GET, PUT and DELETE of one member of a list."""
    path, parameters = _path(made, relation)
    one, many = relation.singular, relation.name

    async def get(call: Call) -> Answer:
        far = call.path[relation.far]
        return Answer(200, await links.get_link(call.work, relation, call.path["id"], far, item_of(relation)))

    async def put(call: Call) -> Answer:
        await links.link(call.work, relation, call.path["id"], call.path[relation.far], call.body or {}, [])
        return Answer(204)

    async def remove(call: Call) -> Answer:
        await links.unlink(call.work, relation, call.path["id"], call.path[relation.far], [])
        return Answer(204)

    name = f"{made.name}{relation.singular_camel}"
    yield Endpoint(
        "GET", path, f"get{name}", f"Show a {one} of a {made.singular}", f"One of the {made.singular}'s {many}.",
        tag=made.plural, call=get, parameters=parameters, errors=(NotFound,),
        replies=(Reply(200, f"The {one}.", reference(relation.item_name)),),
    )  # fmt: skip
    yield Endpoint(
        "PUT", path, f"put{name}", f"Add or change a {one} of a {made.singular}",
        f"Afterwards the {one} belongs to the {made.singular}, whether or not it did before. What is not sent stays.",
        tag=made.plural, call=put, parameters=parameters, errors=(Forbidden, NotFound), replies=(DONE,),
        body=_body(relation),
    )  # fmt: skip
    yield Endpoint(
        "DELETE", path, f"remove{name}", f"Remove a {one} from a {made.singular}",
        f"Afterwards the {one} does not belong to the {made.singular}, whether or not it did before.",
        tag=made.plural, call=remove, parameters=parameters, errors=(Forbidden, NotFound), replies=(DONE,),
    )  # fmt: skip


def _path(made: Shape, relation: Relation) -> tuple[str, tuple[Parameter, ...]]:
    target = shape(relation.target)
    ids = ((made, "id"), (target, relation.far))
    parameters = tuple(
        Parameter(name, "path", UUID, str.lower, f"The {it.singular}'s id.", True, example=it.fields["id"].example)
        for it, name in ids
    )
    return f"/{made.plural}/{{id}}/{relation.name}/{{{relation.far}}}", parameters


def _body(relation: Relation) -> Body | None:
    if not any(not field.read_only for field in relation.link_fields):
        return None
    return Body(reference(f"{relation.item_name}Input"), input_models.link_face(relation).read_json, required=False)
