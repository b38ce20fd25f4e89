"""The endpoints that follow from a model: its records, the lists below them, and its own verbs.

They are made of the same stuff as an endpoint of one's own: each is an `Endpoint`, so the document and the checks hold.
`linking.py` has the endpoints of links.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import orjson

from api.http.conditional_requests import (
    IF_MATCH,
    IF_NONE_MATCH,
    etag,
    etag_of_page,
    expected_versions,
    is_fresh,
    link_header,
)
from api.openapi.schemas import UUID, action_schema, created_name, reference
from api.rest.endpoint import (
    JSON,
    MERGE_PATCH,
    Body,
    Endpoint,
    EndpointRequest,
    EndpointResponse,
    Parameter,
    ResponseSpec,
)
from api.rest.idempotency import IDEMPOTENCY_KEY, REPEATED, repeatable
from api.rest.link_endpoints import link_endpoints
from api.rest.list_parameters import list_parameters, listing, whole_record
from schema.engine.errors import Conflict, Forbidden, NotFound, VersionMismatch
from schema.engine.model import input_models
from schema.engine.model.action import Action
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.operations import records
from schema.engine.operations.records import PageResult, RecordResult


def model_endpoints(resource: Resource) -> Iterator[Endpoint]:
    """Everything that can be done with a model's records."""
    yield _list(resource)
    yield _create(resource)
    yield _get(resource)
    yield _update(resource)
    yield _delete(resource)
    for relation in resource.relations.values():
        yield _list_below(resource, relation) if relation.many else _get_below(resource, relation)
        if relation.link and relation.owning:
            yield from link_endpoints(resource, relation)
    for action in resource.actions.values():
        yield _call(resource, action)


def me_endpoint(resource: Resource) -> Endpoint:
    """`GET /me`: the actor's own user."""

    async def me(call: EndpointRequest) -> EndpointResponse:
        if call.actor.id is None:
            raise NotFound("there is no user behind this credential")
        return _shown(call, await records.get(call.unit_of_work, resource, call.actor.id, whole_record(resource)))

    return Endpoint(
        "GET", "/me", "getMe", "Show who is asking", "The actor's own user, if the credential stands for one.",
        tag=resource.plural, call=me, parameters=(IF_NONE_MATCH,), errors=(NotFound,), confidential=True,
        replies=(_record_reply(resource, 200, "The actor's own user."), NOT_MODIFIED),
    )  # fmt: skip


NOT_MODIFIED = ResponseSpec(304, "What the caller has is still the same.", headers=("ETag", "Link"))
NO_CONTENT = ResponseSpec(204, "Done; there is nothing more to say.")


def id_parameter(resource: Resource, name: str = "id") -> Parameter:
    """The id of a record in a path. One that is malformed is one that there is none of: 404."""
    return Parameter(
        name,
        "path",
        UUID,
        str.lower,
        f"The {resource.singular}'s id.",
        required=True,
        example=resource.fields["id"].example,
    )


def _list(resource: Resource) -> Endpoint:
    async def find(call: EndpointRequest) -> EndpointResponse:
        asked = listing(resource, None, call.query, await call.directory.signing.signer())
        return _page(call, await records.find(call.unit_of_work, resource, *asked))

    return Endpoint(
        "GET", f"/{resource.plural}", f"list{resource.plural_name}", f"List {resource.plural}",
        f"A page of {resource.plural}, in a stable order: by id, unless `sort` says otherwise. "
        "Filters may be combined.",
        tag=resource.plural, call=find, parameters=(*list_parameters(resource), IF_NONE_MATCH), errors=(Forbidden,),
        replies=(_page_reply(f"A page of {resource.plural}.", resource.name), NOT_MODIFIED),
    )  # fmt: skip


def _create(resource: Resource) -> Endpoint:
    face = input_models.create_input(resource)

    async def create(call: EndpointRequest) -> EndpointResponse:
        id, found = await records.create(repeatable(call), resource, call.body, whole_record(resource))
        location = f"{call.base}/{resource.plural}/{id}".encode()
        body = found.json if resource.once is None else _with_once(found.json, resource.once.name, found.once)
        return EndpointResponse(201, body, ((b"location", location), (b"etag", etag(found).encode())))

    return Endpoint(
        "POST", f"/{resource.plural}", f"create{resource.name}", f"Create a {resource.singular}",
        f"Adds a {resource.singular} to the directory.",
        tag=resource.plural, call=create, parameters=(IDEMPOTENCY_KEY,), errors=(Forbidden, Conflict, *REPEATED),
        body=Body(reference(f"{resource.name}Create"), face.read_json),
        replies=(ResponseSpec(201, f"The new {resource.singular}.", reference(created_name(resource)), ("ETag",
        "Location")),),
        confidential=resource.once is not None,
    )  # fmt: skip


def _get(resource: Resource) -> Endpoint:
    async def get(call: EndpointRequest) -> EndpointResponse:
        return _shown(call, await records.get(call.unit_of_work, resource, call.path["id"], whole_record(resource)))

    return Endpoint(
        "GET", f"/{resource.plural}/{{id}}", f"get{resource.name}", f"Show a {resource.singular}",
        f"One {resource.singular}, whole.",
        tag=resource.plural, call=get, parameters=(id_parameter(resource), IF_NONE_MATCH), errors=(NotFound,),
        replies=(_record_reply(resource, 200, f"The {resource.singular}."), NOT_MODIFIED),
    )  # fmt: skip


def _update(resource: Resource) -> Endpoint:
    face = input_models.update_input(resource)

    async def update(call: EndpointRequest) -> EndpointResponse:
        versions = expected_versions(call.headers)
        whole = whole_record(resource)
        return _changed(
            await records.update(call.unit_of_work, resource, call.path["id"], call.body, whole, versions=versions)
        )

    return Endpoint(
        "PATCH", f"/{resource.plural}/{{id}}", f"update{resource.name}", f"Change a {resource.singular}",
        "A JSON merge patch (RFC 7396): a member that is not sent stays, null clears it. "
        "What changes nothing is no change.",
        tag=resource.plural, call=update, parameters=(id_parameter(resource), IF_MATCH),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch),
        body=Body(reference(f"{resource.name}Update"), face.read_json, (MERGE_PATCH, JSON),
        examples={"part": _part(resource)}),
        replies=(_record_reply(resource, 200, f"The {resource.singular} as it is now."),),
    )  # fmt: skip


def _delete(resource: Resource) -> Endpoint:
    async def delete(call: EndpointRequest) -> EndpointResponse:
        await records.delete(call.unit_of_work, resource, call.path["id"], versions=expected_versions(call.headers))
        return EndpointResponse(204)

    return Endpoint(
        "DELETE", f"/{resource.plural}/{{id}}", f"delete{resource.name}", f"Delete a {resource.singular}",
        f"Removes a {resource.singular} and its links for good.",
        tag=resource.plural, call=delete, parameters=(id_parameter(resource), IF_MATCH), replies=(NO_CONTENT,),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch),
    )  # fmt: skip


def _call(resource: Resource, action: Action) -> Endpoint:
    face = input_models.action_input(resource, action)

    async def call_verb(call: EndpointRequest) -> EndpointResponse:
        versions, whole = expected_versions(call.headers), whole_record(resource)
        work = repeatable(call, versions)
        found = await records.call(work, resource, action, call.path["id"], call.body, whole, versions=versions)
        return _changed(found)

    return Endpoint(
        "POST", f"/{resource.plural}/{{id}}/{action.name}", f"{action.camel}{resource.name}",
        f"{action.name.replace('_', ' ').capitalize()} a {resource.singular}", action.description,
        tag=resource.plural, call=call_verb, parameters=(id_parameter(resource), IF_MATCH, IDEMPOTENCY_KEY),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch, *REPEATED),
        body=Body(action_schema(resource, action), face.read_json),
        replies=(_record_reply(resource, 200, f"The {resource.singular} as it is now."),),
    )  # fmt: skip


def _list_below(resource: Resource, relation: Relation) -> Endpoint:
    target = resource_of(relation.target)

    async def find_below(call: EndpointRequest) -> EndpointResponse:
        asked = listing(target, relation, call.query, await call.directory.signing.signer())
        return _page(call, await records.find_below(call.unit_of_work, resource, call.path["id"], *asked))

    return Endpoint(
        "GET", f"/{resource.plural}/{{id}}/{relation.name}", f"list{resource.name}{relation.pascal_name}",
        f"List the {relation.name.replace('_', ' ')} of a {resource.singular}", relation.description,
        tag=resource.plural, call=find_below, parameters=(id_parameter(resource), *list_parameters(target),
        IF_NONE_MATCH),
        errors=(Forbidden, NotFound),
        replies=(_page_reply(relation.description, relation.item_name), NOT_MODIFIED),
    )  # fmt: skip


def _get_below(resource: Resource, relation: Relation) -> Endpoint:
    target = resource_of(relation.target)

    async def get_below(call: EndpointRequest) -> EndpointResponse:
        found = await records.get_one_below(
            call.unit_of_work, resource, call.path["id"], relation, whole_record(target)
        )
        return EndpointResponse(200, found)

    return Endpoint(
        "GET", f"/{resource.plural}/{{id}}/{relation.name}", f"get{resource.name}{relation.pascal_name}",
        f"Show the {relation.name.replace('_', ' ')} of a {resource.singular}", relation.description,
        tag=resource.plural, call=get_below, parameters=(id_parameter(resource),), errors=(NotFound,),
        replies=(ResponseSpec(200, relation.description, reference(target.name)),),
    )  # fmt: skip


def _shown(call: EndpointRequest, found: RecordResult) -> EndpointResponse:
    tag = etag(found)
    headers = ((b"etag", tag.encode()),)
    return EndpointResponse(304, headers=headers) if is_fresh(call, tag) else EndpointResponse(200, found.json, headers)


def _with_once(record: bytes, name: str, value: str | None) -> bytes:
    """A new record's JSON, and in it what is given once."""
    return b'%b,"%b":%b}' % (record.removesuffix(b"}"), name.encode(), orjson.dumps(value))


def _page(call: EndpointRequest, page: PageResult) -> EndpointResponse:
    tag = etag_of_page(page.json)
    headers = ((b"etag", tag.encode()), *link_header(call, page))
    return EndpointResponse(304, headers=headers) if is_fresh(call, tag) else EndpointResponse(200, page.json, headers)


def _changed(found: RecordResult) -> EndpointResponse:
    return EndpointResponse(200, found.json, ((b"etag", etag(found).encode()),))


def _record_reply(resource: Resource, status: int, description: str, *headers: str) -> ResponseSpec:
    return ResponseSpec(status, description, reference(resource.name), ("ETag", *headers))


def _page_reply(description: str, item: str) -> ResponseSpec:
    return ResponseSpec(200, description, reference(f"{item}Page"), ("ETag", "Link"))


def _part(resource: Resource) -> dict[str, object]:
    """An example of a change: the first field that has one."""
    fields = (field for field in resource.fields.values() if not field.read_only and field.example is not None)
    return {field.name: field.example for field in islice(fields, 1)}
