"""Query levels: the subquery of each level of a selection, its columns, and how nested texts become columns of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Label, SelectBase, Subquery, case, literal_column, select

from schema.engine.errors import QueryTooComplex
from schema.engine.model.field import ResourceField
from schema.engine.model.policy import ActorProfile, all_of, masked
from schema.engine.model.resource import Relation, Resource
from schema.engine.query.selection import LinkedRecord, Member, Scalar, ToOne

MAX_LEVEL = 14


class OuterRow:
    """A row of an enclosing query by that query's alias; `c` gives its columns, as a table's does."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def c(self) -> OuterRow:
        return self

    def __getitem__(self, column: str) -> ColumnElement[Any]:
        return literal_column(f'{self.name}."{column}"')


@dataclass(frozen=True, slots=True)
class QueryLevel:
    """One level of a selection; `single`: it has one record; `relation`: what led to it from the level above.

    A level without nested texts is one subquery, `q0`. Else its rows are `p0`, and the nested texts are columns beside
    them:

        (SELECT p0.*, (SELECT …) AS _c0 FROM (SELECT … FROM user …) AS p0) AS q0

    An expression that nests them directly would overflow SQLite's parser stack of 100 terms.
    """

    resource: Resource
    profile: ActorProfile
    number: int
    single: bool
    relation: Relation | None = None
    nested: list[ColumnElement[Any]] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        """Refuse a resource that the actor's scopes leave out."""
        self.profile.check_scope(self.resource.plural, "read")

    @property
    def row(self) -> OuterRow:
        """The record, for the queries nested in it."""
        return OuterRow(f"p{self.number}")

    @property
    def columns(self) -> OuterRow:
        """The record's columns and the nested texts, for the JSON built from them."""
        return OuterRow(f"q{self.number}")

    def below(self, resource: Resource, relation: Relation | None) -> QueryLevel:
        """The next level.

        Raises:
            QueryTooComplex: the selection is nested too deep.
        """
        if self.number >= MAX_LEVEL:
            raise QueryTooComplex(f"relations must be nested at most {MAX_LEVEL} levels deep")
        return QueryLevel(resource, self.profile, self.number + 1, False, relation)

    def nest(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """Make a nested text a column of this level."""
        self.nested.append(text)
        return self.columns[f"_c{len(self.nested) - 1}"]

    def subquery(self, rows: SelectBase) -> Subquery:
        """The level's subquery; call it after all nested texts are known."""
        if not self.nested:
            return rows.subquery(f"q{self.number}")
        inner = rows.subquery(f"p{self.number}")
        texts = [text.label(f"_c{number}") for number, text in enumerate(self.nested)]
        return select(*inner.c, *texts).select_from(inner).subquery(f"q{self.number}")

    @property
    def separator(self) -> int:
        """The code point of the control character that separates columns of this level's text."""
        return self.number + 1

    def field(self, scalar: Scalar) -> ResourceField:
        if scalar.of_link and self.relation:
            return next(field for field in self.relation.link_fields if field.name == scalar.field)
        return self.resource.fields[scalar.field]


def selected_columns(
    members: Iterable[Member],
    resource: Resource,
    profile: ActorProfile,
    row: FromClause,
    link: FromClause | None = None,
) -> list[Label[Any]]:
    """The columns that a selection needs of a record's row and its link's: the id, and each field masked by its rule.

    A masked column is `CASE WHEN <rule> THEN user.email END AS email`.
    """
    columns = [row.c.id.label("id")]
    for label, scalar in {column_label(scalar): scalar for scalar in _scalars(members, resource)}.items():
        if scalar.of_link and link is not None:
            columns.append(link.c[scalar.field].label(label))
        elif scalar.field != "id":
            visible = resource.rules.read_rule(scalar.field).where(row, profile)
            columns.append(masked(row.c[scalar.field], visible).label(label))
    return columns


def column_label(scalar: Scalar) -> str:
    """The name of a field's column in its level. Names with a leading `_` are the planner's: no field has one."""
    return f"_link_{scalar.field}" if scalar.of_link else scalar.field


def sees_all_fields(resource: Resource, row: FromClause, profile: ActorProfile) -> ColumnElement[Any]:
    """Whether the actor sees every field of the row: 1 or 0."""
    result = all_of(*(rule.where(row, profile) for rule in resource.rules.private.values()))
    return literal_column(str(int(result))) if isinstance(result, bool) else case((result, 1), else_=0)


def _scalars(members: Iterable[Member], resource: Resource) -> Iterator[Scalar]:
    for _, source in members:
        if isinstance(source, Scalar):
            yield source
        elif isinstance(source, LinkedRecord):
            yield from _scalars(source.selection.members, resource)
        elif isinstance(source, ToOne):
            yield Scalar(resource.relations[source.relation].local_key)
