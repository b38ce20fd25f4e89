"""Groups of people, and who may change them."""

from typing import TYPE_CHECKING, ClassVar

from sqlmodel import Field, Relationship

from schema.engine import Record, Rules, extra, role, signed_in
from schema.models.membership import Membership

if TYPE_CHECKING:
    from schema.models.user import User

_staff = role("editor", "admin")


class Group(Record, table=True):
    """A group of people."""

    rules: ClassVar[Rules] = Rules(read=signed_in, create=_staff, update=_staff, delete=_staff)

    name: str = Field(
        max_length=100,
        unique=True,
        description="The group's name, unique.",
        schema_extra=extra(searchable=True, examples=["Analytical Engine"]),
    )
    description: str | None = Field(
        default=None,
        max_length=500,
        description="What the group is for.",
        schema_extra=extra(searchable=True, examples=["Builds the first computer."]),
    )
    active: bool = Field(
        default=True,
        index=True,
        description="Whether the group is in use.",
        schema_extra=extra(examples=[True]),
    )

    members: list["User"] = Relationship(back_populates="groups", link_model=Membership)
