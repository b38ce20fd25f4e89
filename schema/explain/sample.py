"""A record to try requests on."""

from __future__ import annotations

from typing import Any

from schema.engine.model.record import now
from schema.engine.model.resource import Resource


def sample_row(resource: Resource, id: str) -> dict[str, Any]:
    moment = now()
    required = {name: field.example for name, field in resource.fields.items() if field.required}
    # Not the examples' texts: an update to these would change nothing.
    required |= {name: "Example" for name in required if resource.fields[name].kind == "text"}
    row = {**resource.defaults, **required, "id": id, "created_at": moment, "updated_at": moment, "version": 1}
    for name in resource.fields:
        if resource.fields[name].unique and isinstance(row.get(name), str) and name != "id":
            row[name] = id
    return row
