"""Checks of an SQLite file. They change nothing, and may run while others write."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from schema.engine.model.field import lower_case
from schema.engine.model.resource import Resource
from schema.engine.sqlite.connection import WAL_LIMIT
from schema.engine.sqlite.database_file import file_uri, wal_size
from schema.maintenance.doctor.finding import Finding, key_finding, migration_finding, tables_finding

MEGABYTE = 2**20
MIN_FREE_SPACE = 256 * MEGABYTE
MAX_LISTED = 5
RESTORE = "restore a backup (docs/operating.md)"

Check = Callable[[str, sqlite3.Connection, str], Finding]


def run_checks(
    path: str,
    resources: Sequence[Resource],
    *,
    min_free_space: int = MIN_FREE_SPACE,
    max_log_size: int = 2 * WAL_LIMIT,
) -> Iterator[Finding]:
    """Run all checks; sizes are in bytes."""
    try:
        connection = sqlite3.connect(file_uri(path), uri=True, timeout=5, isolation_level=None)
    except sqlite3.Error as error:
        yield Finding("file", f"{path} cannot be opened: {error}", "check the path in DATABASE_URL and its permissions")
        return
    with closing(connection):
        connection.create_function("lowered", 1, _lowered, deterministic=True)
        checks: dict[str, Check] = {
            "file": _check_file,
            "integrity": _check_integrity,
            "references": _check_references,
            "migration": _check_migration,
            "tables": _check_tables,
            "mode": _check_encoding,
            "access": _check_permissions,
            **{f"keys of {resource.plural}": partial(_check_keys, resource) for resource in resources},
        }
        for name, check in checks.items():
            try:
                yield check(name, connection, path)
            except Exception as error:  # A check that fails is a finding as well.
                yield Finding(name, f"the check failed: {error}", RESTORE)
    yield _check_free_space(path, min_free_space)
    yield _check_log(path, max_log_size)


def _check_file(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    connection.execute("PRAGMA query_only=ON")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return Finding(name, detail=f"{path}, {pages * size / MEGABYTE:,.1f} MiB")


def _check_integrity(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    messages = [text for (text,) in connection.execute(f"PRAGMA integrity_check({MAX_LISTED})")]
    if messages == ["ok"]:
        return Finding(name, detail="pages, indexes and CHECK constraints are intact")
    return Finding(name, "; ".join(" ".join(message.split()) for message in messages), RESTORE)


def _check_references(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    tables = [table for table, *_ in connection.execute("PRAGMA foreign_key_check").fetchmany(MAX_LISTED)]
    if not tables:
        return Finding(name, detail="all refer to existing records")
    problem = f"rows of {', '.join(sorted(set(tables)))} refer to missing records"
    return Finding(name, problem, "`PRAGMA foreign_key_check` lists the rows; delete or correct them")


def _check_migration(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or (None,)
    return migration_finding(name, revision)


def _check_tables(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    return tables_finding(name, path)


def _check_encoding(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        advice = "export, migrate a new file, and import into it"
        return Finding(name, f"the encoding is {encoding}, expected UTF-8", advice)
    # The journal mode is not judged: a backup has another one, so that it is a single file, and a server sets its own.
    return Finding(name, detail=f"{mode}, {encoding}")


def _check_permissions(name: str, connection: sqlite3.Connection, path: str) -> Finding:
    files = [file for file in (path, f"{path}-wal", f"{path}-shm") if os.path.exists(file)]
    modes = {file: stat.S_IMODE(os.stat(file).st_mode) for file in files}
    if os.name != "posix" or not any(mode & stat.S_IRWXO for mode in modes.values()):
        return Finding(name, detail=f"mode {modes[path]:04o}: only owner and group")
    exposed = ", ".join(f"{file} has mode {mode:04o}" for file, mode in modes.items() if mode & stat.S_IRWXO)
    return Finding(name, f"every user of this host can open it: {exposed}", f"chmod 600 {shlex.join(files)}")


def _check_keys(resource: Resource, name: str, connection: sqlite3.Connection, path: str) -> Finding:
    """Compare lower-cased key columns with their texts: they differ only where something else wrote to the table."""
    for field in (field for field in resource.fields.values() if field.key_column):
        row = connection.execute(
            f'SELECT id FROM "{resource.table.name}" WHERE "{field.key_column}" IS NOT lowered("{field.name}") LIMIT 1'  # noqa: S608  names of ours
        ).fetchone()
        if row:
            return key_finding(name, field.name, field.key_column, row[0])
    return Finding(name, detail="match their texts in lower case")


def _lowered(text: str | None) -> str | None:
    return None if text is None else lower_case(text)


def _check_free_space(path: str, minimum: int) -> Finding:
    free = shutil.disk_usage(Path(path).absolute().parent).free
    detail = f"{free / MEGABYTE:,.0f} MiB free"
    if free >= max(minimum, wal_size(path)):
        return Finding("disk", detail=detail)
    return Finding("disk", f"only {detail}", "free some space: writes fail with 503 on a full disk")


def _check_log(path: str, limit: int) -> Finding:
    size = wal_size(path)
    detail = f"the write-ahead log has {size / MEGABYTE:,.1f} MiB"
    if size <= limit:
        return Finding("log", detail=detail)
    return Finding("log", detail, "a long read keeps it from being emptied: find the process with `fuser` and end it")
