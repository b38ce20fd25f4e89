"""A copy of the database, all of one moment, while others write: one file, which is there whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from schema.engine.errors import BadRequest, DatabaseUnavailable
from schema.engine.private_file import create
from schema.engine.sqlite.connection import connect


def back_up(path: str, target: Path, *, force: bool = False) -> int:
    """Copy the database at `path` to `target`; gives the copy's size in bytes. An older file is replaced by `force`."""
    _check_free(Path(path), target, force)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # Nobody else may read it: it holds what the database holds.
        os.close(create(part))
        _copy(path, part)
        _settle(part)
        part.replace(target)
        _settle(target.parent)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} cannot be copied to {target}: {error}") from error
    except OSError as error:
        raise BadRequest(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for left in (part, *(part.with_name(part.name + end) for end in ("-journal", "-wal", "-shm"))):
            with suppress(OSError):
                left.unlink()
    return target.stat().st_size


def _check_free(path: Path, target: Path, force: bool) -> None:
    if target.exists() and target.samefile(path):
        raise BadRequest(f"{target} is the database itself")
    if target.exists() and not target.is_file():
        raise BadRequest(f"{target} is no file that could be replaced")
    if target.exists() and not force:
        raise BadRequest(f"{target} is there already: take another name, or --force to replace it")


def _copy(path: str, part: Path) -> None:
    """All pages in one step, which reads one snapshot: those who write meanwhile neither wait nor are seen."""
    with closing(connect(path, query_only=True)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()  # one file alone, which can be read from anywhere
        ((verdict,), *_) = copy.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise DatabaseUnavailable(f"{path} is damaged, and so would its copy be: {verdict}")


def _settle(path: Path) -> None:
    """On the disk, not only on its way there."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
