"""API keys: what a program shows to be let in."""

import hashlib
import secrets
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlmodel import Field

from schema.engine.model.action import action, shown_once
from schema.engine.model.policy import SCOPES_PATTERN, Rules, role, within_scopes
from schema.engine.model.record import Record, extra

_admin = role("admin")


class Role(StrEnum):
    """What a key may do.

    reader: sees people and groups, but for what is private.
    editor: sees and changes people and groups.
    admin: may do everything, with keys too.
    """

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"


class Key(Record, table=True):
    """A program's key to the directory."""

    rules: ClassVar[Rules] = Rules(
        read=_admin, create=_admin, update=_admin & within_scopes("scopes"), delete=_admin, grants="scopes"
    )

    name: str = Field(
        max_length=100,
        index=True,
        description="What the key is for.",
        schema_extra=extra(examples=["deploy"]),
    )
    role: Role = Field(
        index=True,
        description="What the key may do.",
        schema_extra=extra(examples=["editor"]),
    )
    scopes: str | None = Field(
        default=None,
        max_length=500,
        description="What of its role the key is kept to, with spaces between: `read`, `write`, or for one resource "
        "`users:read`, `users:write`. Without any, the whole of it.",
        schema_extra=extra(pattern=SCOPES_PATTERN, examples=["users:write groups:read"]),
    )
    expires_at: datetime | None = Field(
        default=None,
        index=True,
        description="Until when the key is good; null is until it is revoked.",
        schema_extra=extra(examples=["2027-11-22T09:30:00.000000Z"]),
    )
    rate: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="How many points a minute the key may spend; null is what the server lets every key.",
        schema_extra=extra(examples=[6000]),
    )
    active: bool = Field(
        default=True,
        index=True,
        description="Whether the key is good; once revoked, it never is again.",
        schema_extra=extra(read_only=True, examples=[True]),
    )
    digest: str = Field(max_length=64, schema_extra=extra(read_only=True, write_only=True))

    @shown_once
    def secret(self) -> str:
        """The key itself, to be sent as `Authorization: Bearer …`. It is shown this once, and kept nowhere."""
        secret = secrets.token_urlsafe(32)
        self.digest = hashlib.sha256(secret.encode()).hexdigest()
        return f"tdm_{self.id.replace('-', '')}_{secret}"

    @action(_admin)
    def revoke(self) -> None:
        """Switch a key off for good."""
        self.active = False
