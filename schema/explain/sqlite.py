"""An SQLite of one's own to try a request on, and what an SQLite makes of a statement."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from schema.engine.driver import Query
from schema.engine.errors import DatabaseUnavailable
from schema.engine.model.record import now
from schema.engine.model.resource import Resource
from schema.engine.operations import write_statements
from schema.migrations.commands import migrate

_ALIAS = re.compile(r'(?:FROM|JOIN)\s+"?(\w+)"? AS (\w+)')
_SCAN = re.compile(r"SCAN (\w+)")
_GATHERED = re.compile(r'\b_stretches"? AS\b')  # a page of each stretch is what is sorted
WAYS = (
    "goes one way or another: few that match are sorted, many are met on a walk in the list's order; "
    "where many match that hardly any row at its beginning is among, it takes longer with every one of them"
)
SORTS = "sorts without an index: all rows that match are read and sorted, however few are shown"


@contextmanager
def trial(resources: Iterable[Resource], ids: Iterable[str]) -> Iterator[str]:
    """The path of a database with one record of each model under each of the ids."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "trial.db")
        migrate(path)
        with closing(sqlite3.connect(path)) as connection:
            for resource in resources:
                for id in ids:
                    _add(connection, resource, id)
            connection.commit()
        yield path


def example(resource: Resource, id: str) -> dict[str, Any]:
    """The fields of a record to try something on."""
    moment = now()
    needed = {name: field.example for name, field in resource.fields.items() if field.required}
    # Other words than those of examples, which would change nothing in a record that has them.
    needed |= {name: "Somebody" for name in needed if resource.fields[name].kind == "text"}
    row = {**resource.defaults, **needed, "id": id, "created_at": moment, "updated_at": moment, "version": 1}
    for name in resource.fields:
        if resource.fields[name].unique and isinstance(row.get(name), str) and name != "id":
            row[name] = id
    return row


def planned(path: str, step: Query, narrowed: Collection[str]) -> tuple[list[str], list[str]]:
    """What the database says that it would do, and what takes longer in it with every row there is."""
    try:
        lines = _plan(path, step)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(str(error)) from error
    return lines, warnings(step[0], lines, narrowed)


def walks(table: str) -> str:
    """What is said of a walk through a table."""
    return f"walks {table}: what is looked for or counted may take every row of it"


def _add(connection: sqlite3.Connection, resource: Resource, id: str) -> None:
    statement = write_statements.insert_statement(resource)
    with suppress(sqlite3.IntegrityError):  # What refers to others has nothing to refer to.
        connection.execute(
            statement.sql, statement.bind(write_statements.column_values(resource.fields, example(resource, id)))
        )


def _plan(path: str, step: Query) -> list[str]:
    """Its lines, further in what is done for something else."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {step[0]}", step[1]).fetchall()
    depths = {0: -1}
    lines = []
    for number, above, _, text in rows:
        depths[number] = depths.get(above, -1) + 1
        lines.append("  " * depths[number] + text)
    return lines


def warnings(sql: str, lines: Iterable[str], narrowed: Collection[str]) -> list[str]:
    """What takes longer with every row there is: a walk through a table to find some, and a sort without an index."""
    tables = {alias: table for table, alias in _ALIAS.findall(sql)}
    found, ways = [], ""
    for line in lines:
        if ways and line.startswith(ways):
            continue
        ways = ""
        scan = _SCAN.match(line.strip())
        table = str(tables.get(scan[1], scan[1])) if scan else ""
        if line.strip() == "COMPOUND QUERY":
            ways = f"{line[: -len(line.lstrip())]} "
            found.append(WAYS)
        elif scan and table in narrowed:
            found.append(walks(table))
        elif "USE TEMP B-TREE FOR" in line and not _GATHERED.search(sql):
            found.append(SORTS)
    return list(dict.fromkeys(found))
