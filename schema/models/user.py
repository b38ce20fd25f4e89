"""People in the directory, and who may see and change them."""

from typing import TYPE_CHECKING, ClassVar

from sqlmodel import Field, Relationship

from schema.engine import EMAIL_PATTERN, Record, Rules, action, extra, own, role, signed_in
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
        description="The e-mail address, stored as sent; unique ignoring case.",
        schema_extra=extra(pattern=EMAIL_PATTERN, ignore_case=True, searchable=True, examples=["ada@example.com"]),
    )
    external_id: str | None = Field(
        default=None,
        max_length=255,
        unique=True,
        description="The person's id in an identity provider or HR system.",
        schema_extra=extra(examples=["00u1a2b3c4"]),
    )
    active: bool = Field(
        default=True,
        index=True,
        description="Whether the person is active.",
        schema_extra=extra(examples=[True]),
    )

    groups: list["Group"] = Relationship(back_populates="members", link_model=Membership)

    @action(_staff)
    def deactivate(self) -> None:
        """Deactivate a person. Nothing is deleted."""
        self.active = False

    @action(_staff)
    def activate(self) -> None:
        """Activate a person again."""
        self.active = True
