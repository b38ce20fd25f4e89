"""The types that follow from the models: records, connections, filters, orders, inputs and payloads."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from strawberry.scalars import ID

from schema.engine.model.field import Operator, ResourceField
from schema.engine.model.policy import ACTOR_PROFILES
from schema.engine.model.resource import Relation, Resource, resource_of
from schema.engine.query.search import MAX_LENGTH, MIN_LENGTH, searched_fields
from schema.engine.query.sort import DEFAULT_ORDER
from schema.graphql.types.declarations import (  # fmt: skip
    Argument,
    Member,
    bare,
    camel_case,
    enum,
    enum_of,
    fill_input,
    fill_interface,
    fill_object,
    pascal_case,
    scalar_of,
)

_OPERATORS: dict[Operator, str] = {
    "eq": "It is this.",
    "in": "It is one of these, at most 250.",
    "lt": "It is less than this.",
    "lte": "It is this or less.",
    "gt": "It is greater than this.",
    "gte": "It is this or greater.",
    "startswith": "It begins with this, in upper or lower case.",
    "contains": "It has this somewhere in it, in upper or lower case; at least 3 characters.",
    "isnull": "It is null (`true`), or is not (`false`).",
}
_FILTERS = {"id": "ID", "boolean": "Boolean", "integer": "Int", "text": "String", "time": "DateTime"}
_SEARCHES = {True: "SearchableString", False: "StringSearch"}  # whether there are other comparisons


class Types:
    """All types by their names. One that others refer to is made bare before it is filled in."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self._classes: dict[str, type] = {}
        self._enums: dict[str, type[Enum]] = {}
        self.node = self.bare("Node")
        fill_interface(self.node, "What has an id that finds it again.", [Member("id", ID, "The id.")])
        self._direction = enum(
            "SortDirection", "Which way to sort.", {"ASC": ("asc", "Least first."), "DESC": ("desc", "Greatest first.")}
        )
        self._page_info()
        for resource in resources:
            self._record(resource)
        for resource in resources:
            self._inputs(resource)

    @property
    def names(self) -> list[str]:
        """All types that have been made."""
        return list(self._classes)

    def bare(self, name: str) -> type:
        """The class of that name."""
        if name not in self._classes:
            self._classes[name] = bare(name)
        return self._classes[name]

    def record(self, resource: Resource) -> type:
        """The type of a model's records."""
        if resource.name not in self._classes:
            self._classes[resource.name] = bare(resource.name, self.node)
        return self._classes[resource.name]

    def arguments(self, resource: Resource) -> tuple[Argument, ...]:
        """What a connection takes."""
        listed = ", ".join(f"`{camel_case(name)}`" for name in searched_fields(resource))
        words = f"Only those who have each of these words somewhere in {listed}, in upper or lower case. "
        words += (
            f"Words are parted by blanks; one has at least {MIN_LENGTH} characters, all together at most {MAX_LENGTH}."
        )
        return (
            *([Argument("q", str, words)] if listed else []),
            Argument("filter", self.bare(f"{resource.name}Filter"), "Only those that are like this."),
            Argument(
                "sort",
                list[self.bare(f"{resource.name}Sort")],  # type: ignore[misc]
                "What to sort by; the id decides ties. " + DEFAULT_ORDER,
            ),
            Argument("first", int, "How many to give from the beginning: 20 unless said otherwise, at most 100."),
            Argument("after", str, "Give what comes after this cursor."),
            Argument("last", int, "How many to give from the end, at most 100."),
            Argument("before", str, "Give what comes before this cursor."),
        )

    def connection(self, name: str, target: Resource, description: str, own: Sequence[ResourceField] = ()) -> type:
        """A page of records, and its edges, which carry what a link says of its own."""
        edge, made, node = self.bare(f"{name}Edge"), self.bare(f"{name}Connection"), self.record(target)
        members = [self._member(field) for field in own if not field.write_only]
        cursor = Member("cursor", str, "The record's place in this list.")
        whose = f"A {target.singular}"
        fill_object(edge, f"{whose} in its list.", [cursor, Member("node", node, f"{whose}."), *members])
        page = [
            Member("edges", list[edge], "The page, each record with its cursor."),  # type: ignore[valid-type]
            Member("nodes", list[node], "The page, the records alone."),  # type: ignore[valid-type]
            Member("pageInfo", self.bare("PageInfo"), "What lies round the page."),
            Member("totalCount", int, "How many there are on all pages. It is counted only if asked for."),
        ]
        fill_object(made, description, page)
        return made

    def _page_info(self) -> None:
        members = [
            Member("hasNextPage", bool, "Whether there is more after this page."),
            Member("hasPreviousPage", bool, "Whether there is more before this page."),
            Member("startCursor", str | None, "The first cursor of the page."),
            Member("endCursor", str | None, "The last cursor of the page."),
        ]
        fill_object(self.bare("PageInfo"), "What lies round a page.", members)

    def _record(self, resource: Resource) -> None:
        members = [self._member(field, masked=resource.is_masked(field)) for field in resource.readable_fields]
        members += [self._relation(resource, relation) for relation in resource.relations.values()]
        fill_object(self.record(resource), resource.description, members)
        self.connection(resource.name, resource, f"A page of {resource.plural}.")

    def _relation(self, resource: Resource, relation: Relation) -> Member:
        target = resource_of(relation.target)
        if not relation.many:
            kind: Any = self.record(target)
            hidden = resource.is_masked(resource.fields[relation.near]) or not _seen_with(resource, target)
            sure = not relation.nullable and not hidden
            return Member(camel_case(relation.name), kind if sure else kind | None, relation.description)
        name = f"{resource.name}{pascal_case(relation.singular)}"
        kind = self.connection(name, target, relation.description, relation.link_fields)
        return Member(camel_case(relation.name), kind, relation.description, self.arguments(target))

    def _inputs(self, resource: Resource) -> None:
        conditions, orders = self.bare(f"{resource.name}Filter"), self.bare(f"{resource.name}Sort")
        several = list[conditions]  # type: ignore[valid-type]
        members = [
            Member(camel_case(field.name), self._comparison(field), field.description)
            for field in resource.filterable_fields
        ]
        members += [
            Member("and", several, "All of these hold."),
            Member("or", several, "One of these holds."),
            Member("not", conditions, "This does not hold."),
        ]
        fill_input(conditions, f"What {resource.plural} have to be like. All that is said has to hold.", members)
        names = {field for fields in resource.sorts for field in fields}
        fields = {name.upper(): (name, resource.fields[name].description) for name in names}
        by = enum(f"{resource.name}SortField", f"What {resource.plural} can be sorted by.", fields)
        direction = Member("direction", self._direction, "Which way.", default=self._direction["ASC"])
        fill_input(
            orders,
            f"An order of {resource.plural}.",
            [Member("field", by, "What to sort by."), direction],
            ("field", "direction"),
        )

    def _comparison(self, field: ResourceField) -> type:
        """The input that compares a field of its kind: `IntFilter`, `StringFilter`, …"""
        kind = self.scalar(field)
        name = f"{_SEARCHES[field.indexed] if field.searchable else _FILTERS.get(field.kind) or kind.__name__}Filter"
        if name not in self._classes:
            kinds: dict[str, Any] = {"in": list[kind], "isnull": bool}  # type: ignore[valid-type]
            members = [Member(it, kinds.get(it, kind), _OPERATORS[it]) for it in field.operators]
            fill_input(self.bare(name), "Comparisons; all that is said has to hold.", members)
        return self._classes[name]

    def _member(self, field: ResourceField, *, masked: bool = False) -> Member:
        kind = self.scalar(field)
        return Member(camel_case(field.name), kind | None if field.nullable or masked else kind, field.description)

    def scalar(self, field: ResourceField) -> Any:
        """The type of a field's values."""
        if field.kind == "enum" and type(field.choices[0]).__name__ not in self._enums:
            self._enums[type(field.choices[0]).__name__] = enum_of(field)
        return scalar_of(field, self._enums)


def _seen_with(resource: Resource, target: Resource) -> bool:
    """Whether everybody who sees any record of the one model sees all records of the other."""
    sees = [kind for kind in ACTOR_PROFILES if resource.rules.read.where(resource.table, kind) is not False]
    return all(target.rules.read.where(target.table, kind) is True for kind in sees)
