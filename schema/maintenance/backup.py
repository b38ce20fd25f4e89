"""Backup of an SQLite database while it is in use: a consistent copy in one file, complete or not there at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from schema.engine.errors import BadRequest, DatabaseUnavailable
from schema.engine.private_file import create
from schema.engine.sqlite.connection import connect


def back_up(path: str, target: Path, *, force: bool = False) -> int:
    """Copy the database at `path` to `target`; with `force`, replace an existing file. Returns the size in bytes.

    Raises:
        BadRequest: the target exists, is the database itself, or cannot be written.
        DatabaseUnavailable: the database cannot be read, or is damaged.
    """
    _check_target(Path(path), target, force)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(create(part))  # readable by its owner only, like the database
        _copy(path, part)
        _sync(part)
        part.replace(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise DatabaseUnavailable(f"{path} cannot be copied to {target}: {error}") from error
    except OSError as error:
        raise BadRequest(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                part.with_name(part.name + suffix).unlink()
    return target.stat().st_size


def _check_target(path: Path, target: Path, force: bool) -> None:
    if target.exists() and target.samefile(path):
        raise BadRequest(f"{target} is the database itself")
    if target.exists() and not target.is_file():
        raise BadRequest(f"{target} is not a regular file")
    if target.exists() and not force:
        raise BadRequest(f"{target} exists: give another name, or --force to replace it")


def _copy(path: str, part: Path) -> None:
    """Copy all pages in one call, which reads one snapshot and does not block writers."""
    with closing(connect(path, query_only=True)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE").fetchall()  # a single file, which can be read from read-only media
        ((result,), *_) = copy.execute("PRAGMA quick_check(1)").fetchall()
        if result != "ok":
            raise DatabaseUnavailable(f"{path} is damaged and was not copied: {result}")


def _sync(path: Path) -> None:
    """Wait until a file or folder is durable."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
