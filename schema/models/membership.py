"""Memberships: who belongs to which group, and in which role."""

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field

from schema.engine import Link, Rules, extra, linked, role, signed_in


class MemberRole(StrEnum):
    """What a member may do in a group.

    member: belongs to the group.
    owner: belongs to the group, and manages its members.
    """

    MEMBER = "member"
    OWNER = "owner"


class Membership(Link, table=True):
    """A person's membership in a group."""

    group_id: str = Field(primary_key=True, foreign_key="group.id", ondelete="CASCADE")
    user_id: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    role: MemberRole = Field(
        default=MemberRole.MEMBER,
        description="What the person may do in the group.",
        schema_extra=extra(examples=["member"]),
    )
    created_at: datetime = Field(
        description="When the person joined the group.",
        schema_extra=extra(read_only=True, examples=["2026-11-22T09:30:00.000000Z"]),
    )


_owners = role("editor", "admin") | linked(Membership, role="owner")
Membership.rules = Rules(read=signed_in, create=_owners, update=_owners, delete=_owners)
