"""Where the planner's walk is: which record is at hand, how deep, and what it is called in the query round it."""

from __future__ import annotations

from dataclasses import dataclass

from schema.engine.errors import TooComplex
from schema.engine.field import FieldShape
from schema.engine.matching import Outer
from schema.engine.policy import Kind
from schema.engine.selection import Scalar
from schema.engine.shape import Relation, Shape

DEEPEST = 14


@dataclass(frozen=True, slots=True)
class Scope:
    """A level of the walk; `alone` if there is only one record at hand, `relation` is the way that led to it."""

    shape: Shape
    kind: Kind
    level: int
    alone: bool
    relation: Relation | None = None

    @property
    def row(self) -> Outer:
        """The record at hand, under the name that its query gives it."""
        return Outer(f"p{self.level}")

    @property
    def separator(self) -> str:
        """What stands between the columns of this level."""
        return chr(self.level + 1)

    def below(self, made: Shape, relation: Relation | None) -> Scope:
        """One level deeper."""
        if self.level >= DEEPEST:
            raise TooComplex(f"relations can be followed {DEEPEST} levels deep, not further")
        return Scope(made, self.kind, self.level + 1, False, relation)

    def field(self, scalar: Scalar) -> FieldShape:
        """The field that is meant: the record's, or the link's."""
        if scalar.of_link and self.relation:
            return next(field for field in self.relation.link_fields if field.name == scalar.field)
        return self.shape.fields[scalar.field]
