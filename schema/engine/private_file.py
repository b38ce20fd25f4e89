"""Files and folders that their owner alone may read, whatever the umask: they hold what the directory holds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o600, 0o700


def create_folders(folder: Path) -> None:
    """Make a folder, and those above it that are missing (`Path.mkdir` gives a mode to the last one alone)."""
    for missing in reversed([it for it in (folder, *folder.parents) if not it.exists()]):
        with suppress(FileExistsError):
            missing.mkdir(FOLDER_MODE)
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))


def create(path: str | Path) -> int:
    """The descriptor of a new file, open for writing; `FileExistsError` if there is one."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), FILE_MODE)


def create_if_missing(path: str | Path) -> None:
    """Make an empty file where there is none; one that is there keeps its mode."""
    with suppress(FileExistsError):
        os.close(create(path))


def opener(path: str, flags: int) -> int:
    """An opener for `open`: a file that is made by it is private."""
    return os.open(path, flags, FILE_MODE)
