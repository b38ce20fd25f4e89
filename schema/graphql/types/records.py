"""The types that follow from the models: records, connections, filters, orders, inputs and payloads."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from strawberry.scalars import ID

from schema.engine.model.field import FieldShape
from schema.engine.model.policy import KINDS
from schema.engine.model.resource import Relation, Shape, shape
from schema.engine.query.filters import FOLLOWING
from schema.engine.query.search import LONGEST, SHORTEST, looked_into
from schema.engine.query.selection import Operator
from schema.graphql.types.declarations import (  # fmt: skip
    Argument,
    Member,
    bare,
    camel,
    enum,
    enum_of,
    fill_input,
    fill_interface,
    fill_object,
    pascal,
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

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._classes: dict[str, type] = {}
        self._enums: dict[str, type[Enum]] = {}
        self.node = self.bare("Node")
        fill_interface(self.node, "What has an id that finds it again.", [Member("id", ID, "The id.")])
        self._direction = enum(
            "SortDirection", "Which way to sort.", {"ASC": ("asc", "Least first."), "DESC": ("desc", "Greatest first.")}
        )
        self._page_info()
        for made in shapes:
            self._record(made)
        for made in shapes:
            self._inputs(made)

    @property
    def names(self) -> list[str]:
        """All types that have been made."""
        return list(self._classes)

    def bare(self, name: str) -> type:
        """The class of that name."""
        if name not in self._classes:
            self._classes[name] = bare(name)
        return self._classes[name]

    def record(self, made: Shape) -> type:
        """The type of a model's records."""
        if made.name not in self._classes:
            self._classes[made.name] = bare(made.name, self.node)
        return self._classes[made.name]

    def arguments(self, made: Shape) -> tuple[Argument, ...]:
        """What a connection takes."""
        listed = ", ".join(f"`{camel(name)}`" for name in looked_into(made))
        words = f"Only those who have each of these words somewhere in {listed}, in upper or lower case. "
        words += f"Words are parted by blanks; one has at least {SHORTEST} characters, all together at most {LONGEST}."
        return (
            *([Argument("q", str, words)] if listed else []),
            Argument("filter", self.bare(f"{made.name}Filter"), "Only those that are like this."),
            Argument("sort", list[self.bare(f"{made.name}Sort")], "What to sort by; the id decides ties. " + FOLLOWING),  # type: ignore[misc]
            Argument("first", int, "How many to give from the beginning: 20 unless said otherwise, at most 100."),
            Argument("after", str, "Give what comes after this cursor."),
            Argument("last", int, "How many to give from the end, at most 100."),
            Argument("before", str, "Give what comes before this cursor."),
        )

    def connection(self, name: str, target: Shape, description: str, own: Sequence[FieldShape] = ()) -> type:
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

    def _record(self, made: Shape) -> None:
        members = [self._member(field, masked=made.masked(field)) for field in made.shown]
        members += [self._relation(made, relation) for relation in made.relations.values()]
        fill_object(self.record(made), made.description, members)
        self.connection(made.name, made, f"A page of {made.plural}.")

    def _relation(self, made: Shape, relation: Relation) -> Member:
        target = shape(relation.target)
        if not relation.many:
            kind: Any = self.record(target)
            hidden = made.masked(made.fields[relation.near]) or not _seen_with(made, target)
            sure = not relation.nullable and not hidden
            return Member(camel(relation.name), kind if sure else kind | None, relation.description)
        name = f"{made.name}{pascal(relation.singular)}"
        kind = self.connection(name, target, relation.description, relation.link_fields)
        return Member(camel(relation.name), kind, relation.description, self.arguments(target))

    def _inputs(self, made: Shape) -> None:
        conditions, orders = self.bare(f"{made.name}Filter"), self.bare(f"{made.name}Sort")
        several = list[conditions]  # type: ignore[valid-type]
        members = [Member(camel(field.name), self._comparison(field), field.description) for field in made.filters]
        members += [
            Member("and", several, "All of these hold."),
            Member("or", several, "One of these holds."),
            Member("not", conditions, "This does not hold."),
        ]
        fill_input(conditions, f"What {made.plural} have to be like. All that is said has to hold.", members)
        names = {field for fields in made.sorts for field in fields}
        fields = {name.upper(): (name, made.fields[name].description) for name in names}
        by = enum(f"{made.name}SortField", f"What {made.plural} can be sorted by.", fields)
        direction = Member("direction", self._direction, "Which way.", default=self._direction["ASC"])
        fill_input(
            orders,
            f"An order of {made.plural}.",
            [Member("field", by, "What to sort by."), direction],
            ("field", "direction"),
        )

    def _comparison(self, field: FieldShape) -> type:
        """The input that compares a field of its kind: `IntFilter`, `StringFilter`, …"""
        kind = self.scalar(field)
        name = f"{_SEARCHES[field.offered] if field.searchable else _FILTERS.get(field.kind) or kind.__name__}Filter"
        if name not in self._classes:
            kinds: dict[str, Any] = {"in": list[kind], "isnull": bool}  # type: ignore[valid-type]
            members = [Member(it, kinds.get(it, kind), _OPERATORS[it]) for it in field.operators]
            fill_input(self.bare(name), "Comparisons; all that is said has to hold.", members)
        return self._classes[name]

    def _member(self, field: FieldShape, *, masked: bool = False) -> Member:
        kind = self.scalar(field)
        return Member(camel(field.name), kind | None if field.nullable or masked else kind, field.description)

    def scalar(self, field: FieldShape) -> Any:
        """The type of a field's values."""
        if field.kind == "enum" and type(field.choices[0]).__name__ not in self._enums:
            self._enums[type(field.choices[0]).__name__] = enum_of(field)
        return scalar_of(field, self._enums)


def _seen_with(made: Shape, target: Shape) -> bool:
    """Whether everybody who sees any record of the one model sees all records of the other."""
    sees = [kind for kind in KINDS if made.rules.read.where(made.table, kind) is not False]
    return all(target.rules.read.where(target.table, kind) is True for kind in sees)
