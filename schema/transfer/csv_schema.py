"""CSV schemas: the columns of a CSV file, derived from the models.

There is one schema for each model and one for each link: `users`, `groups`, `memberships`. Columns are the fields under
their REST names. A foreign key may also be given by a unique field of the record that it refers to: under the key's
prefix (`user_email`), in a link also without it (`email`), and as the prefix alone (`group`) where there is only one
such field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Table

from schema.engine.model.field import ResourceField
from schema.engine.model.input_models import InputModel, validator_type
from schema.engine.model.names import plural_of
from schema.engine.model.record import Link, Record
from schema.engine.model.resource import Resource, fields_by_name, table_of


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file. It sets the field `target`: to its value, or to the id of the record whose `via` it holds."""

    name: str
    field: ResourceField
    target: str
    via: ResourceField | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key, the name of the schema that it refers to, and the columns that may stand in for it."""

    field: ResourceField
    target: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CsvSchema:
    """The columns of one kind of file. `identity` are the columns that identify a row."""

    name: str
    singular: str
    table: Table
    fields: Mapping[str, ResourceField]
    defaults: Mapping[str, Any]
    identity: tuple[str, ...]
    unique_keys: tuple[ResourceField, ...]
    references: tuple[Reference, ...]
    columns: Mapping[str, Column]
    input_model: InputModel

    @property
    def is_link(self) -> bool:
        """Whether its rows are links between records."""
        return self.identity != ("id",)

    @property
    def exported_fields(self) -> tuple[ResourceField, ...]:
        return tuple(field for field in self.fields.values() if not field.write_only)

    @property
    def writable_fields(self) -> tuple[ResourceField, ...]:
        """The fields that an import may change."""
        return tuple(field for field in self.fields.values() if not field.read_only and field.name not in self.identity)

    @property
    def required_fields(self) -> tuple[ResourceField, ...]:
        """The fields that a new row must have."""
        return tuple(field for field in self.fields.values() if field.required and not field.read_only)

    @property
    def bits(self) -> dict[str, int]:
        """One bit for each field; their sum says which fields a row provides."""
        return {name: 1 << position for position, name in enumerate(self.fields)}


def csv_schemas_of(resources: Iterable[Resource]) -> dict[str, CsvSchema]:
    """All schemas by name: records first, then the links between them.

    A resource with a secret that is shown only once has no schema: an import could not show it.
    """
    records = {resource.singular: resource for resource in resources if resource.shown_once is None}
    links = {
        relation.link: None
        for resource in records.values()
        for relation in resource.relations.values()
        if relation.link
    }
    csv_schemas = [
        *(_csv_schema(resource.model, resource.plural, records) for resource in records.values()),
        *(_csv_schema(link, plural_of(str(link.__tablename__)), records) for link in links),
    ]
    return {csv_schema.name: csv_schema for csv_schema in csv_schemas}


def unique_column(field: ResourceField) -> str:
    """The database column that holds a unique field's values in the form in which they are unique."""
    return f"{field.name}_key" if field.ignore_case else field.name


def _csv_schema(model: type[Record | Link], name: str, records: Mapping[str, Resource]) -> CsvSchema:
    fields = fields_by_name(model)
    assert len(fields) < 63, f"{name}: too many fields for the bits of one integer"
    references = tuple(_references(fields.values(), records))
    own = {field.name: Column(field.name, field, field.name) for field in fields.values()}
    offered = _prefixed(references)
    if issubclass(model, Link):
        offered += [(column.via.name, column) for reference in references for column in reference.columns if column.via]
    uses = Counter(alias for alias, _ in offered)
    columns = own | {alias: column for alias, column in offered if uses[alias] == 1 and alias not in own}
    singular = str(model.__tablename__)
    return CsvSchema(
        name=name,
        singular=singular,
        table=table_of(model),
        fields=fields,
        defaults={field.name: field.default for field in fields.values() if not field.required},
        identity=tuple(field.name for field in fields.values() if field.primary_key),
        unique_keys=_unique_keys(fields),
        references=references,
        columns=columns,
        input_model=InputModel(
            f"{singular}Row", {column.name: (validator_type(column.field), False) for column in columns.values()}
        ),
    )


def _unique_keys(fields: Mapping[str, ResourceField]) -> tuple[ResourceField, ...]:
    """The fields that identify a record, those that are compared exactly before those that ignore case."""
    unique = [field for field in fields.values() if field.unique and field.kind in ("text", "integer")]
    return tuple(sorted(unique, key=lambda field: field.ignore_case))


def _references(fields: Iterable[ResourceField], records: Mapping[str, Resource]) -> Iterator[Reference]:
    for field in fields:
        if field.foreign_table:
            target = records[field.foreign_table]
            yield Reference(field, target.plural, tuple(_alias(field, key) for key in _unique_keys(target.fields)))


def _alias(field: ResourceField, key: ResourceField) -> Column:
    """A column that gives a foreign key by a unique field of the record that it refers to."""
    name = f"_{field.name}_{key.name}"
    return Column(name, replace(key, name=name, nullable=True, unique=False, indexed=False), field.name, key)


def _prefixed(references: Iterable[Reference]) -> list[tuple[str, Column]]:
    aliases = []
    for reference in references:
        prefix = reference.field.name.removesuffix("_id")
        aliases += [(f"{prefix}_{column.via.name}", column) for column in reference.columns if column.via]
        if len(reference.columns) == 1:
            aliases.append((prefix, reference.columns[0]))
    return aliases
