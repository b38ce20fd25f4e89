"""Whether a database file is well: each thing that is looked at, what was found, and what to do about it.

It changes nothing, and may look while others write.
"""

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
from schema.engine.sqlite.connection import LOG_LIMIT
from schema.engine.sqlite.database_file import address, log_size
from schema.maintenance.finding import Finding
from schema.migrations import commands

MEGABYTE = 2**20
LEAST_FREE = 256 * MEGABYTE
MOST_TOLD = 5
OTHERS = stat.S_IRWXO
RESTORE = "restore a backup: docs/operating.md tells how"


Look = Callable[[str, sqlite3.Connection, str], Finding]


def examine(path: str, resources: Sequence[Resource]) -> Iterator[Finding]:
    """Everything there is to find, one thing after another."""
    try:
        connection = sqlite3.connect(address(path), uri=True, timeout=5, isolation_level=None)
    except sqlite3.Error as error:
        yield Finding(
            "file", f"{path} cannot be opened: {error}", "check the path in DATABASE_URL, and who may read it"
        )
        return
    with closing(connection):
        connection.create_function("lowered", 1, _lowered, deterministic=True)
        looks: dict[str, Look] = {
            "file": _file,
            "integrity": _integrity,
            "references": _references,
            "migration": _migration,
            "tables": _tables,
            "mode": _mode,
            "access": _access,
            **{f"keys of {resource.plural}": partial(_keys, resource) for resource in resources},
        }
        for what, look in looks.items():
            try:
                yield look(what, connection, path)
            except Exception as error:  # That it cannot be looked at is a finding as well.
                yield Finding(what, f"it could not be looked at: {error}", RESTORE)
    yield _space(path)
    yield _log(path)


def _file(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    connection.execute("PRAGMA query_only=ON")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return Finding(what, told=f"{path}, {pages * size / MEGABYTE:,.1f} MiB")


def _integrity(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    faults = [text for (text,) in connection.execute(f"PRAGMA integrity_check({MOST_TOLD})")]
    if faults == ["ok"]:
        return Finding(what, told="every page, index and CHECK is sound")
    return Finding(what, "; ".join(" ".join(fault.split()) for fault in faults), RESTORE)


def _references(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    tables = [table for table, *_ in connection.execute("PRAGMA foreign_key_check").fetchmany(MOST_TOLD)]
    if not tables:
        return Finding(what, told="all lead to records that are there")
    wrong = f"rows of {', '.join(sorted(set(tables)))} refer to records that are not there"
    return Finding(what, wrong, "`PRAGMA foreign_key_check` lists them; delete or mend them")


def _migration(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or (None,)
    if found == commands.newest():
        return Finding(what, told=f"{found}, the newest")
    return Finding(what, f"it is at {found}, and {commands.newest()} is the newest", "`python -m api migrate`")


def _tables(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    differences = commands.drift(path)
    if not differences:
        return Finding(what, told="they are what the models say")
    wrong = f"they differ from the models in {len(differences)} places: {str(differences[0])[:200]}"
    return Finding(what, wrong, "`python -m api migrate`, or undo what was changed by hand")


def _mode(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        return Finding(what, f"texts are stored as {encoding}", "make it anew: export, migrate a new file, import")
    # A backup has another mode, so that it is one file; a server sets its own.
    return Finding(what, told=f"{mode}, {encoding}")


def _access(what: str, connection: sqlite3.Connection, path: str) -> Finding:
    there = [it for it in (path, f"{path}-wal", f"{path}-shm") if os.path.exists(it)]
    modes = {it: stat.S_IMODE(os.stat(it).st_mode) for it in there}
    if os.name != "posix" or not any(mode & OTHERS for mode in modes.values()):
        return Finding(what, told=f"mode {modes[path]:04o}: nobody but its owner and group")
    open_ones = ", ".join(f"{it} has mode {mode:04o}" for it, mode in modes.items() if mode & OTHERS)
    return Finding(what, f"any user of this machine may open it: {open_ones}", f"chmod 600 {shlex.join(there)}")


def _keys(resource: Resource, what: str, connection: sqlite3.Connection, path: str) -> Finding:
    """Lower-cased texts are stored beside the texts; they are right unless somebody wrote past Tandem."""
    for field in (field for field in resource.fields.values() if field.key_column):
        wrong = connection.execute(
            f'SELECT id FROM "{resource.table.name}" WHERE "{field.key_column}" IS NOT lowered("{field.name}") LIMIT 1'  # noqa: S608  names of ours
        ).fetchone()
        if wrong:
            advice = f"change its {field.name} to another value and back, through the API"
            return Finding(what, f"{field.key_column} of {wrong[0]} is not its {field.name} in lower case", advice)
    return Finding(what, told="each is its text in lower case")


def _lowered(text: str | None) -> str | None:
    return None if text is None else lower_case(text)


def _space(path: str) -> Finding:
    free = shutil.disk_usage(Path(path).absolute().parent).free
    told = f"{free / MEGABYTE:,.0f} MiB are free"
    if free >= max(LEAST_FREE, log_size(path)):
        return Finding("disk", told=told)
    return Finding("disk", f"only {told}", "make room: a full disk ends all writing, and is answered with 503")


def _log(path: str) -> Finding:
    size = log_size(path)
    told = f"{size / MEGABYTE:,.1f} MiB wait in the write-ahead log"
    if size <= 2 * LOG_LIMIT:
        return Finding("log", told=told)
    return Finding("log", told, "some process has been reading for very long: find it (`fuser`, `lsof`) and end it")
