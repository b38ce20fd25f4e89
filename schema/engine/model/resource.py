"""What follows from a model: its fields, its relations, its verbs, and what it is called at the doors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Table
from sqlalchemy import inspect as mapped
from sqlalchemy.orm import RelationshipProperty, configure_mappers

from schema.engine.model.action import Action, ShownOnce
from schema.engine.model.field import ResourceField, fields_of
from schema.engine.model.policy import Rules
from schema.engine.model.record import Link, Model, Record


@dataclass(frozen=True, slots=True)
class Relation:
    """A way from the records of one model to those of another.

    `near` and `far` are columns of the link, if there is one; else `near` is the foreign key: of the target where the
    relation is `many`, of the source where it is not. `owning`: a link is made and cut from this side.
    """

    name: str
    source: type[Record]
    target: type[Record]
    many: bool
    nullable: bool
    link: type[Link] | None
    near: str
    far: str
    owning: bool
    description: str

    @property
    def singular(self) -> str:
        """One of them: `members` has the singular `member`."""
        return f"{self.name[:-3]}y" if self.name.endswith("ies") else self.name.removesuffix("s")

    @property
    def pascal_name(self) -> str:
        """Its name inside a longer one: `Members`."""
        return pascal_case(self.name)

    @property
    def singular_pascal_name(self) -> str:
        """One of them inside a longer name: `Member`."""
        return pascal_case(self.singular)

    @property
    def item_name(self) -> str:
        """What an item of the list is called: `GroupMember`; the target's own name where the link says nothing more."""
        return f"{self.source.__name__}{self.singular_pascal_name}" if self.link_fields else self.target.__name__

    @property
    def link_fields(self) -> tuple[ResourceField, ...]:
        """The link's own fields: what it says beyond who is joined to whom."""
        return tuple(field for field in fields_of(self.link) if not field.primary_key) if self.link else ()


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """All that the engine and the doors know of a model."""

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
    def plural_pascal_name(self) -> str:
        """The plural inside a longer name: `Users`."""
        return pascal_case(self.plural)

    @property
    def readable_fields(self) -> tuple[ResourceField, ...]:
        """The fields that can be read."""
        return tuple(field for field in self.fields.values() if not field.write_only)

    @property
    def defaults(self) -> dict[str, Any]:
        """What a new record has where nothing is given."""
        return {name: field.default for name, field in self.fields.items() if not field.required}

    @property
    def filterable_fields(self) -> tuple[ResourceField, ...]:
        """The fields that lists can be filtered by."""
        return tuple(field for field in self.readable_fields if field.operators)

    def is_masked(self, field: ResourceField) -> bool:
        """Whether there is somebody who may see the record but not this field."""
        return any(field.name in names for names in self.rules.private)


@cache
def resource_of(model: type[Record]) -> Resource:
    """What follows from a model; worked out once."""
    configure_mappers()
    singular = str(model.__tablename__)
    fields = {field.name: field for field in fields_of(model)}
    relations = {it.key: _relation(model, it) for it in mapped(model).relationships}
    resource = Resource(
        model=model,
        name=model.__name__,
        singular=singular,
        plural=model.plural or plural_of(singular),
        description=inspect.cleandoc(model.__doc__ or ""),
        table=_table(model),
        rules=model.rules,
        fields=fields,
        relations=relations,
        actions={name: value for name, value in vars(model).items() if isinstance(value, Action)},
        sorts=(*((name,) for name, field in fields.items() if field.sortable), *model.sorts),
        shown_once=next((value for value in vars(model).values() if isinstance(value, ShownOnce)), None),
    )
    _check(resource)
    return resource


def plural_of(singular: str) -> str:
    """The plural of a name, where it is a regular one."""
    return f"{singular[:-1]}ies" if re.search("[^aeiou]y$", singular) else f"{singular}s"


def pascal_case(name: str) -> str:
    """A name in snake_case as it stands inside a CamelCase one."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def table_of(model: type[Model]) -> Table:
    """A model's table."""
    return _table(model)


def _table(model: type[Model]) -> Table:
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


def _relation(model: type[Record], found: RelationshipProperty[Record]) -> Relation:
    target: type[Record] = found.mapper.class_
    many = bool(found.uselist)
    link = _link(found)
    if link is not None:
        ((_, here),) = found.synchronize_pairs
        ((_, there),) = found.secondary_synchronize_pairs or ()
        near, far = str(here.key), str(there.key)
        owner = next(field.name for field in fields_of(link) if field.primary_key)
    else:
        (key,) = found.remote_side if many else found.local_columns
        near, far, owner = str(key.name), "", ""
    nullable = not many and fields_by_name(model)[near].nullable
    plain = f"The {found.key.replace('_', ' ')} of the {str(model.__tablename__).replace('_', ' ')}."
    return Relation(found.key, model, target, many, nullable, link, near, far, near == owner, found.doc or plain)


def fields_by_name(model: type[Model]) -> dict[str, ResourceField]:
    """A model's fields by their names."""
    return {field.name: field for field in fields_of(model)}


def _link(found: RelationshipProperty[Record]) -> type[Link] | None:
    if found.secondary is None:
        return None
    links = (link for link in Link.__subclasses__() if _table(link) is found.secondary)
    link = next(links, None)
    assert link is not None, f"{found}: the link_model of a relation is a subclass of Link"
    return link


def _check(resource: Resource) -> None:
    """A programmer's mistakes end the start, not a request."""
    assert resource.description, f"{resource.name}: a model's docstring is its description at both doors"
    private = {name for names in resource.rules.private for name in names}
    unknown = private - resource.fields.keys()
    assert not unknown, f"{resource.name}: there are rules for {', '.join(sorted(unknown))}, but no such fields"
    for name in private:
        field = resource.fields[name]
        assert name not in ("id", "version"), (
            f"{resource.name}.{name}: it is part of every answer and cannot be private"
        )
        assert not field.write_only, f"{resource.name}.{name}: what is never shown needs no rule for who sees it"
    for relation in resource.relations.values():
        if relation.link:
            assert hasattr(relation.link, "rules"), f"{relation.link.__name__} has no rules"
