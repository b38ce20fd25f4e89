"""The types that follow from the models: records, connections, filters, and sort orders."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from strawberry.scalars import ID

from schema.engine.model.field import Operator, ResourceField
from schema.engine.model.names import camel_case, pascal_case
from schema.engine.model.policy import ACTOR_PROFILES
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query.search import MAX_LENGTH, MIN_LENGTH, searched_fields
from schema.engine.query.sort import DEFAULT_ORDER
from schema.graphql.types.declarations import (
    Argument,
    DateTime,
    Member,
    declare,
    enum,
    enum_of,
    fill_input,
    fill_object,
)

_OPERATORS: dict[Operator, str] = {
    "eq": "Equals this value.",
    "in": "Is one of these values, at most 250.",
    "lt": "Is less than this value.",
    "lte": "Is at most this value.",
    "gt": "Is greater than this value.",
    "gte": "Is at least this value.",
    "startswith": "Starts with this text, ignoring case.",
    "contains": "Contains this text of at least 3 characters, ignoring case.",
    "isnull": "Is null (`true`) or not null (`false`).",
}
_FILTERS = {"id": "ID", "boolean": "Boolean", "integer": "Int", "text": "String", "time": "DateTime"}
_SEARCHABLE_FILTERS = {True: "SearchableString", False: "StringSearch"}  # whether there are other operators


class Types:
    """All types by name. Types refer to one another, so each is declared before any is filled."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._classes: dict[str, type] = {}
        self._enums: dict[str, type[Enum]] = {}
        self.node = self.declare("Node")
        id = Member("id", ID, "The globally unique id.")
        fill_object(self.node, "An object with a globally unique id.", [id], interface=True)
        directions = {
            "ASC": ("asc", "Ascending: the least value first."),
            "DESC": ("desc", "Descending: the greatest value first."),
        }
        self._direction = enum("SortDirection", "The direction of a sort.", directions)
        self._fill_page_info()
        for resource in resources:
            self._fill_record(resource)
        for resource in resources:
            self._fill_filter(resource)
            self._fill_sort(resource)

    @property
    def names(self) -> list[str]:
        """The names of all object, interface and input types."""
        return list(self._classes)

    def declare(self, name: str) -> type:
        """The class of this name, declared at its first use."""
        if name not in self._classes:
            self._classes[name] = declare(name)
        return self._classes[name]

    def record(self, resource: Resource) -> type:
        if resource.name not in self._classes:
            self._classes[resource.name] = declare(resource.name, self.node)
        return self._classes[resource.name]

    def arguments(self, resource: Resource) -> tuple[Argument, ...]:
        searched = ", ".join(f"`{camel_case(name)}`" for name in searched_fields(resource))
        search = (
            f"Only records with each of these words in one of {searched}, ignoring case. Words are separated by "
            f"spaces; one must have at least {MIN_LENGTH} characters, all together at most {MAX_LENGTH}."
        )
        sort: Any = self.declare(f"{resource.name}Sort")
        return (
            *([Argument("q", str, search)] if searched else []),
            Argument("filter", self.declare(f"{resource.name}Filter"), "Only records that match this filter."),
            Argument("sort", list[sort], f"The sort order; ties are broken by id. {DEFAULT_ORDER}"),
            Argument("first", int, "The page size, from the start of the list: by default 20, at most 100."),
            Argument("after", str, "Only records after this cursor."),
            Argument("last", int, "The page size, from the end of the list: at most 100."),
            Argument("before", str, "Only records before this cursor."),
        )

    def scalar(self, field: ResourceField) -> Any:
        if field.kind != "enum":
            return {"id": ID, "boolean": bool, "integer": int, "time": DateTime, "text": str}[field.kind]
        name = type(field.choices[0]).__name__
        if name not in self._enums:
            self._enums[name] = enum_of(field)
        return self._enums[name]

    def _fill_page_info(self) -> None:
        members = [
            Member("hasNextPage", bool, "Whether there are records after this page."),
            Member("hasPreviousPage", bool, "Whether there are records before this page."),
            Member("startCursor", str | None, "The page's first cursor."),
            Member("endCursor", str | None, "The page's last cursor."),
        ]
        fill_object(self.declare("PageInfo"), "The position of a page in its list.", members)

    def _fill_record(self, resource: Resource) -> None:
        members = [self._member(field, masked=resource.is_masked(field)) for field in resource.readable_fields]
        members += [self._relation(resource, relation) for relation in resource.relations.values()]
        fill_object(self.record(resource), resource.description, members)
        self._connection(resource.name, resource, f"A page of {resource.plural}.")

    def _relation(self, resource: Resource, relation: Relation) -> Member:
        target, name = resource_of(relation.target), camel_case(relation.name)
        if relation.many:
            connection_name = f"{resource.name}{pascal_case(relation.singular)}"
            connection = self._connection(connection_name, target, relation.description, relation.link_fields)
            return Member(name, connection, relation.description, self.arguments(target))
        record: Any = self.record(target)
        masked = resource.is_masked(resource.fields[relation.local_key]) or not _always_readable(resource, target)
        return Member(name, record | None if relation.nullable or masked else record, relation.description)

    def _connection(
        self, name: str, target: Resource, description: str, link_fields: Sequence[ResourceField] = ()
    ) -> type:
        """Fill a connection type and its edge type, which has the link's own fields."""
        edge, connection, node = self.declare(f"{name}Edge"), self.declare(f"{name}Connection"), self.record(target)
        members = [
            Member("cursor", str, "The record's cursor in this list."),
            Member("node", node, f"The {target.singular}."),
            *(self._member(field) for field in link_fields if not field.write_only),
        ]
        fill_object(edge, f"A {target.singular} in a list.", members)
        members = [
            Member("edges", list[edge], "The records of the page with their cursors."),  # type: ignore[valid-type]
            Member("nodes", list[node], "The records of the page."),  # type: ignore[valid-type]
            Member("pageInfo", self.declare("PageInfo"), "The position of the page."),
            Member("totalCount", int, "The number of records on all pages. Counted only if selected."),
        ]
        fill_object(connection, description, members)
        return connection

    def _member(self, field: ResourceField, *, masked: bool = False) -> Member:
        scalar = self.scalar(field)
        annotation = scalar | None if field.nullable or masked else scalar
        return Member(camel_case(field.name), annotation, field.description)

    def _fill_filter(self, resource: Resource) -> None:
        record_filter = self.declare(f"{resource.name}Filter")
        filters = list[record_filter]  # type: ignore[valid-type]
        members = [
            *(
                Member(camel_case(field.name), self._comparison(field), field.description)
                for field in resource.filterable_fields
            ),
            Member("and", filters, "All of these filters match."),
            Member("or", filters, "At least one of these filters matches."),
            Member("not", record_filter, "This filter does not match."),
        ]
        fill_input(record_filter, f"A filter of {resource.plural}: all of its members must match.", members)

    def _comparison(self, field: ResourceField) -> type:
        """The input type that compares a field: `IntFilter`, `StringFilter`, …"""
        scalar = self.scalar(field)
        prefix = _SEARCHABLE_FILTERS[field.indexed] if field.searchable else _FILTERS.get(field.kind) or scalar.__name__
        name = f"{prefix}Filter"
        if name not in self._classes:
            annotations: dict[str, Any] = {"in": list[scalar], "isnull": bool}  # type: ignore[valid-type]
            members = [
                Member(operator, annotations.get(operator, scalar), _OPERATORS[operator])
                for operator in field.operators
            ]
            fill_input(self.declare(name), "Comparisons: all of them must match.", members)
        return self._classes[name]

    def _fill_sort(self, resource: Resource) -> None:
        names = {field for fields in resource.sorts for field in fields}
        fields = {name.upper(): (name, resource.fields[name].description) for name in names}
        members = [
            Member(
                "field",
                enum(f"{resource.name}SortField", f"A sort field of {resource.plural}.", fields),
                "The field to sort by.",
            ),
            Member("direction", self._direction, "The direction of the sort.", default=self._direction["ASC"]),
        ]
        sort = self.declare(f"{resource.name}Sort")
        fill_input(sort, f"A sort order of {resource.plural}.", members, ("field", "direction"))


def _always_readable(resource: Resource, target: Resource) -> bool:
    """Whether every actor who can read any record of one model can read all records of the other."""
    readers = [profile for profile in ACTOR_PROFILES if resource.rules.read.where(resource.table, profile) is not False]
    return all(target.rules.read.where(target.table, profile) is True for profile in readers)
