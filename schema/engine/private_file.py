"""Files and folders that only their owner may read, whatever the umask: they hold the directory's data."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def create_folders(folder: Path) -> None:
    """Create a folder and its missing parents (`Path.mkdir` sets the mode of the last one only)."""
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        with suppress(FileExistsError):
            missing.mkdir(FOLDER_MODE)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))


def create(path: str | Path) -> int:
    """Create a file and return its descriptor, open for writing; raise `FileExistsError` if it exists."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), FILE_MODE)


def create_if_missing(path: str | Path) -> None:
    """Create an empty file unless it exists; an existing one keeps its mode."""
    with suppress(FileExistsError):
        os.close(create(path))


def opener(path: str, flags: int) -> int:
    """Serve as `opener` of `open`: files that it creates are private."""
    return os.open(path, flags, FILE_MODE)
