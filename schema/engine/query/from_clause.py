"""Which rows a branch is about: FROM, WHERE, ORDER BY and the keys of its cursors, under the actor's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, false, literal_column, or_, select, true

from schema.engine.errors import FieldError, Forbidden
from schema.engine.model.field import ResourceField
from schema.engine.model.policy import ActorProfile, Verdict, both
from schema.engine.model.resource import Relation, Resource, table_of
from schema.engine.query import search
from schema.engine.query.filters import predicate, sorted_by, sought, spread, stretch
from schema.engine.query.index_walk import ONE, Found, Part, Predicate
from schema.engine.query.selection import Compare, Condition, ListSelection, Search, parts
from schema.engine.query.sort import Matching, Spread


class Outer:
    """A row of an enclosing query by its name there. `c` gives its columns, as a table's does."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def c(self) -> Outer:
        """The columns."""
        return self

    def __getitem__(self, column: str) -> ColumnElement[Any]:
        return literal_column(f'{self.name}."{column}"')


def matching(
    branch: ListSelection, resource: Resource, kind: ActorProfile, relation: Relation | None, parent: Outer
) -> Matching:
    """The rows of `made` that a branch asks for: all, or those that `relation` leads to from `parent`."""
    found = _matching(branch, resource, kind, relation, parent)
    if relation is not None:
        return found
    stretches = spread(resource, branch.where, branch.order)
    if stretches is not None:
        return replace(found, spread=Spread(stretches, _matching(branch, resource, kind, relation, parent)))
    return replace(found, found=_found(branch, resource))


def _matching(
    branch: ListSelection, resource: Resource, kind: ActorProfile, relation: Relation | None, parent: Outer
) -> Matching:
    row = resource.table.alias()
    link = table_of(relation.link).alias() if relation and relation.link else None
    # Before the order, which may follow the filter: whoever may not see the field is told of what they said.
    asked = [Part(part, condition(part, resource, row, kind)) for part in parts(branch.where)]
    fields = [resource.fields[name] for name in branch.order.fields if name != "id"]
    for field in fields:
        _must_see(resource, field, kind, "sort")
    by_link = link is not None and relation is not None and not fields
    identity = link.c[relation.far] if by_link and link is not None and relation is not None else row.c.id
    return Matching(
        row,
        link,
        link.join(row, row.c.id == link.c[relation.far]) if link is not None and relation else row,
        (*_belonging(relation, row, link, parent), *_allowed(resource, relation, row, parent, kind)),
        tuple(asked),
        (*(row.c[sorted_by(field, branch.order)] for field in fields), identity),
        (*fields, resource.fields["id"]),
        branch.order.descending,
        tuple(stretch(resource, branch.where, branch.order)),
    )


def condition(asked: Condition, resource: Resource, row: FromClause, kind: ActorProfile) -> Predicate:
    """A filter as a predicate; `Forbidden` for a field that the actor may not see in every record."""
    if isinstance(asked, Compare):
        field = resource.fields[asked.field]
        _must_see(resource, field, kind, "filter")
        return predicate(field, asked, row)
    if isinstance(asked, Search):
        return search.searched(asked, resource, row)
    parts = [condition(part, resource, row, kind) for part in asked.parts]
    match asked.word:
        case "and":
            return and_(true(), *parts)
        case "or":
            return or_(false(), *parts)
        case "not":
            # Of a null, a comparison is neither true nor false: what does not hold is all that is not true.
            return and_(true(), *parts).is_not(true())


def where_clauses(verdict: Verdict) -> list[Predicate]:
    """A verdict as conditions of a WHERE clause."""
    if isinstance(verdict, bool):
        return [] if verdict else [false()]
    return [verdict]


def _found(branch: ListSelection, resource: Resource) -> Found | None:
    """What an index finds for the branch's filter in another order than its own."""
    many, more = search.MANY, search.MANY * search.SORTED
    if searches := search.hits(resource, branch.where):
        return Found(searches.fewer(many), searches.fewer(more), hits=searches)
    if compared := sought(resource, branch.where, branch.order):
        rows = select(ONE).where(predicate(*compared, resource.table.alias()))
        return Found(search.fewer(rows, many), search.fewer(rows, more), said=compared[1])
    return None


def _belonging(relation: Relation | None, row: FromClause, link: FromClause | None, parent: Outer) -> list[Predicate]:
    if relation is None:
        return []
    return [(row if link is None else link).c[relation.near] == parent.c["id"]]


def _allowed(
    resource: Resource, relation: Relation | None, row: FromClause, parent: Outer, kind: ActorProfile
) -> list[Predicate]:
    verdict = resource.rules.read.where(row, kind)
    if relation and relation.link:
        verdict = both(verdict, relation.link.rules.read.where(parent if relation.owning else row, kind))
    elif relation:
        # Who may not see the foreign key of a record does not learn it from the list that it puts the record on.
        verdict = both(verdict, resource.rules.sight(relation.near).where(row, kind))
    return where_clauses(verdict)


def _must_see(resource: Resource, field: ResourceField, kind: ActorProfile, deed: str) -> None:
    if resource.rules.sight(field.name).where(resource.table, kind) is not True:
        field_error = FieldError((field.name,), f"you may not {deed} by it", "forbidden", "parameter")
        raise Forbidden(f"you may not {deed} {resource.plural} by {field.name}, which you may not see", [field_error])
