"""From a verified credential to an actor: looks up API keys and the users of tokens in the directory, uncached."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import orjson

from schema.engine.errors import NotFound
from schema.engine.model.policy import SERVICE, Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations import records
from schema.engine.operations.directory import Directory
from schema.engine.query.filters import UUID, filter_values
from schema.engine.query.selection import Compare, Items, ListSelection, Page, Scalar, Selection
from schema.models import Key, User

KEY, USER = resource_of(Key), resource_of(User)
_KEY_FIELDS = Selection(
    tuple((name, Scalar(name)) for name in ("digest", "role", "scopes", "expires_at", "rate", "active"))
)
_USER_FIELDS = Selection(tuple((name, Scalar(name)) for name in ("id", "active")))
Subject = Literal["external_id", "id"]


@dataclass(frozen=True, slots=True)
class TokenClaim:
    """The claims of a verified token; `expires` in seconds since 1970."""

    subject: str
    roles: frozenset[str]
    expires: float


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """An API key that has been read but not verified: its id, and the SHA-256 of its secret."""

    id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A valid credential: its name, its own rate in points a minute, and when it expires, in seconds since 1970."""

    name: str
    rate: int | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Authentication:
    """A valid credential with its actor, until the record `record_id` changes.

    Without one, the token's subject is no user's yet.
    """

    actor: Actor
    credential: Credential
    record_id: str | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """An invalid credential, until the record `record_id` changes."""

    record_id: str | None


async def authenticate_key(claim: KeyClaim, directory: Directory) -> Authentication | Rejection:
    """Verify an API key against its record."""
    try:
        record = await records.get(directory.unit_of_work(SERVICE), KEY, claim.id, _KEY_FIELDS)
    except NotFound:
        return Rejection(claim.id)
    row = orjson.loads(record.json)
    expires = None if row["expires_at"] is None else datetime.fromisoformat(row["expires_at"]).timestamp()
    is_valid = hmac.compare_digest(row["digest"], claim.digest) and row["active"]
    if not is_valid or (expires is not None and expires <= time.time()):
        return Rejection(claim.id)
    name = f"key:{claim.id}"
    actor = Actor(roles=frozenset({row["role"]}), scopes=frozenset((row["scopes"] or "").split()), name=name)
    return Authentication(actor, Credential(name, row["rate"], expires), claim.id)


async def authenticate_token(claim: TokenClaim, directory: Directory, field: Subject) -> Authentication | Rejection:
    """Match a verified token's subject with the `field` of a user; without a user, its roles count alone."""
    if claim.expires <= time.time():
        return Rejection(None)
    user = await _user(claim.subject, directory, field)
    if user is not None and not user["active"]:
        return Rejection(str(user["id"]))
    id, name = None if user is None else str(user["id"]), f"token:{claim.subject}"
    record_id = claim.subject.lower() if id is None and field == "id" else id
    return Authentication(Actor(id, claim.roles, name=name), Credential(name, None, claim.expires), record_id)


async def has_any_key(directory: Directory) -> bool:
    """Whether any API key exists, revoked ones included."""
    first_key = ListSelection((("items", Items(Selection((("id", Scalar("id")),)))),), Page("size"))
    page = await records.find(directory.unit_of_work(SERVICE), KEY, first_key, {"size": 1})
    return bool(orjson.loads(page.json)["items"])


async def _user(subject: str, directory: Directory, field: Subject) -> dict[str, object] | None:
    if field == "id" and not UUID.fullmatch(subject):
        return None
    selection = ListSelection((("items", Items(_USER_FIELDS)),), Page("size"), where=Compare(field, "eq", "subject"))
    values = {**filter_values(USER.fields[field], "eq", "subject", subject), "size": 1}
    page = await records.find(directory.unit_of_work(SERVICE), USER, selection, values)
    return next(iter(orjson.loads(page.json)["items"]), None)
