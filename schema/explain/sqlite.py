"""A temporary SQLite database to try requests on, and SQLite's query plans."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from schema.engine.errors import DatabaseUnavailable
from schema.engine.model.resource import Resource
from schema.engine.operations import write_statements
from schema.engine.query.prefix_ranges import RANGES_CTE
from schema.explain.plan_warnings import ALTERNATIVES, SORT, full_scan
from schema.explain.sample import sample_row
from schema.migrations.commands import migrate

_ALIAS = re.compile(r'(?:FROM|JOIN)\s+"?(\w+)"? AS (\w+)')
_SCAN = re.compile(r"SCAN (\w+)")
_MERGED = re.compile(rf'\b{RANGES_CTE}"? AS\b')  # only the merged pages of several ranges are sorted


@contextmanager
def trial_database(resources: Iterable[Resource], ids: Iterable[str]) -> Iterator[str]:
    """Create a database with one record of each model under each id; yield its path."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "trial.db")
        migrate(path)
        with closing(sqlite3.connect(path)) as connection:
            for resource in resources:
                for id in ids:
                    _insert(connection, resource, id)
            connection.commit()
        yield path


def explain(path: str, sql: str, parameters: tuple[Any, ...], filtered: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the lines of a query's plan and the warnings; `filtered` are the tables that it searches.

    Raises:
        DatabaseUnavailable: SQLite cannot plan it.
    """
    try:
        lines = _plan(path, sql, parameters)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(str(error)) from error
    return lines, _warnings(sql, lines, filtered)


def _insert(connection: sqlite3.Connection, resource: Resource, id: str) -> None:
    statement = write_statements.insert_statement(resource)
    row = write_statements.column_values(resource.fields, sample_row(resource, id))
    with suppress(sqlite3.IntegrityError):  # a record whose references do not exist
        connection.execute(statement.sql, statement.bind(row))


def _plan(path: str, sql: str, parameters: tuple[Any, ...]) -> list[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    depths = {0: -1}
    lines = []
    for number, parent, _, text in rows:
        depths[number] = depths.get(parent, -1) + 1
        lines.append("  " * depths[number] + text)
    return lines


def _warnings(sql: str, lines: Iterable[str], filtered: Collection[str]) -> list[str]:
    tables = {alias: table for table, alias in _ALIAS.findall(sql)}
    warnings, compound = [], ""
    for line in lines:
        if compound and line.startswith(compound):
            continue
        compound = ""
        scan = _SCAN.match(line.strip())
        table = str(tables.get(scan[1], scan[1])) if scan else ""
        if line.strip() == "COMPOUND QUERY":
            compound = f"{line[: -len(line.lstrip())]} "
            warnings.append(ALTERNATIVES)
        elif scan and table in filtered:
            warnings.append(full_scan(table))
        elif "USE TEMP B-TREE FOR" in line and not _MERGED.search(sql):
            warnings.append(SORT)
    return list(dict.fromkeys(warnings))
