"""JSON Schemas (draft 2020-12) of what the models' faces take and give."""

from __future__ import annotations

from typing import Any

from api.rest.endpoint import Schema
from schema.engine import faces
from schema.engine.cursors import MAX_LENGTH
from schema.engine.field import TIME, FieldShape
from schema.engine.shape import Relation, Shape, shape
from schema.engine.verb import Verb

MOST_ITEMS = 100
CURSOR: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": "^[A-Za-z0-9_-]+$"}
TOTAL: Schema = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**53 - 1}
UUID: Schema = {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36}


_SOME: Schema = {"type": "string", "maxLength": 4000, "pattern": r"^[\s\S]*$"}
PROBLEM: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {**_SOME, "format": "uri-reference", "description": "A page of ours about this kind of problem."},
        "title": {**_SOME, "description": "The kind of problem in a few words."},
        "status": {"type": "integer", "format": "int32", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {**_SOME, "description": "What went wrong this time."},
        "instance": {**_SOME, "description": "The path that was asked for."},
        "code": {"type": "string", "maxLength": 40, "pattern": "^[A-Z_]+$", "description": "The kind of problem, for programs."},
        "request_id": {**_SOME, "description": "What the log knows this request by."},
        "errors": {
            "type": "array",
            "maxItems": 100,
            "description": "Each thing that is wrong with the request, and where.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {**_SOME, "description": "A JSON Pointer (RFC 6901) into the body."},
                    "parameter": {**_SOME, "description": "The name of a parameter."},
                    "message": {**_SOME, "description": "What is wrong there."},
                    "code": {**_SOME, "description": "What is wrong there, for programs."},
                },
                "required": ["message", "code"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id", "errors"],
    "additionalProperties": False,
}


def field_schema(field: FieldShape, *, nullable: bool) -> Schema:
    """A field's values."""
    made = _plain(field) | {"description": field.description}
    if field.example is not None:
        made["examples"] = [field.example]
    if nullable:
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def read_face(made: Shape) -> Schema:
    """A record as it is shown: every member always there, null where it is unknown or the actor may not see it."""
    return closed(
        {field.name: _read(field, made.masked(field)) for field in made.shown},
        description=made.description,
    )


def create_face(made: Shape) -> Schema:
    """What a new record is made of."""
    taken = [field for field in made.fields.values() if not field.read_only]
    members = {field.name: field_schema(field, nullable=field.nullable) | _default(field) for field in taken}
    required = [field.name for field in taken if field.required]
    return closed(members, required, description=f"A new {made.singular}.", examples=[example(made)])


def update_face(made: Shape) -> Schema:
    """What to change of a record (RFC 7396): what is not sent stays, null clears."""
    taken = [field for field in made.fields.values() if not field.read_only]
    members = {field.name: field_schema(field, nullable=field.nullable) for field in taken}
    sentence = f"What to change of a {made.singular}: a member that is not sent stays, and null clears it."
    return closed(members, [], description=sentence)


def link_face(relation: Relation) -> Schema:
    """What can be said of a link."""
    taken = [field for field in relation.link_fields if not field.read_only]
    members = {field.name: field_schema(field, nullable=field.nullable) | _default(field) for field in taken}
    return closed(members, [], description=f"What joins the {relation.singular} to the {relation.source.__name__}.")


def item_face(relation: Relation) -> Schema:
    """A record as an item of a relation's list: with the link's own fields round it, if it has any."""
    target = shape(relation.target)
    if not relation.link_fields:
        return reference(target.name)
    members: dict[str, Schema] = {target.singular: reference(target.name)}
    members |= {field.name: _read(field, False) for field in relation.link_fields if not field.write_only}
    return closed(members, description=f"{relation.description.rstrip('.')}: one of them.")


def page_face(item: str, description: str) -> Schema:
    """A page of items."""
    following: Schema = {
        **CURSOR,
        "type": ["string", "null"],
        "description": "What to send as `after` for the next page; null on the last one.",
    }
    members: dict[str, Schema] = {
        "items": {
            "type": "array",
            "maxItems": MOST_ITEMS,
            "items": reference(item),
            "description": "The page.",
        },
        "next": following,
        "total": TOTAL | {"description": "How many there are on all pages; only with `count=exact`."},
    }
    return closed(members, ["items", "next"], description=description)


def reference(name: str) -> Schema:
    """A schema by the name under which the document has it."""
    return {"$ref": f"#/components/schemas/{name}"}


def verb_schema(verb: Verb) -> Schema:
    """What a model's own verb takes."""
    made = faces.verb_face(verb).json_schema()
    return {**made, "description": f"What `{verb.name}` takes.", "examples": [{}]}


def closed(members: dict[str, Schema], required: list[str] | None = None, **words: Any) -> Schema:
    """An object with these members and no others; all are required unless said otherwise."""
    needed = list(members) if required is None else required
    listed = {"required": needed} if needed else {}
    return {"type": "object", **words, "properties": members, **listed, "additionalProperties": False}


def example(made: Shape) -> dict[str, Any]:
    """A new record, as the fields' own examples have it."""
    taken = [field for field in made.fields.values() if not field.read_only and field.foreign is None]
    return {field.name: field.example for field in taken if field.example is not None}


def shown_example(made: Shape) -> dict[str, Any]:
    """A record, as the fields' own examples have it."""
    return {field.name: field.example for field in made.shown}


def _read(field: FieldShape, masked: bool) -> Schema:
    read_only = {"readOnly": True} if field.read_only else {}
    return field_schema(field, nullable=field.nullable or masked) | read_only


def _default(field: FieldShape) -> Schema:
    return {} if field.required else {"default": getattr(field.default, "value", field.default)}


def _plain(field: FieldShape) -> Schema:
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
            return {"type": "string", "format": "date-time", "minLength": 27, "maxLength": 27, "pattern": TIME}
        case "text":
            bounds = {"minLength": field.min_length, "maxLength": field.max_length}
            return {"type": "string", **bounds, "pattern": field.pattern}
