"""The endpoints of a model: its records, the lists and records below them, and its own actions.

`link_endpoints` has those of its links.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import urlencode

import orjson

from api.http.conditional_requests import expected_versions, is_not_modified, page_etag, record_etag
from api.http.responses import HTTPResponse
from api.rest.endpoint import JSON, MERGE_PATCH, Body, Endpoint, EndpointRequest, ResponseSpec
from api.rest.idempotency import IDEMPOTENCY_ERRORS, IDEMPOTENCY_KEY, idempotent_unit_of_work
from api.rest.json_schemas import action_schema, created_name, reference
from api.rest.link_endpoints import NO_CONTENT, id_parameter, link_endpoints
from api.rest.list_parameters import list_parameters, list_selection, record_selection
from api.rest.parameters import IF_MATCH, IF_NONE_MATCH
from schema.engine.errors import Conflict, Forbidden, NotFound, VersionMismatch
from schema.engine.model import input_models
from schema.engine.model.action import Action
from schema.engine.model.names import camel_case, pascal_case
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.operations import records
from schema.engine.operations.records import PageResult
from schema.engine.sql.record_lookup import RecordResult

NOT_MODIFIED = ResponseSpec(304, "The client has the current version.", headers=("ETag", "Link"))


def model_endpoints(resource: Resource) -> Iterator[Endpoint]:
    """Yield every endpoint that follows from a model."""
    yield _list(resource)
    yield _create(resource)
    yield _get(resource)
    yield _update(resource)
    yield _delete(resource)
    for relation in resource.relations.values():
        yield _list_related(resource, relation) if relation.many else _get_related(resource, relation)
        if relation.link and relation.owning:
            yield from link_endpoints(resource, relation)
    for action in resource.actions.values():
        yield _call(resource, action)


def me_endpoint(resource: Resource) -> Endpoint:
    """Return `GET /me`: the actor's own user."""

    async def get_me(request: EndpointRequest) -> HTTPResponse:
        if request.actor.id is None:
            raise NotFound("the credential does not belong to a user")
        selection = record_selection(resource)
        return _record(request, await records.get(request.unit_of_work, resource, request.actor.id, selection))

    return Endpoint(
        method="GET",
        path="/me",
        name="getMe",
        summary="Get the authenticated user",
        description="The user that the credential belongs to, if any.",
        tag=resource.plural,
        parameters=(IF_NONE_MATCH,),
        responses=(_record_spec(resource, "The authenticated user."), NOT_MODIFIED),
        errors=(NotFound,),
        handler=get_me,
        confidential=True,
    )


def _list(resource: Resource) -> Endpoint:
    async def list_records(request: EndpointRequest) -> HTTPResponse:
        signer = await request.directory.cursor_key.signer()
        selection, values = list_selection(resource, None, request.query, signer)
        return _page(request, await records.find(request.unit_of_work, resource, selection, values))

    return Endpoint(
        method="GET",
        path=f"/{resource.plural}",
        name=f"list{pascal_case(resource.plural)}",
        summary=f"List {resource.plural}",
        description=f"A page of {resource.plural} in a stable order: by id, unless `sort` is sent. Records match all "
        "filters.",
        tag=resource.plural,
        parameters=(*list_parameters(resource), IF_NONE_MATCH),
        responses=(_page_spec(f"A page of {resource.plural}.", resource.name), NOT_MODIFIED),
        errors=(Forbidden,),
        handler=list_records,
    )


def _create(resource: Resource) -> Endpoint:
    async def create_record(request: EndpointRequest) -> HTTPResponse:
        unit_of_work = idempotent_unit_of_work(request)
        id, record = await records.create(unit_of_work, resource, request.body, record_selection(resource))
        location = f"{request.root_path}/{resource.plural}/{id}".encode()
        body = (
            record.json
            if resource.shown_once is None
            else _with_secret(record.json, resource.shown_once.name, record.shown_once)
        )
        return HTTPResponse(201, body, ((b"location", location), (b"etag", record_etag(record).encode())))

    created = ResponseSpec(
        201, f"The new {resource.singular}.", reference(created_name(resource)), headers=("ETag", "Location")
    )
    return Endpoint(
        method="POST",
        path=f"/{resource.plural}",
        name=f"create{resource.name}",
        summary=f"Create a {resource.singular}",
        description=f"Adds a {resource.singular} to the directory.",
        tag=resource.plural,
        parameters=(IDEMPOTENCY_KEY,),
        body=Body(reference(f"{resource.name}Create"), input_models.create_input(resource).read_json),
        responses=(created,),
        errors=(Forbidden, Conflict, *IDEMPOTENCY_ERRORS),
        handler=create_record,
        confidential=resource.shown_once is not None,
    )


def _get(resource: Resource) -> Endpoint:
    async def get_record(request: EndpointRequest) -> HTTPResponse:
        selection = record_selection(resource)
        return _record(request, await records.get(request.unit_of_work, resource, request.path["id"], selection))

    return Endpoint(
        method="GET",
        path=f"/{resource.plural}/{{id}}",
        name=f"get{resource.name}",
        summary=f"Get a {resource.singular}",
        description=f"One {resource.singular}, with all its fields.",
        tag=resource.plural,
        parameters=(id_parameter(resource), IF_NONE_MATCH),
        responses=(_record_spec(resource, f"The {resource.singular}."), NOT_MODIFIED),
        errors=(NotFound,),
        handler=get_record,
    )


def _update(resource: Resource) -> Endpoint:
    async def update_record(request: EndpointRequest) -> HTTPResponse:
        versions, selection = expected_versions(request.headers), record_selection(resource)
        id, changes = request.path["id"], request.body
        return _changed(await records.update(request.unit_of_work, resource, id, changes, selection, versions=versions))

    body = Body(
        reference(f"{resource.name}Update"),
        input_models.update_input(resource).read_json,
        media_types=(MERGE_PATCH, JSON),
        examples={"part": _example_of_change(resource)},
    )
    return Endpoint(
        method="PATCH",
        path=f"/{resource.plural}/{{id}}",
        name=f"update{resource.name}",
        summary=f"Update a {resource.singular}",
        description="Applies a JSON merge patch (RFC 7396): a member that is not sent keeps its value, null clears it. "
        "A patch that changes nothing leaves the version as it is.",
        tag=resource.plural,
        parameters=(id_parameter(resource), IF_MATCH),
        body=body,
        responses=(_record_spec(resource, f"The updated {resource.singular}."),),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch),
        handler=update_record,
    )


def _delete(resource: Resource) -> Endpoint:
    async def delete_record(request: EndpointRequest) -> HTTPResponse:
        versions = expected_versions(request.headers)
        await records.delete(request.unit_of_work, resource, request.path["id"], versions=versions)
        return HTTPResponse(204)

    return Endpoint(
        method="DELETE",
        path=f"/{resource.plural}/{{id}}",
        name=f"delete{resource.name}",
        summary=f"Delete a {resource.singular}",
        description=f"Deletes a {resource.singular} and its links permanently.",
        tag=resource.plural,
        parameters=(id_parameter(resource), IF_MATCH),
        responses=(NO_CONTENT,),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch),
        handler=delete_record,
    )


def _call(resource: Resource, action: Action) -> Endpoint:
    async def call_action(request: EndpointRequest) -> HTTPResponse:
        versions, selection = expected_versions(request.headers), record_selection(resource)
        unit_of_work = idempotent_unit_of_work(request, versions)
        id, arguments = request.path["id"], request.body
        return _changed(
            await records.call_action(unit_of_work, resource, action, id, arguments, selection, versions=versions)
        )

    return Endpoint(
        method="POST",
        path=f"/{resource.plural}/{{id}}/{action.name}",
        name=f"{camel_case(action.name)}{resource.name}",
        summary=f"{action.name.replace('_', ' ').capitalize()} a {resource.singular}",
        description=action.description,
        tag=resource.plural,
        parameters=(id_parameter(resource), IF_MATCH, IDEMPOTENCY_KEY),
        body=Body(action_schema(resource, action), input_models.action_input(resource, action).read_json),
        responses=(_record_spec(resource, f"The updated {resource.singular}."),),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch, *IDEMPOTENCY_ERRORS),
        handler=call_action,
    )


def _list_related(resource: Resource, relation: Relation) -> Endpoint:
    target = resource_of(relation.target)

    async def list_below(request: EndpointRequest) -> HTTPResponse:
        signer = await request.directory.cursor_key.signer()
        selection, values = list_selection(target, relation, request.query, signer)
        id = request.path["id"]
        return _page(request, await records.find_related(request.unit_of_work, resource, id, selection, values))

    return Endpoint(
        method="GET",
        path=f"/{resource.plural}/{{id}}/{relation.name}",
        name=f"list{resource.name}{pascal_case(relation.name)}",
        summary=f"List the {relation.name.replace('_', ' ')} of a {resource.singular}",
        description=relation.description,
        tag=resource.plural,
        parameters=(id_parameter(resource), *list_parameters(target), IF_NONE_MATCH),
        responses=(_page_spec(relation.description, relation.item_name), NOT_MODIFIED),
        errors=(Forbidden, NotFound),
        handler=list_below,
    )


def _get_related(resource: Resource, relation: Relation) -> Endpoint:
    target = resource_of(relation.target)

    async def get_below(request: EndpointRequest) -> HTTPResponse:
        id, selection = request.path["id"], record_selection(target)
        return HTTPResponse(200, await records.get_related(request.unit_of_work, resource, id, relation, selection))

    return Endpoint(
        method="GET",
        path=f"/{resource.plural}/{{id}}/{relation.name}",
        name=f"get{resource.name}{pascal_case(relation.name)}",
        summary=f"Get the {relation.name.replace('_', ' ')} of a {resource.singular}",
        description=relation.description,
        tag=resource.plural,
        parameters=(id_parameter(resource),),
        responses=(ResponseSpec(200, relation.description, reference(target.name)),),
        errors=(NotFound,),
        handler=get_below,
    )


def _record(request: EndpointRequest, record: RecordResult) -> HTTPResponse:
    etag = record_etag(record)
    headers = ((b"etag", etag.encode()),)
    if is_not_modified(request.headers, etag):
        return HTTPResponse(304, headers=headers)
    return HTTPResponse(200, record.json, headers)


def _changed(record: RecordResult) -> HTTPResponse:
    return HTTPResponse(200, record.json, ((b"etag", record_etag(record).encode()),))


def _with_secret(record: bytes, name: str, value: str | None) -> bytes:
    """Add the value that only the response to a creation shows to the record's JSON."""
    return b'%b,"%b":%b}' % (record.removesuffix(b"}"), name.encode(), orjson.dumps(value))


def _page(request: EndpointRequest, page: PageResult) -> HTTPResponse:
    etag = page_etag(page.json)
    headers = ((b"etag", etag.encode()), *_link_header(request, page))
    if is_not_modified(request.headers, etag):
        return HTTPResponse(304, headers=headers)
    return HTTPResponse(200, page.json, headers)


def _link_header(request: EndpointRequest, page: PageResult) -> tuple[tuple[bytes, bytes], ...]:
    """Return `Link` (RFC 8288) with the next and the previous page, as far as they exist."""
    cursors = (("next", "after", page.next), ("prev", "before", page.previous))
    others = [(name, texts) for name, texts in request.query_texts.items() if name not in ("after", "before")]
    start = f"<{request.root_path}{request.url_path}?" + _query(
        tuple([(name, text) for name, texts in others for text in texts])
    )
    # A cursor is base64url, which a URL takes unencoded.
    links = [f'{start}{name}={cursor}>; rel="{rel}"' for rel, name, cursor in cursors if cursor]
    return ((b"link", ", ".join(links).encode()),) if links else ()


@lru_cache(1000)
def _query(pairs: tuple[tuple[str, str], ...]) -> str:
    """Encode the start of a query string, to which another parameter can be appended."""
    return f"{urlencode(pairs)}&" if pairs else ""


def _record_spec(resource: Resource, description: str) -> ResponseSpec:
    return ResponseSpec(200, description, reference(resource.name), headers=("ETag",))


def _page_spec(description: str, item: str) -> ResponseSpec:
    return ResponseSpec(200, description, reference(f"{item}Page"), headers=("ETag", "Link"))


def _example_of_change(resource: Resource) -> dict[str, object]:
    """Return a change of the first field that has an example."""
    fields = (field for field in resource.fields.values() if not field.read_only and field.example is not None)
    field = next(fields, None)
    return {field.name: field.example} if field else {}
