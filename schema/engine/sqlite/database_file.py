"""The file behind a database: which one it is, its write-ahead log, and who has a right to be alone with it.

SQLite goes on with a file that was deleted or has made room for another, and all that it then writes is lost. So those
who hold one open ask now and then whether it is still the one at its path.
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

Identity = tuple[int, int]


def identity(path: str) -> Identity | None:
    """What tells the file at a path from any that was there before; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def address(path: str) -> str:
    """The path as SQLite opens it if there is a file, and does not make one if there is none."""
    return f"file:{quote(os.path.abspath(path))}?mode=rw"


def log_size(path: str) -> int:
    """How many bytes the write-ahead log has."""
    try:
        return os.stat(f"{path}-wal").st_size
    except OSError:
        return 0


@contextmanager
def alone(path: str, deed: str, wait: float = 0.0) -> Iterator[None]:
    """Nobody else does this deed to the database meanwhile; `DatabaseUnavailable` if somebody still does after `wait`.

    The file beside the database that stands for it stays, but the lock on it ends with the process, however that ends.
    """
    with _beside(path, deed) as file:
        until = time.monotonic() + wait
        while not _locked(file):
            if time.monotonic() >= until:
                raise DatabaseUnavailable(f"{path} is in other hands: {_holder(file)} is {deed} it")
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _beside(path: str, deed: str) -> IO[str]:
    try:
        return open(f"{path}-{deed}", "a+", opener=opener)
    except OSError as error:
        raise DatabaseUnavailable(f"{path}-{deed} cannot be written: {error.strerror}") from error


def _locked(file: IO[str]) -> bool:
    if sys.platform == "win32":
        return True  # where there is no lock of this kind, who runs the server sees to it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    number = file.read(20).strip()
    return f"process {number}" if number.isdigit() else "another process"
