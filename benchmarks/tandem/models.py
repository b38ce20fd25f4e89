"""The two models of the TechEmpower workloads."""

from typing import ClassVar

from sqlmodel import Field

from schema.engine.model.policy import Rules, role, signed_in
from schema.engine.model.record import Record

_staff = role("editor", "admin")


class World(Record, table=True):
    """A row with a random number, at a place from 1 to 10,000."""

    rules: ClassVar[Rules] = Rules(read=signed_in, create=_staff, update=_staff, delete=_staff)

    place: int = Field(ge=1, le=10_000, unique=True, description="Position from 1.")
    random_number: int = Field(ge=1, le=10_000, description="Random number.")


class Fortune(Record, table=True):
    """A message."""

    rules: ClassVar[Rules] = Rules(read=signed_in, create=_staff, update=_staff, delete=_staff)

    place: int = Field(ge=1, le=10_000, unique=True, description="Position from 1.")
    message: str = Field(max_length=500, description="Text.")


def id_at(place: int) -> str:
    """The id of the record at a place, so that a random one can be read without a lookup."""
    return f"00000000-0000-7000-8000-{place:012x}"
