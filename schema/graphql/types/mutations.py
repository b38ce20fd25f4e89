"""The mutations that follow from the models: their fields, inputs and payloads, and the operation each one runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from strawberry.scalars import ID

from schema.engine.model.action import Action
from schema.engine.model.names import camel_case, pascal_case
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.graphql.types.declarations import Argument, Member, fill_input, fill_object
from schema.graphql.types.records import Types

IDEMPOTENCY_KEY = Member(
    "idempotencyKey",
    str,
    "A text that is unique to this request, such as a UUID. A request that is sent again with the same key within 24 "
    "hours is not executed again: it returns the first response.",
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A mutation: its field, and the operation that it runs. `set` changes a field of a link."""

    name: str
    operation: Literal["create", "update", "delete", "action", "link", "set", "unlink"]
    resource: Resource
    member: Member
    action: Action | None = None
    relation: Relation | None = None

    @property
    def payload(self) -> str:
        return f"{pascal_case(self.name)}Payload"


def mutations_of(resource: Resource, types: Types) -> Iterator[Mutation]:
    """All mutations of a model's records and of the links that they own."""
    name, singular = resource.name, resource.singular
    writable = [field for field in resource.fields.values() if not field.read_only]
    required = [camel_case(field.name) for field in writable if field.required]
    record = Member(camel_case(singular), types.record(resource), f"The {singular}.")
    id = Member("id", ID, f"The {singular}'s id.")
    version = Member(
        "ifVersion",
        int,
        "The version that the record must have; otherwise nothing changes, and the error is `VERSION_MISMATCH`.",
    )
    fields = [Member(camel_case(field.name), types.scalar(field), field.description) for field in writable]
    once = (
        [Member(camel_case(resource.shown_once.name), str, resource.shown_once.description)]
        if resource.shown_once
        else []
    )

    member = _member(
        types, f"create{name}", f"Create a {singular}.", [*fields, IDEMPOTENCY_KEY], required, [record, *once]
    )
    yield Mutation(member.name, "create", resource, member)

    description = f"Update a {singular}. A field that is not sent keeps its value, null clears it."
    member = _member(types, f"update{name}", description, [id, version, *fields], ["id"], [record])
    yield Mutation(member.name, "update", resource, member)

    deleted = Member("deletedId", ID, "The id of the deleted record.")
    member = _member(types, f"delete{name}", f"Delete a {singular} and its links.", [id, version], ["id"], [deleted])
    yield Mutation(member.name, "delete", resource, member)

    for action in resource.actions.values():
        yield _action(resource, action, types, [id, version], record)
    for relation in resource.relations.values():
        if relation.link and relation.owning:
            yield from _link_mutations(resource, relation, types)


def _action(resource: Resource, action: Action, types: Types, inputs: list[Member], record: Member) -> Mutation:
    parameters = [
        Member(camel_case(key), annotation, f"{key.replace('_', ' ').capitalize()}.")
        for key, (annotation, _) in action.parameters.items()
    ]
    required = ["id", *(camel_case(key) for key, (_, default) in action.parameters.items() if default is ...)]
    name = f"{camel_case(action.name)}{resource.name}"
    member = _member(types, name, action.description, [*inputs, *parameters], required, [record])
    return Mutation(name, "action", resource, member, action)


def _link_mutations(resource: Resource, relation: Relation, types: Types) -> Iterator[Mutation]:
    target = resource_of(relation.target)
    name, singular, owner = f"{resource.name}{pascal_case(relation.singular)}", relation.singular, resource.singular
    ids = [
        Member(camel_case(relation.local_key), ID, f"The {owner}'s id."),
        Member(camel_case(relation.remote_key), ID, f"The {target.singular}'s id."),
    ]
    required = [member.name for member in ids]
    fields = [field for field in relation.link_fields if not field.read_only]
    own = [Member(camel_case(field.name), types.scalar(field), field.description) for field in fields]
    ends = [Member(camel_case(end.singular), types.record(end), f"The {end.singular}.") for end in (resource, target)]

    description = f"Add a {singular} to a {owner}. Changes nothing if it is there already."
    member = _member(types, f"add{name}", description, [*ids, *own], required, [*ends, *own])
    yield Mutation(member.name, "link", resource, member, relation=relation)

    for field, link_field in zip(fields, own, strict=True):
        description = f"Change the {field.name.replace('_', ' ')} of a {singular} of a {owner}."
        inputs, needed = [*ids, link_field], [*required, link_field.name]
        member = _member(types, f"set{name}{pascal_case(field.name)}", description, inputs, needed, [*ends, *own])
        yield Mutation(member.name, "set", resource, member, relation=relation)

    removed = [
        Member(field.name, field.annotation | None, f"{field.description} Its value before the removal.")
        for field in own
    ]
    description = f"Remove a {singular} from a {owner}. Succeeds if it was not there."
    member = _member(types, f"remove{name}", description, ids, required, [*ends, *removed])
    yield Mutation(member.name, "unlink", resource, member, relation=relation)


def _member(
    types: Types, name: str, description: str, inputs: list[Member], required: list[str], payload: list[Member]
) -> Member:
    """Declare a mutation's input and payload types; returns its field."""
    input_type = types.declare(f"{pascal_case(name)}Input")
    payload_type = types.declare(f"{pascal_case(name)}Payload")
    fill_input(input_type, f"The input of `{name}`.", inputs, required)
    fill_object(payload_type, f"The payload of `{name}`.", payload)
    return Member(
        name, payload_type, description, (Argument("input", input_type, f"The input of `{name}`.", required=True),)
    )
