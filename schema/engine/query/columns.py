"""What a selection needs of a row: its fields, masked where the actor may not see them, and the keys that lead on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Label, case, literal_column

from schema.engine.model.policy import ActorProfile, both, masked
from schema.engine.model.resource import Resource
from schema.engine.query.selection import LinkedRecord, Scalar, Source, ToOne

Pick = tuple[str, Source]


def needed(
    picks: Iterable[Pick], resource: Resource, kind: ActorProfile, row: FromClause, link: FromClause | None = None
) -> list[Label[Any]]:
    """The columns of a record's row, and of the link that led to it, each under its `label`; the id is always there."""
    found = [row.c.id.label("id")]
    for name, scalar in {label(it): it for it in _scalars(picks, resource)}.items():
        if scalar.of_link and link is not None:
            found.append(link.c[scalar.field].label(name))
        elif scalar.field != "id":
            sight = resource.rules.sight(scalar.field).where(row, kind)
            found.append(masked(row.c[scalar.field], sight).label(name))
    return found


def label(scalar: Scalar) -> str:
    """What a field's column is called in the page that it is read from. Ours begin with `_`, as no field does."""
    return f"_link_{scalar.field}" if scalar.of_link else scalar.field


def sees_all(resource: Resource, row: FromClause, kind: ActorProfile) -> ColumnElement[Any]:
    """Whether the actor sees every field of the row: 1 or 0."""
    verdict = both(*(rule.where(row, kind) for rule in resource.rules.private.values()))
    return literal_column(str(int(verdict))) if isinstance(verdict, bool) else case((verdict, 1), else_=0)


def _scalars(picks: Iterable[Pick], resource: Resource) -> Iterator[Scalar]:
    for _, source in picks:
        if isinstance(source, Scalar):
            yield source
        elif isinstance(source, LinkedRecord):
            yield from _scalars(source.selection.picks, resource)
        elif isinstance(source, ToOne):
            yield Scalar(resource.relations[source.relation].near)
