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
from api.openapi.schemas import UUID, created_name, reference, verb_schema
from api.rest.endpoint import JSON, MERGE_PATCH, Answer, Body, Call, Endpoint, Parameter, Reply
from api.rest.idempotency import IDEMPOTENCY_KEY, REPEATED, repeatable
from api.rest.link_endpoints import link_endpoints
from api.rest.list_parameters import list_parameters, listing, whole_record
from schema.engine.errors import Conflict, Forbidden, NotFound, VersionMismatch
from schema.engine.model import input_models
from schema.engine.model.action import Verb
from schema.engine.model.resource import Relation, Shape, shape
from schema.engine.operations import records
from schema.engine.operations.records import Found, FoundPage


def model_endpoints(made: Shape) -> Iterator[Endpoint]:
    """Everything that can be done with a model's records."""
    yield _list(made)
    yield _create(made)
    yield _get(made)
    yield _update(made)
    yield _delete(made)
    for relation in made.relations.values():
        yield _list_below(made, relation) if relation.many else _get_below(made, relation)
        if relation.link and relation.owning:
            yield from link_endpoints(made, relation)
    for verb in made.verbs.values():
        yield _call(made, verb)


def me_endpoint(made: Shape) -> Endpoint:
    """`GET /me`: the actor's own user."""

    async def me(call: Call) -> Answer:
        if call.actor.id is None:
            raise NotFound("there is no user behind this credential")
        return _shown(call, await records.get(call.work, made, call.actor.id, whole_record(made)))

    return Endpoint(
        "GET", "/me", "getMe", "Show who is asking", "The actor's own user, if the credential stands for one.",
        tag=made.plural, call=me, parameters=(IF_NONE_MATCH,), errors=(NotFound,), confidential=True,
        replies=(_record_reply(made, 200, "The actor's own user."), NOT_MODIFIED),
    )  # fmt: skip


NOT_MODIFIED = Reply(304, "What the caller has is still the same.", headers=("ETag", "Link"))
NO_CONTENT = Reply(204, "Done; there is nothing more to say.")


def id_parameter(made: Shape, name: str = "id") -> Parameter:
    """The id of a record in a path. One that is malformed is one that there is none of: 404."""
    return Parameter(
        name, "path", UUID, str.lower, f"The {made.singular}'s id.", required=True, example=made.fields["id"].example
    )


def _list(made: Shape) -> Endpoint:
    async def find(call: Call) -> Answer:
        asked = listing(made, None, call.query, await call.directory.signing.signer())
        return _page(call, await records.find(call.work, made, *asked))

    return Endpoint(
        "GET", f"/{made.plural}", f"list{made.plural_name}", f"List {made.plural}",
        f"A page of {made.plural}, in a stable order: by id, unless `sort` says otherwise. Filters may be combined.",
        tag=made.plural, call=find, parameters=(*list_parameters(made), IF_NONE_MATCH), errors=(Forbidden,),
        replies=(_page_reply(f"A page of {made.plural}.", made.name), NOT_MODIFIED),
    )  # fmt: skip


def _create(made: Shape) -> Endpoint:
    face = input_models.create_face(made)

    async def create(call: Call) -> Answer:
        id, found = await records.create(repeatable(call), made, call.body, whole_record(made))
        location = f"{call.base}/{made.plural}/{id}".encode()
        body = found.json if made.once is None else _with_once(found.json, made.once.name, found.once)
        return Answer(201, body, ((b"location", location), (b"etag", etag(found).encode())))

    return Endpoint(
        "POST", f"/{made.plural}", f"create{made.name}", f"Create a {made.singular}",
        f"Adds a {made.singular} to the directory.",
        tag=made.plural, call=create, parameters=(IDEMPOTENCY_KEY,), errors=(Forbidden, Conflict, *REPEATED),
        body=Body(reference(f"{made.name}Create"), face.read_json),
        replies=(Reply(201, f"The new {made.singular}.", reference(created_name(made)), ("ETag", "Location")),),
        confidential=made.once is not None,
    )  # fmt: skip


def _get(made: Shape) -> Endpoint:
    async def get(call: Call) -> Answer:
        return _shown(call, await records.get(call.work, made, call.path["id"], whole_record(made)))

    return Endpoint(
        "GET", f"/{made.plural}/{{id}}", f"get{made.name}", f"Show a {made.singular}", f"One {made.singular}, whole.",
        tag=made.plural, call=get, parameters=(id_parameter(made), IF_NONE_MATCH), errors=(NotFound,),
        replies=(_record_reply(made, 200, f"The {made.singular}."), NOT_MODIFIED),
    )  # fmt: skip


def _update(made: Shape) -> Endpoint:
    face = input_models.update_face(made)

    async def update(call: Call) -> Answer:
        versions = expected_versions(call.headers)
        whole = whole_record(made)
        return _changed(await records.update(call.work, made, call.path["id"], call.body, whole, versions=versions))

    return Endpoint(
        "PATCH", f"/{made.plural}/{{id}}", f"update{made.name}", f"Change a {made.singular}",
        "A JSON merge patch (RFC 7396): a member that is not sent stays, null clears it. "
        "What changes nothing is no change.",
        tag=made.plural, call=update, parameters=(id_parameter(made), IF_MATCH),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch),
        body=Body(reference(f"{made.name}Update"), face.read_json, (MERGE_PATCH, JSON), examples={"part": _part(made)}),
        replies=(_record_reply(made, 200, f"The {made.singular} as it is now."),),
    )  # fmt: skip


def _delete(made: Shape) -> Endpoint:
    async def delete(call: Call) -> Answer:
        await records.delete(call.work, made, call.path["id"], versions=expected_versions(call.headers))
        return Answer(204)

    return Endpoint(
        "DELETE", f"/{made.plural}/{{id}}", f"delete{made.name}", f"Delete a {made.singular}",
        f"Removes a {made.singular} and its links for good.",
        tag=made.plural, call=delete, parameters=(id_parameter(made), IF_MATCH), replies=(NO_CONTENT,),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch),
    )  # fmt: skip


def _call(made: Shape, verb: Verb) -> Endpoint:
    face = input_models.verb_face(made, verb)

    async def call_verb(call: Call) -> Answer:
        versions, whole = expected_versions(call.headers), whole_record(made)
        work = repeatable(call, versions)
        found = await records.call(work, made, verb, call.path["id"], call.body, whole, versions=versions)
        return _changed(found)

    return Endpoint(
        "POST", f"/{made.plural}/{{id}}/{verb.name}", f"{verb.camel}{made.name}",
        f"{verb.name.replace('_', ' ').capitalize()} a {made.singular}", verb.description,
        tag=made.plural, call=call_verb, parameters=(id_parameter(made), IF_MATCH, IDEMPOTENCY_KEY),
        errors=(Forbidden, NotFound, Conflict, VersionMismatch, *REPEATED),
        body=Body(verb_schema(made, verb), face.read_json),
        replies=(_record_reply(made, 200, f"The {made.singular} as it is now."),),
    )  # fmt: skip


def _list_below(made: Shape, relation: Relation) -> Endpoint:
    target = shape(relation.target)

    async def find_below(call: Call) -> Answer:
        asked = listing(target, relation, call.query, await call.directory.signing.signer())
        return _page(call, await records.find_below(call.work, made, call.path["id"], *asked))

    return Endpoint(
        "GET", f"/{made.plural}/{{id}}/{relation.name}", f"list{made.name}{relation.camel}",
        f"List the {relation.name.replace('_', ' ')} of a {made.singular}", relation.description,
        tag=made.plural, call=find_below, parameters=(id_parameter(made), *list_parameters(target), IF_NONE_MATCH),
        errors=(Forbidden, NotFound),
        replies=(_page_reply(relation.description, relation.item_name), NOT_MODIFIED),
    )  # fmt: skip


def _get_below(made: Shape, relation: Relation) -> Endpoint:
    target = shape(relation.target)

    async def get_below(call: Call) -> Answer:
        found = await records.get_one_below(call.work, made, call.path["id"], relation, whole_record(target))
        return Answer(200, found)

    return Endpoint(
        "GET", f"/{made.plural}/{{id}}/{relation.name}", f"get{made.name}{relation.camel}",
        f"Show the {relation.name.replace('_', ' ')} of a {made.singular}", relation.description,
        tag=made.plural, call=get_below, parameters=(id_parameter(made),), errors=(NotFound,),
        replies=(Reply(200, relation.description, reference(target.name)),),
    )  # fmt: skip


def _shown(call: Call, found: Found) -> Answer:
    tag = etag(found)
    headers = ((b"etag", tag.encode()),)
    return Answer(304, headers=headers) if is_fresh(call, tag) else Answer(200, found.json, headers)


def _with_once(record: bytes, name: str, value: str | None) -> bytes:
    """A new record's JSON, and in it what is given once."""
    return b'%b,"%b":%b}' % (record.removesuffix(b"}"), name.encode(), orjson.dumps(value))


def _page(call: Call, page: FoundPage) -> Answer:
    tag = etag_of_page(page.json)
    headers = ((b"etag", tag.encode()), *link_header(call, page))
    return Answer(304, headers=headers) if is_fresh(call, tag) else Answer(200, page.json, headers)


def _changed(found: Found) -> Answer:
    return Answer(200, found.json, ((b"etag", etag(found).encode()),))


def _record_reply(made: Shape, status: int, description: str, *headers: str) -> Reply:
    return Reply(status, description, reference(made.name), ("ETag", *headers))


def _page_reply(description: str, item: str) -> Reply:
    return Reply(200, description, reference(f"{item}Page"), ("ETag", "Link"))


def _part(made: Shape) -> dict[str, object]:
    """An example of a change: the first field that has one."""
    fields = (field for field in made.fields.values() if not field.read_only and field.example is not None)
    return {field.name: field.example for field in islice(fields, 1)}
