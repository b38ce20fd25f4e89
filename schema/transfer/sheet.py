"""Sheets: what a CSV file of a kind holds, as it follows from the models.

There is a sheet for each model and for each link: `users`, `groups`, `memberships`. Its columns are the fields, under
their REST names. A foreign key may be given in another way, by a unique field of the record that it leads to: under the
key's prefix (`user_email`), in a link also without it (`email`), and by the prefix alone (`group`) where there is only
one such field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Table

from schema.engine.model.field import ResourceField, fields_of
from schema.engine.model.input_models import InputModel, kind_of
from schema.engine.model.record import Link
from schema.engine.model.resource import Resource, plural_of, table_of


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file. It fills the field `about`: with its value, or with the id of whoever has it in `via`."""

    name: str
    field: ResourceField
    about: str
    via: ResourceField | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key, the sheet that it leads to, and the columns that may stand in for it."""

    field: ResourceField
    target: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """What the files of a kind hold. `identity` are the columns that tell one row from another."""

    name: str
    one: str
    table: Table
    fields: Mapping[str, ResourceField]
    blank: Mapping[str, Any]
    identity: tuple[str, ...]
    keys: tuple[ResourceField, ...]
    references: tuple[Reference, ...]
    columns: Mapping[str, Column]
    face: InputModel

    @property
    def is_link(self) -> bool:
        """Whether its rows join records."""
        return self.identity != ("id",)

    @property
    def shown(self) -> tuple[ResourceField, ...]:
        """The fields that are exported."""
        return tuple(field for field in self.fields.values() if not field.write_only)

    @property
    def writable(self) -> tuple[ResourceField, ...]:
        """The fields that an import may change."""
        return tuple(it for it in self.fields.values() if not it.read_only and it.name not in self.identity)

    @property
    def needed(self) -> tuple[ResourceField, ...]:
        """The fields that a new row cannot do without."""
        return tuple(it for it in self.fields.values() if it.required and not it.read_only)

    @property
    def bits(self) -> dict[str, int]:
        """A number with one bit set for each field: sums of them say which fields a row was given."""
        return {name: 1 << place for place, name in enumerate(self.fields)}


def sheets_of(resources: Iterable[Resource]) -> dict[str, Sheet]:
    """All sheets by name: those of the records first, then those of the links between them.

    What has something that is given once has none: nobody could be given it.
    """
    records = {resource.singular: resource for resource in resources if resource.once is None}
    links = {
        relation.link: None
        for resource in records.values()
        for relation in resource.relations.values()
        if relation.link
    }
    sheets = [
        *(_record_sheet(resource, records) for resource in records.values()),
        *(_link_sheet(it, records) for it in links),
    ]
    return {sheet.name: sheet for sheet in sheets}


def exact_or_folded(field: ResourceField) -> str:
    """The column in which a unique field's values are unique."""
    return f"{field.name}_key" if field.folded else field.name


def _record_sheet(resource: Resource, records: Mapping[str, Resource]) -> Sheet:
    references = tuple(_references(resource.fields.values(), records))
    return _sheet(
        resource.plural, resource.singular, resource.table, resource.fields, resource.blank,
        identity=("id",), keys=_keys(resource), references=references, spellings=_prefixed(references),
    )  # fmt: skip


def _link_sheet(link: type[Link], records: Mapping[str, Resource]) -> Sheet:
    fields = {field.name: field for field in fields_of(link)}
    references = tuple(_references(fields.values(), records))
    bare = ((it.via.name, it) for reference in references for it in reference.columns if it.via)
    blank = {it.name: it.default for it in fields.values() if not it.required}
    singular = str(link.__tablename__)
    return _sheet(
        plural_of(singular), singular, table_of(link), fields, blank,
        identity=tuple(it.name for it in fields.values() if it.primary), keys=(), references=references,
        spellings=[*_prefixed(references), *bare],
    )  # fmt: skip


def _sheet(
    name: str,
    one: str,
    table: Table,
    fields: Mapping[str, ResourceField],
    blank: Mapping[str, Any],
    *,
    identity: tuple[str, ...],
    keys: tuple[ResourceField, ...],
    references: tuple[Reference, ...],
    spellings: Iterable[tuple[str, Column]],
) -> Sheet:
    assert len(fields) < 63, f"{name}: too many fields for the bits of one integer"
    own = {it.name: Column(it.name, it, it.name) for it in fields.values()}
    offered = [*spellings]
    claimed = Counter(spelling for spelling, _ in offered)
    others = {spelling: column for spelling, column in offered if claimed[spelling] == 1 and spelling not in own}
    kinds = {it.name: (kind_of(it.field), False) for it in (*own.values(), *others.values())}
    face = InputModel(f"{one}Row", kinds)
    return Sheet(name, one, table, fields, blank, identity, keys, references, {**own, **others}, face)


def _keys(resource: Resource) -> tuple[ResourceField, ...]:
    """The fields that tell who is meant, those that are compared exactly before those that are not."""
    unique = [it for it in resource.fields.values() if it.unique and it.kind in ("text", "integer")]
    return tuple(sorted(unique, key=lambda field: field.folded))


def _references(fields: Iterable[ResourceField], records: Mapping[str, Resource]) -> Iterator[Reference]:
    for field in fields:
        if field.foreign:
            target = records[field.foreign]
            yield Reference(field, target.plural, tuple(_via(field, key) for key in _keys(target)))


def _via(field: ResourceField, key: ResourceField) -> Column:
    """A column that says by another key which record a foreign key leads to."""
    name = f"_{field.name}_{key.name}"
    return Column(name, replace(key, name=name, nullable=True, unique=False, offered=False), field.name, key)


def _prefixed(references: Iterable[Reference]) -> list[tuple[str, Column]]:
    found = []
    for reference in references:
        prefix = reference.field.name.removesuffix("_id")
        found += [(f"{prefix}_{it.via.name}", it) for it in reference.columns if it.via]
        if len(reference.columns) == 1:
            found.append((prefix, reference.columns[0]))
    return found
