"""Where the planner's walk is: which record is at hand, how deep, and what it is called in the query round it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, SelectBase, Subquery, select

from schema.engine.errors import QueryTooComplex
from schema.engine.model.field import ResourceField
from schema.engine.model.policy import ActorProfile
from schema.engine.model.resource import Relation, Resource
from schema.engine.query.from_clause import Outer
from schema.engine.query.selection import Scalar

DEEPEST = 14


@dataclass(frozen=True, slots=True)
class Scope:
    """A level of the walk; `alone` if there is only one record at hand, `relation` is the way that led to it.

    A level's query is `q…`: its rows, and beside them what is nested in them, each as a column of its own. Where
    something is, the rows themselves are `p…` in it. So nothing is nested in an expression: SQLite's parser has room
    for a hundred things that are still open, and lists inside lists would open too many.
    """

    resource: Resource
    kind: ActorProfile
    level: int
    alone: bool
    relation: Relation | None = None
    nested: list[ColumnElement[Any]] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        """Nobody gets to a level that their scopes leave out."""
        self.kind.keep_within(self.resource.plural, "read")

    @property
    def row(self) -> Outer:
        """The record at hand, for what is nested in it."""
        return Outer(f"p{self.level}")

    @property
    def shown(self) -> Outer:
        """The record at hand, and what is nested in it, for what is written of it."""
        return Outer(f"q{self.level}")

    def nest(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column that something nested becomes."""
        self.nested.append(text)
        return self.shown[f"_c{len(self.nested) - 1}"]

    def query(self, rows: SelectBase) -> Subquery:
        """The level's query, once all that is nested is known."""
        if not self.nested:
            return rows.subquery(f"q{self.level}")
        inner = rows.subquery(f"p{self.level}")
        beside = [text.label(f"_c{number}") for number, text in enumerate(self.nested)]
        return select(*inner.c, *beside).select_from(inner).subquery(f"q{self.level}")

    @property
    def separator(self) -> str:
        """What stands between the columns of this level."""
        return chr(self.level + 1)

    def below(self, resource: Resource, relation: Relation | None) -> Scope:
        """One level deeper."""
        if self.level >= DEEPEST:
            raise QueryTooComplex(f"relations can be followed {DEEPEST} levels deep, not further")
        return Scope(resource, self.kind, self.level + 1, False, relation)

    def field(self, scalar: Scalar) -> ResourceField:
        """The field that is meant: the record's, or the link's."""
        if scalar.of_link and self.relation:
            return next(field for field in self.relation.link_fields if field.name == scalar.field)
        return self.resource.fields[scalar.field]
