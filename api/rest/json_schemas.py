"""JSON Schemas (draft 2020-12) of what the REST API takes and returns for a resource.

An output schema is as narrow as possible; an input schema allows all that is accepted and no more.
"""

from __future__ import annotations

from typing import Any

from api.rest.bodies import REFERENCE, complete_schema
from api.rest.parameters import Schema
from schema.engine.model import input_models
from schema.engine.model.action import Action
from schema.engine.model.field import TEXT_PATTERN, TIME_PATTERN, ResourceField
from schema.engine.model.field import TIME_INPUT_PATTERN as MOMENT_PATTERN
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query.cursors import MAX_LENGTH

MAX_ITEMS = 100
MAX_ONCE_LENGTH = 1000
CURSOR: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": "^[A-Za-z0-9_-]+$"}
TOTAL: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**53 - 1}
UUID: Schema = {
    "type": "string",
    "format": "uuid",
    "minLength": 36,
    "maxLength": 36,
    "pattern": input_models.UUID_PATTERN,
}
MOMENT: Schema = {
    "type": "string",
    "format": "date-time",
    "minLength": 20,
    "maxLength": 35,
    "pattern": MOMENT_PATTERN,
}


def read_schema(resource: Resource) -> Schema:
    """Return the schema of a record. Every member is required; null if it has no value or the actor may not read it."""
    members = {
        field.name: _output(field, nullable=field.nullable or resource.is_masked(field))
        for field in resource.readable_fields
    }
    return closed_object(members, description=resource.description)


def created_name(resource: Resource) -> str:
    """Return the schema name of a new record, which has its own if some value is shown only once."""
    return f"{resource.name}Created" if resource.shown_once else resource.name


def created_schema(resource: Resource) -> Schema:
    """Return the schema of a new record with the value that is shown only once."""
    assert resource.shown_once
    once = {"type": "string", "minLength": 1, "maxLength": MAX_ONCE_LENGTH, "pattern": TEXT_PATTERN, "readOnly": True}
    members = {
        **read_schema(resource)["properties"],
        resource.shown_once.name: once | {"description": resource.shown_once.description},
    }
    return closed_object(members, description=f"A new {resource.singular}, with what is shown only once.")


def create_schema(resource: Resource) -> Schema:
    """Return the schema of a POST."""
    fields = [field for field in resource.fields.values() if not field.read_only]
    members = {field.name: _input(field, describe_default=True) for field in fields}
    required = [field.name for field in fields if field.required]
    return closed_object(members, required, description=f"A new {resource.singular}.")


def update_schema(resource: Resource) -> Schema:
    """Return the schema of a PATCH (RFC 7396)."""
    members = {field.name: _input(field) for field in resource.fields.values() if not field.read_only}
    description = f"Changes of a {resource.singular}. A member that is not sent keeps its value, null clears it."
    return closed_object(members, [], description=description)


def link_schema(relation: Relation) -> Schema:
    """Return the schema of a link's own fields in a PUT."""
    members = {
        field.name: _input(field, describe_default=True) for field in relation.link_fields if not field.read_only
    }
    source = resource_of(relation.source).singular
    description = f"The fields of a {relation.singular} of a {source}. A field that is not sent keeps its value."
    return closed_object(members, [], description=description)


def item_schema(relation: Relation) -> Schema:
    """Return the schema of an item of a relation's list: the record and the link's own fields, if it has any."""
    target = resource_of(relation.target)
    if not relation.link_fields:
        return reference(target.name)
    fields = {
        field.name: _output(field, nullable=field.nullable) for field in relation.link_fields if not field.write_only
    }
    members = {target.singular: reference(target.name), **fields}
    return closed_object(members, description=f"A {relation.singular} of a {resource_of(relation.source).singular}.")


def page_schema(item: str, description: str) -> Schema:
    """Return the schema of a page of items; `item` is a schema name."""
    next_cursor: Schema = {
        **CURSOR,
        "type": ["string", "null"],
        "description": "The cursor to send as `after` for the next page; null on the last one.",
        "examples": [None],
    }
    items: Schema = {
        "type": "array",
        "maxItems": MAX_ITEMS,
        "items": reference(item),
        "description": "The items of the page.",
    }
    total = TOTAL | {"description": "The number of items on all pages; only with `count=exact`."}
    members = {"items": items, "next": next_cursor, "total": total}
    return closed_object(members, ["items", "next"], description=description)


def action_schema(resource: Resource, action: Action) -> Schema:
    """Return the schema of an action's parameters; those named like a field are described like it."""
    schema = input_models.action_input(resource, action).json_schema()
    schema.pop("title")
    for name, member in schema["properties"].items():
        field = resource.fields.get(name)
        described = _input(field) if field else {"description": f"{name.replace('_', ' ').capitalize()}."}
        member |= {keyword: described[keyword] for keyword in ("description", "examples") if keyword in described}
    complete_schema(schema)
    return {**schema, "description": f"The parameters of `{action.name}`."}


def reference(name: str) -> Schema:
    """Return a reference to a named schema of the document."""
    return {"$ref": REFERENCE.format(model=name)}


def closed_object(members: dict[str, Schema], required: list[str] | None = None, **keywords: Any) -> Schema:
    """Return an object schema with these members and no others; by default, all are required."""
    needed = list(members) if required is None else required
    listed = {"required": needed} if needed else {}
    return {"type": "object", **keywords, "properties": members, **listed, "additionalProperties": False}


def _output(field: ResourceField, *, nullable: bool) -> Schema:
    time = {"minLength": 27, "maxLength": 27, "pattern": TIME_PATTERN} if field.kind == "time" else {}
    return _field(field, nullable, time) | ({"readOnly": True} if field.read_only else {})


def _input(field: ResourceField, *, describe_default: bool = False) -> Schema:
    """The default is described, not declared: client generators treat a `default` as a member that is always sent."""
    schema = _field(field, field.nullable, {})
    if describe_default and not field.required and field.default is not None:
        text = str(getattr(field.default, "value", field.default))
        schema["description"] += f" Default: `{text.lower() if field.kind == 'boolean' else text}`."
    return schema


def _field(field: ResourceField, nullable: bool, more: Schema) -> Schema:
    schema = _type(field) | more | {"description": field.description}
    if field.example is not None:
        schema["examples"] = [field.example]
    if nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _type(field: ResourceField) -> Schema:
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
