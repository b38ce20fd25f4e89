"""The file behind a SQLite database: its identity, its write-ahead log, and locks between processes.

SQLite keeps using a file that was deleted or replaced, and what it then writes is lost. Connections therefore check now
and then whether the file that they opened is still the one at its path.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import quote

from schema.engine.errors import DatabaseUnavailable
from schema.engine.private_file import opener

if sys.platform != "win32":
    import fcntl

FileIdentity = tuple[int, int]


def file_identity(path: str) -> FileIdentity | None:
    """Return device and inode, which differ for a file that takes another's place; None if there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_uri(path: str) -> str:
    """Return the URI under which SQLite opens an existing file, and creates none."""
    return f"file:{quote(os.path.abspath(path))}?mode=rw"


def wal_size(path: str) -> int:
    """Return the size of the write-ahead log in bytes."""
    try:
        return os.stat(f"{path}-wal").st_size
    except OSError:
        return 0


@contextmanager
def exclusive_lock(path: str, purpose: str, timeout: float = 0.0) -> Iterator[None]:
    """Let one process at a time use the database for a purpose, such as `serving` or `migrating`.

    The lock file beside the database stays, but the lock on it ends with the process, however that ends.

    Raises:
        DatabaseUnavailable: another process still holds the lock after `timeout` seconds.
    """
    with _lock_file(path, purpose) as file:
        give_up_at = time.monotonic() + timeout
        while not _try_lock(file):
            if time.monotonic() >= give_up_at:
                raise DatabaseUnavailable(f"{path} is in use: {_holder(file)} is {purpose} it")
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_file(path: str, purpose: str) -> IO[str]:
    try:
        return open(f"{path}-{purpose}", "a+", opener=opener)
    except OSError as error:
        raise DatabaseUnavailable(f"{path}-{purpose} cannot be written: {error.strerror}") from error


def _try_lock(file: IO[str]) -> bool:
    if sys.platform == "win32":
        return True  # Windows has no such lock; the operator ensures that there is only one.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    pid = file.read(20).strip()
    return f"process {pid}" if pid.isdigit() else "another process"
