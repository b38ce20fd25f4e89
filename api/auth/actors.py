"""What a proven credential stands for at this moment: the directory is asked, and nobody else.

An API key is a record with a role; a token's subject may be a person's. Neither is remembered here.
"""

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
_OF_A_KEY = Selection(
    tuple((name, Scalar(name)) for name in ("digest", "role", "scopes", "expires_at", "rate", "active"))
)
_OF_A_PERSON = Selection(tuple((name, Scalar(name)) for name in ("id", "active")))


Subject = Literal["external_id", "id"]


@dataclass(frozen=True, slots=True)
class TokenClaim:
    """What a token proves: who its bearer is to the issuer, in which roles, and until when."""

    subject: str
    roles: frozenset[str]
    expires: float


@dataclass(frozen=True, slots=True)
class Credential:
    """What was shown and proved good: its name, its own points a minute, and when it expires, in seconds since 1970."""

    name: str
    rate: int | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class KeyClaim:
    """What an API key says of itself: which one it is, and the SHA-256 of its secret."""

    id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Who asks, and by which credential; `about` is the id of the record that could change it.

    Without one, it changes when somebody gets the `external_id` that is the token's subject.
    """

    actor: Actor
    credential: Credential
    about: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A credential that is no good as long as the record `about` stays as it is."""

    about: str | None


async def of_key(claim: KeyClaim, directory: Directory) -> Standing | Refusal:
    """What a key stands for, if it is good."""
    try:
        found = await records.get(directory.unit_of_work(SERVICE), KEY, claim.id, _OF_A_KEY)
    except NotFound:
        return Refusal(claim.id)
    row = orjson.loads(found.json)
    expires = None if row["expires_at"] is None else datetime.fromisoformat(row["expires_at"]).timestamp()
    good = hmac.compare_digest(row["digest"], claim.digest) and row["active"]
    if not good or (expires is not None and expires <= time.time()):
        return Refusal(claim.id)
    name = f"key:{claim.id}"
    actor = Actor(roles=frozenset({row["role"]}), scopes=frozenset((row["scopes"] or "").split()), name=name)
    return Standing(actor, Credential(name, row["rate"], expires), claim.id)


async def of_token(claim: TokenClaim, directory: Directory, field: Subject) -> Standing | Refusal:
    """What a token stands for, if it is good and its subject no person who is switched off."""
    if claim.expires <= time.time():
        return Refusal(None)
    person = await _person(claim.subject, directory, field)
    if person is not None and not person["active"]:
        return Refusal(str(person["id"]))
    id, name = None if person is None else str(person["id"]), f"token:{claim.subject}"
    about = claim.subject.lower() if id is None and field == "id" else id
    return Standing(Actor(id, claim.roles, name=name), Credential(name, None, claim.expires), about)


async def _person(subject: str, directory: Directory, field: str) -> dict[str, object] | None:
    """The person whose `field` is the subject."""
    if field == "id" and not UUID.fullmatch(subject):
        return None
    found = ListSelection((("items", Items(_OF_A_PERSON)),), Page("size"), where=Compare(field, "eq", "subject"))
    values = {**filter_values(USER.fields[field], "eq", "subject", subject), "size": 1}
    page = await records.find(directory.unit_of_work(SERVICE), USER, found, values)
    return next(iter(orjson.loads(page.json)["items"]), None)


async def is_there_a_key(directory: Directory) -> bool:
    """Whether anybody has ever made one."""
    first = ListSelection((("items", Items(Selection((("id", Scalar("id")),)))),), Page("size"))
    page = await records.find(directory.unit_of_work(SERVICE), KEY, first, {"size": 1})
    return bool(orjson.loads(page.json)["items"])
