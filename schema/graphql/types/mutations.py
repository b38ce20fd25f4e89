"""The mutations' inputs and payloads, and which verb each mutation is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from strawberry.scalars import ID

from schema.engine.model.action import Action
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.graphql.types.declarations import Argument, Member, camel_case, fill_input, fill_object, pascal_case
from schema.graphql.types.records import Types

Deed = Literal["create", "update", "delete", "call", "link", "set", "unlink"]


KEY = Member(
    "idempotencyKey",
    str,
    "Any text that is new for each request: sent again with the same key within 24 hours, it is not done again.",
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A mutation: its field, and what it does. `field`: the link's field that `set` is for."""

    name: str
    deed: Deed
    resource: Resource
    member: Member
    action: Action | None = None
    relation: Relation | None = None

    @property
    def payload(self) -> str:
        """The name of what it gives."""
        return f"{pascal_case(self.name)}Payload"


def mutations_of(resource: Resource, types: Types) -> Iterator[Mutation]:
    """Everything that can be done to a model's records."""
    writable = [field for field in resource.fields.values() if not field.read_only]
    needed = [camel_case(field.name) for field in writable if field.required]
    one, name = resource.singular, resource.name
    whose = Member(camel_case(one), types.record(resource), f"The {one}.")
    id, version = Member("id", ID, f"The {one}'s id."), Member("ifVersion", int, "Only if it still has this version.")
    fields = [Member(camel_case(field.name), types.scalar(field), field.description) for field in writable]
    make = _Maker(types)
    given = (
        [whose, Member(camel_case(resource.shown_once.name), str, resource.shown_once.description)]
        if resource.shown_once
        else [whose]
    )
    created = make(f"create{name}", f"Create a {one}.", [*fields, KEY], needed, given)
    yield Mutation(f"create{name}", "create", resource, created)
    changed = make(
        f"update{name}",
        f"Change a {one}: what is not sent stays, null clears.",
        [id, version, *fields],
        ["id"],
        [whose],
    )
    yield Mutation(f"update{name}", "update", resource, changed)
    gone = Member("deletedId", ID, "The id that is free no more, and stands for nothing.")
    yield Mutation(
        f"delete{name}",
        "delete",
        resource,
        make(f"delete{name}", f"Delete a {one} and its links.", [id, version], ["id"], [gone]),
    )
    for action in resource.actions.values():
        asked = [
            Member(camel_case(key), kind, f"{key.replace('_', ' ').capitalize()}.")
            for key, (kind, _) in action.parameters.items()
        ]
        must = ["id", *(camel_case(key) for key, (_, default) in action.parameters.items() if default is ...)]
        called = f"{camel_case(action.name)}{name}"
        yield Mutation(
            called, "call", resource, make(called, action.description, [id, version, *asked], must, [whose]), action
        )
    for relation in resource.relations.values():
        if relation.link and relation.owning:
            yield from _links(resource, relation, types, make)


class _Maker:
    """Makes a mutation's input and payload."""

    def __init__(self, types: Types) -> None:
        self._types = types

    def __call__(
        self, name: str, description: str, taken: list[Member], needed: list[str], given: list[Member]
    ) -> Member:
        """The mutation's field."""
        input, payload = self._types.bare(f"{pascal_case(name)}Input"), self._types.bare(f"{pascal_case(name)}Payload")
        fill_input(input, f"What `{name}` takes.", taken, needed)
        fill_object(payload, f"What `{name}` gives.", given)
        return Member(name, payload, description, (Argument("input", input, "What to do.", required=True),))


def _links(resource: Resource, relation: Relation, types: Types, make: _Maker) -> Iterator[Mutation]:
    target = resource_of(relation.target)
    name, one = f"{resource.name}{pascal_case(relation.singular)}", relation.singular
    ids = [
        Member(camel_case(relation.near), ID, f"The {resource.singular}'s id."),
        Member(camel_case(relation.far), ID, f"The {target.singular}'s id."),
    ]
    needed = [member.name for member in ids]
    fields = [field for field in relation.link_fields if not field.read_only]
    own = [Member(camel_case(field.name), types.scalar(field), field.description) for field in fields]
    ends = [
        Member(camel_case(resource.singular), types.record(resource), f"The {resource.singular}."),
        Member(camel_case(target.singular), types.record(target), f"The {target.singular}."),
    ]
    added = make(
        f"add{name}", f"Add a {one} to a {resource.singular}, if it is none yet.", [*ids, *own], needed, [*ends, *own]
    )
    yield Mutation(f"add{name}", "link", resource, added, relation=relation)
    for field, member in zip(fields, own, strict=True):
        called = f"set{name}{pascal_case(field.name)}"
        words = f"Change the {field.name.replace('_', ' ')} of a {one} of a {resource.singular}."
        changed = make(called, words, [*ids, member], [*needed, member.name], [*ends, *own])
        yield Mutation(called, "set", resource, changed, relation=relation)
    before = [Member(member.name, member.kind | None, f"{member.description} As it was.") for member in own]
    removed = make(
        f"remove{name}", f"Remove a {one} from a {resource.singular}, if it is one.", ids, needed, [*ends, *before]
    )
    yield Mutation(f"remove{name}", "unlink", resource, removed, relation=relation)
