"""People: what is true of a person in the directory, and who may see and change it."""

from typing import TYPE_CHECKING, ClassVar

from sqlmodel import Field, Relationship

from schema.engine.model.action import action
from schema.engine.model.field import EMAIL_PATTERN
from schema.engine.model.policy import Rules, own, role, signed_in
from schema.engine.model.record import Record, extra
from schema.models.membership import Membership

if TYPE_CHECKING:
    from schema.models.group import Group

_staff = role("editor", "admin")
_self = own("id")


class User(Record, table=True):
    """A person in the directory."""

    rules: ClassVar[Rules] = Rules(
        read=signed_in,
        create=_staff,
        update=_staff | _self.only("first_name", "last_name", "age"),
        delete=_staff,
        private={("email", "age", "external_id"): _staff | _self},
    )
    sorts: ClassVar[tuple[tuple[str, ...], ...]] = (("last_name", "first_name"),)

    first_name: str = Field(
        max_length=100,
        index=True,
        description="The given name.",
        schema_extra=extra(searchable=True, examples=["Ada"]),
    )
    last_name: str | None = Field(
        default=None,
        max_length=100,
        index=True,
        description="The family name.",
        schema_extra=extra(searchable=True, examples=["Lovelace"]),
    )
    age: int = Field(
        ge=0,
        le=150,
        index=True,
        description="The age in years.",
        schema_extra=extra(examples=[36]),
    )
    email: str | None = Field(
        default=None,
        max_length=254,
        unique=True,
        description="The e-mail address, kept as sent; one person's whatever its case.",
        schema_extra=extra(pattern=EMAIL_PATTERN, ignore_case=True, searchable=True, examples=["ada@example.com"]),
    )
    external_id: str | None = Field(
        default=None,
        max_length=255,
        unique=True,
        description="The id that an identity provider knows the person by.",
        schema_extra=extra(examples=["00u1a2b3c4"]),
    )
    active: bool = Field(
        default=True,
        index=True,
        description="Whether the person takes part.",
        schema_extra=extra(examples=[True]),
    )

    groups: list["Group"] = Relationship(back_populates="members", link_model=Membership)

    @action(_staff)
    def deactivate(self) -> None:
        """Switch a person off. Nothing is deleted."""
        self.active = False

    @action(_staff)
    def activate(self) -> None:
        """Switch a person on again."""
        self.active = True
