"""JSON Schemas (draft 2020-12) of what the models' faces take and give.

A schema of what is given is as narrow as can be; one of what is taken says all that is accepted and no more.
"""

from __future__ import annotations

from typing import Any

from api.rest.bodies import reword
from api.rest.endpoint import Schema
from schema.engine.model import input_models
from schema.engine.model.action import Action
from schema.engine.model.field import MOMENT as MOMENT_PATTERN
from schema.engine.model.field import TEXT, TIME, ResourceField
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query.cursors import MAX_LENGTH

MOST_ITEMS = 100
LONGEST_ONCE = 1000
CURSOR: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": "^[A-Za-z0-9_-]+$"}
TOTAL: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**53 - 1}
UUID: Schema = {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36, "pattern": input_models.UUID}
MOMENT: Schema = {
    "type": "string",
    "format": "date-time",
    "minLength": 20,
    "maxLength": 35,
    "pattern": MOMENT_PATTERN,
}


def read_schema(resource: Resource) -> Schema:
    """A record as it is shown: every member always there, null where it is unknown or the actor may not see it."""
    return closed(
        {field.name: _shown(field, nullable=field.nullable or resource.masked(field)) for field in resource.shown},
        description=resource.description,
    )


def created_name(resource: Resource) -> str:
    """What the schema of a new record is called: as any other's, unless something is given once."""
    return f"{resource.name}Created" if resource.once else resource.name


def created_schema(resource: Resource) -> Schema:
    """A record as the answer to its creation shows it: with what is given once."""
    assert resource.once
    face = read_schema(resource)
    once = {"type": "string", "minLength": 1, "maxLength": LONGEST_ONCE, "pattern": TEXT, "readOnly": True}
    members = {**face["properties"], resource.once.name: once | {"description": resource.once.description}}
    return closed(members, description=f"A new {resource.singular}, as it is shown this once.")


def create_schema(resource: Resource) -> Schema:
    """What a new record is made of."""
    taken = [field for field in resource.fields.values() if not field.read_only]
    members = {field.name: _taken(field, default=True) for field in taken}
    required = [field.name for field in taken if field.required]
    return closed(members, required, description=f"A new {resource.singular}.")


def update_schema(resource: Resource) -> Schema:
    """What to change of a record (RFC 7396): what is not sent stays, null clears."""
    taken = [field for field in resource.fields.values() if not field.read_only]
    sentence = f"What to change of a {resource.singular}: a member that is not sent stays, and null clears it."
    return closed({field.name: _taken(field) for field in taken}, [], description=sentence)


def link_schema(relation: Relation) -> Schema:
    """What can be said of a link."""
    taken = [field for field in relation.link_fields if not field.read_only]
    near = resource_of(relation.source).singular
    sentence = f"What to say of a {relation.singular} of a {near}: what is not sent stays as it is."
    return closed({field.name: _taken(field, default=True) for field in taken}, [], description=sentence)


def item_schema(relation: Relation) -> Schema:
    """A record as an item of a relation's list: with the link's own fields round it, if it has any."""
    target = resource_of(relation.target)
    if not relation.link_fields:
        return reference(target.name)
    members: dict[str, Schema] = {target.singular: reference(target.name)}
    members |= {it.name: _shown(it, nullable=it.nullable) for it in relation.link_fields if not it.write_only}
    return closed(members, description=f"{relation.description.rstrip('.')}: one of them.")


def page_schema(item: str, description: str) -> Schema:
    """A page of items."""
    following: Schema = {
        **CURSOR,
        "type": ["string", "null"],
        "description": "What to send as `after` for the next page; null on the last one.",
        "examples": [None],
    }
    items: Schema = {"type": "array", "maxItems": MOST_ITEMS, "items": reference(item), "description": "The page."}
    total = TOTAL | {"description": "How many there are on all pages; only with `count=exact`."}
    return closed({"items": items, "next": following, "total": total}, ["items", "next"], description=description)


def action_schema(resource: Resource, action: Action) -> Schema:
    """What a model's own verb takes."""
    schema = input_models.action_input(resource, action).json_schema()
    schema.pop("title")
    for name, member in schema["properties"].items():
        field = resource.fields.get(name)
        told = _taken(field) if field else {"description": f"{name.replace('_', ' ').capitalize()}."}
        member |= {word: told[word] for word in ("description", "examples") if word in told}
    reword(schema)
    return {**schema, "description": f"What `{action.name}` takes."}


def reference(name: str) -> Schema:
    """A schema by the name under which the document has it."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(members: dict[str, Schema], required: list[str] | None = None, **words: Any) -> Schema:
    """An object with these members and no others; all are required unless said otherwise."""
    needed = list(members) if required is None else required
    listed = {"required": needed} if needed else {}
    return {"type": "object", **words, "properties": members, **listed, "additionalProperties": False}


def _shown(field: ResourceField, *, nullable: bool) -> Schema:
    """A field's values as they are given out."""
    spelled = {"minLength": 27, "maxLength": 27, "pattern": TIME} if field.kind == "time" else {}
    return _field(field, nullable, spelled) | ({"readOnly": True} if field.read_only else {})


def _taken(field: ResourceField, *, default: bool = False) -> Schema:
    """A field's values as they are accepted.

    The default is told, not declared: generators of clients take a member with `default` for one that is always sent.
    """
    made = _field(field, field.nullable, {})
    if default and not field.required and field.default is not None:
        spelled = str(getattr(field.default, "value", field.default))
        said = spelled.lower() if field.kind == "boolean" else spelled
        made["description"] += f" Unless it is sent, `{said}`."
    return made


def _field(field: ResourceField, nullable: bool, more: Schema) -> Schema:
    made = _plain(field) | more | {"description": field.description}
    if field.example is not None:
        made["examples"] = [field.example]
    if nullable:
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def _plain(field: ResourceField) -> Schema:
    match field.kind:
        case "id":
            return dict(UUID)
        case "enum":
            return {"type": "string", "enum": [choice.value for choice in field.choices]}
        case "boolean":
            return {"type": "boolean"}
        case "integer":
            return {"type": "integer", "format": "int32", "minimum": field.minimum, "maximum": field.maximum}
        case "time":
            return dict(MOMENT)
        case "text":
            bounds = {"minLength": field.min_length, "maxLength": field.max_length}
            return {"type": "string", **bounds, "pattern": field.pattern}
