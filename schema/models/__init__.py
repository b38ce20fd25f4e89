"""The table of contents: one line for each resource, and it is at both doors."""

from schema.engine.model.record import Record
from schema.models.group import Group
from schema.models.key import Key
from schema.models.membership import Membership
from schema.models.user import User

MODELS: tuple[type[Record], ...] = tuple(
    found
    for found in list(vars().values())
    if isinstance(found, type) and issubclass(found, Record) and found != Record
)

__all__ = ["RESOURCES", "Group", "Key", "Membership", "User"]
