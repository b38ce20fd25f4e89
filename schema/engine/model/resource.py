"""`Resource`: what the engine derives from a model, once: names, fields, relations, actions, rules and table."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy import inspect as inspect_mapper
from sqlalchemy.orm import RelationshipProperty, configure_mappers

from schema.engine.model.action import Action, ShownOnce
from schema.engine.model.field import ResourceField, fields_of
from schema.engine.model.names import pascal_case, plural_of
from schema.engine.model.policy import Rules
from schema.engine.model.record import Link, Model, Record


@dataclass(frozen=True, slots=True)
class Relation:
    """A reference from the records of one model to those of another.

    `local_key` and `remote_key` are columns of the link, if there is one. Without a link `local_key` is the foreign
    key: the target's for a `many` relation, otherwise the source's. `owning`: links are created and deleted from this
    side.
    """

    name: str
    source: type[Record]
    target: type[Record]
    many: bool
    nullable: bool
    link: type[Link] | None
    local_key: str
    remote_key: str
    owning: bool
    description: str

    @property
    def singular(self) -> str:
        """The singular of the name: `member` for `members`."""
        return f"{self.name[:-3]}y" if self.name.endswith("ies") else self.name.removesuffix("s")

    @property
    def item_name(self) -> str:
        """The name of the list's items: `GroupMember`, or the target's name if the link has no fields of its own."""
        return f"{self.source.__name__}{pascal_case(self.singular)}" if self.link_fields else self.target.__name__

    @property
    def link_fields(self) -> tuple[ResourceField, ...]:
        """The link's own fields, besides its two foreign keys."""
        return tuple(field for field in fields_of(self.link) if not field.primary_key) if self.link else ()


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """Everything that the engine and the APIs know about a model."""

    model: type[Record]
    name: str
    singular: str
    plural: str
    description: str
    table: Table
    rules: Rules
    fields: Mapping[str, ResourceField]
    relations: Mapping[str, Relation]
    actions: Mapping[str, Action]
    sorts: tuple[tuple[str, ...], ...]
    shown_once: ShownOnce | None = None

    @property
    def readable_fields(self) -> tuple[ResourceField, ...]:
        """The fields that are shown, if the actor may see them."""
        return tuple(field for field in self.fields.values() if not field.write_only)

    @property
    def defaults(self) -> dict[str, Any]:
        """The values of a new record's optional fields."""
        return {name: field.default for name, field in self.fields.items() if not field.required}

    @property
    def filterable_fields(self) -> tuple[ResourceField, ...]:
        return tuple(field for field in self.readable_fields if field.operators)

    def is_masked(self, field: ResourceField) -> bool:
        """Whether some actors may see the record but not this field."""
        return any(field.name in names for names in self.rules.private)


@cache
def resource_of(model: type[Record]) -> Resource:
    configure_mappers()
    singular = str(model.__tablename__)
    fields = {field.name: field for field in fields_of(model)}
    relations = {
        relationship.key: _relation(model, relationship) for relationship in inspect_mapper(model).relationships
    }
    resource = Resource(
        model=model,
        name=model.__name__,
        singular=singular,
        plural=model.plural or plural_of(singular),
        description=inspect.cleandoc(model.__doc__ or ""),
        table=table_of(model),
        rules=model.rules,
        fields=fields,
        relations=relations,
        actions={name: value for name, value in vars(model).items() if isinstance(value, Action)},
        sorts=(*((name,) for name, field in fields.items() if field.sortable), *model.sorts),
        shown_once=next((value for value in vars(model).values() if isinstance(value, ShownOnce)), None),
    )
    _check(resource)
    return resource


def table_of(model: type[Model]) -> Table:
    """Return a model's table, which type checkers do not know of."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def fields_by_name(model: type[Model]) -> dict[str, ResourceField]:
    return {field.name: field for field in fields_of(model)}


def _relation(model: type[Record], relationship: RelationshipProperty[Record]) -> Relation:
    name, many = relationship.key, bool(relationship.uselist)
    link = _link(relationship)
    if link is not None:
        ((_, local_column),) = relationship.synchronize_pairs
        ((_, remote_column),) = relationship.secondary_synchronize_pairs or ()
        local_key, remote_key = str(local_column.key), str(remote_column.key)
        owner = next(field.name for field in fields_of(link) if field.primary_key)
    else:
        (foreign_key,) = relationship.remote_side if many else relationship.local_columns
        local_key, remote_key, owner = str(foreign_key.name), "", ""
    nullable = not many and fields_by_name(model)[local_key].nullable
    description = relationship.doc or f"The {name} of the {model.__tablename__}.".replace("_", " ")
    target: type[Record] = relationship.mapper.class_
    return Relation(name, model, target, many, nullable, link, local_key, remote_key, local_key == owner, description)


def _link(relationship: RelationshipProperty[Record]) -> type[Link] | None:
    if relationship.secondary is None:
        return None
    link = next((link for link in Link.__subclasses__() if table_of(link) is relationship.secondary), None)
    assert link is not None, f"{relationship}: its link_model must be a subclass of Link"
    return link


def _check(resource: Resource) -> None:
    """Fail at start, not at a request, where a declaration cannot be honoured."""
    assert resource.description, f"{resource.name}: must have a docstring, the description in both APIs"
    private = {name for names in resource.rules.private for name in names}
    unknown = private - resource.fields.keys()
    assert not unknown, (
        f"{resource.name}: Rules.private must name fields of the model, got {', '.join(sorted(unknown))}"
    )
    for name in private:
        field = resource.fields[name]
        assert name not in ("id", "version"), (
            f"{resource.name}.{name}: must not be private: it is part of every response"
        )
        assert not field.write_only, f"{resource.name}.{name}: must not be private: it is write-only"
    for relation in resource.relations.values():
        if relation.link:
            assert hasattr(relation.link, "rules"), f"{relation.link.__name__} must have rules"
