"""The two small models behind TechEmpower's kinds."""

from typing import ClassVar

from sqlmodel import Field

from schema.engine.model.policy import Rules, role, signed_in
from schema.engine.model.record import Record

_staff = role("editor", "admin")


class World(Record, table=True):
    """A row with a random number in it, and a place from 1 to 10,000."""

    rules: ClassVar[Rules] = Rules(read=signed_in, create=_staff, update=_staff, delete=_staff)

    place: int = Field(ge=1, le=10_000, unique=True, description="Its place.")
    random_number: int = Field(ge=1, le=10_000, description="Its number.")


class Fortune(Record, table=True):
    """A message."""

    rules: ClassVar[Rules] = Rules(read=signed_in, create=_staff, update=_staff, delete=_staff)

    place: int = Field(ge=1, le=10_000, unique=True, description="Its place.")
    message: str = Field(max_length=500, description="What it says.")


def id_at(place: int) -> str:
    """The id of the record at a place: so that one can be drawn without asking for it."""
    return f"00000000-0000-7000-8000-{place:012x}"
