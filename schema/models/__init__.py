"""The models. Importing one here makes it a resource of every API."""

from schema.engine import Record
from schema.models.group import Group
from schema.models.key import Key
from schema.models.membership import Membership
from schema.models.user import User

MODELS: tuple[type[Record], ...] = tuple(
    model
    for model in list(vars().values())
    if isinstance(model, type) and issubclass(model, Record) and model != Record
)

__all__ = ["MODELS", "Group", "Key", "Membership", "User"]
