"""What grows with the table: full scans to find or count rows, and sorts without an index."""

from __future__ import annotations

from schema.engine.model.resource import Resource, resource_of
from schema.engine.query.selection import Items, LinkedRecord, ListSelection, Selection, ToOne, Total

SORT = "sorts without an index: all matching rows are read and sorted, however small the page"
ALTERNATIVES = (
    "has two alternatives: sort the matching rows if there are few, otherwise scan in the list's order; "
    "slow where many rows match but few of them are near the beginning"
)


def full_scan(table: str) -> str:
    return f"scans {table}: finding or counting rows may read the whole table"


def filtered_tables(resource: Resource, selection: Selection | ListSelection) -> set[str]:
    """Return the tables whose rows a selection filters or counts; a scan of another stops after a page."""
    if isinstance(selection, Selection):
        return _filtered_below(resource, selection)
    tables: set[str] = set()
    relation = resource.relations[selection.relation] if selection.relation else None
    target = resource_of(relation.target) if relation else resource
    if selection.where or any(isinstance(source, Total) for _, source in selection.members):
        tables.add(target.table.name)
        if relation and relation.link:
            tables.add(str(relation.link.__tablename__))
    for _, source in selection.members:
        if isinstance(source, Items):
            tables |= _filtered_below(target, source.item)
    return tables


def _filtered_below(resource: Resource, selection: Selection) -> set[str]:
    tables: set[str] = set()
    for _, source in selection.members:
        match source:
            case ListSelection():
                tables |= filtered_tables(resource, source)
            case ToOne():
                target = resource_of(resource.relations[source.relation].target)
                tables |= _filtered_below(target, source.selection)
            case LinkedRecord():
                tables |= _filtered_below(resource, source.selection)
    return tables
