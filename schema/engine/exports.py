"""Everything that models, endpoints and resolvers need of the engine; they import it from `schema.engine`.

The engine's own modules do not import from here: this module imports them.
"""

# mypy: implicit-reexport
# ruff: noqa: F401

from __future__ import annotations

from schema.engine.changes import Change
from schema.engine.errors import (
    BadRequest,
    Conflict,
    DirectoryError,
    FieldError,
    Forbidden,
    NotFound,
    QueryTooComplex,
    RequestError,
    ServiceUnavailable,
    Unauthenticated,
    ValidationFailed,
    VersionMismatch,
)
from schema.engine.model.action import action, shown_once
from schema.engine.model.field import EMAIL_PATTERN, TEXT_PATTERN
from schema.engine.model.policy import (
    SCOPES_PATTERN,
    Actor,
    Rule,
    Rules,
    all_of,
    any_of,
    everybody,
    linked,
    masked,
    nobody,
    own,
    role,
    signed_in,
    within_scopes,
)
from schema.engine.model.record import Link, Record, extra
from schema.engine.model.resource import Resource, resource_of
from schema.engine.operations.directory import Directory
from schema.engine.operations.links import get_link, link, unlink
from schema.engine.operations.records import (
    PageResult,
    call_action,
    create,
    delete,
    find,
    find_related,
    get,
    get_related,
    update,
)
from schema.engine.operations.unit_of_work import UnitOfWork
from schema.engine.query.selection import (
    Compare,
    Items,
    ListSelection,
    Order,
    Page,
    Scalar,
    Selection,
    ToOne,
    Total,
)
from schema.engine.sql.record_lookup import RecordResult
