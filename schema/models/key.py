"""API keys: credentials of programs."""

import hashlib
import secrets
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlmodel import Field

from schema.engine import SCOPES_PATTERN, Record, Rules, action, extra, role, shown_once, within_scopes

_admin = role("admin")


class Role(StrEnum):
    """What a key may do.

    reader: reads people and groups, without private fields.
    editor: reads and changes people and groups.
    admin: may do everything, including managing keys.
    """

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"


class Key(Record, table=True):
    """A program's API key."""

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
        description="Restricts the role to these scopes, separated by spaces: `read`, `write`, or for one resource "
        "`users:read`, `users:write`. Null for no restriction.",
        schema_extra=extra(pattern=SCOPES_PATTERN, examples=["users:write groups:read"]),
    )
    expires_at: datetime | None = Field(
        default=None,
        index=True,
        description="When the key expires; null if it never does.",
        schema_extra=extra(examples=["2027-11-22T09:30:00.000000Z"]),
    )
    rate: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="The rate limit in points per minute; null for the server's default.",
        schema_extra=extra(examples=[6000]),
    )
    active: bool = Field(
        default=True,
        index=True,
        description="Whether the key is valid. A revoked key stays invalid.",
        schema_extra=extra(read_only=True, examples=[True]),
    )
    digest: str = Field(max_length=64, schema_extra=extra(read_only=True, write_only=True))

    @shown_once
    def secret(self) -> str:
        """The key itself, to be sent as `Authorization: Bearer …`. It is shown only once, and not stored."""
        secret = secrets.token_urlsafe(32)
        self.digest = hashlib.sha256(secret.encode()).hexdigest()
        return f"tdm_{self.id.replace('-', '')}_{secret}"

    @action(_admin)
    def revoke(self) -> None:
        """Revoke a key permanently."""
        self.active = False
