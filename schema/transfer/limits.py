"""Limits of an import: bytes of a file, of an archive and of the whole import, characters of a row, rows.

Bytes are counted as they are read; the sizes that an archive declares are not trusted.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from schema.engine.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import WriteableBuffer

GIBIBYTE = 2**30
MAX_ROW_LENGTH = 2**18  # characters, in one line or in several
MAX_FILES = 1000
MAX_ERRORS_SHOWN = 10_000
MAX_COMPRESSION_RATIO = 100  # CSV usually compresses to a tenth, very repetitive CSV to a twentieth
MIN_ARCHIVE_LIMIT = 16 * 2**20  # bytes that any archive may unpack to
MAX_DIRECTORY_SIZE = 2**20  # bytes of an archive's list of members; a thousand names need a tenth of it


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What one import may read: unpacked bytes, rows, and bytes that any archive may unpack to."""

    bytes: int = 4 * GIBIBYTE
    rows: int = 50_000_000
    archive_bytes: int = MIN_ARCHIVE_LIMIT


class ByteBudget:
    """Bytes that may still be read. Raises `BadRequest` with `message` when they are used up."""

    def __init__(self, limit: int, message: str) -> None:
        self._left = limit
        self._message = message

    def spend(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise BadRequest(self._message)


def import_budget(limits: ImportLimits) -> ByteBudget:
    return ByteBudget(limits.bytes, f"the import exceeds {_size(limits.bytes)}: raise the limit with --max-size")


def archive_budget(path: str, limits: ImportLimits) -> ByteBudget:
    """The budget of one archive: `MAX_COMPRESSION_RATIO` times its size on disk, or `limits.archive_bytes`."""
    limit = max(limits.archive_bytes, MAX_COMPRESSION_RATIO * os.stat(path).st_size)
    message = f"{path} unpacks to more than {_size(limit)}, {MAX_COMPRESSION_RATIO} times its size: unpack it first"
    return ByteBudget(limit, message)


def check_rows(number: int, limits: ImportLimits) -> None:
    """Raise `BadRequest` if an import has more rows than allowed."""
    if number > limits.rows:
        raise BadRequest(f"the import exceeds {limits.rows:,} rows: import in several parts")


class CountingReader(io.RawIOBase):
    """A file whose bytes are charged to budgets as they are read; `tell` returns how many there were."""

    def __init__(self, file: IO[bytes], budgets: Sequence[ByteBudget]) -> None:
        self._file = file
        self._budgets = budgets
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        read = getattr(self._file, "read1", self._file.read)
        data: bytes = read(len(view))
        self._count += len(data)
        for budget in self._budgets:
            budget.spend(len(data))
        view[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._count

    def close(self) -> None:
        self._file.close()
        super().close()


class ArchiveFile(io.FileIO):
    """A .zip file with a bounded list of members: `zipfile` reads that list in one call."""

    def read(self, size: int | None = -1, /) -> bytes:
        limit = MAX_DIRECTORY_SIZE + 1
        data = super().read(limit if size is None or size < 0 else min(size, limit))
        if data and len(data) == limit:
            raise BadRequest(f"{self.name!s} cannot be read: its list of members is too long")
        return data


def _size(number: int) -> str:
    return f"{number / GIBIBYTE:,.1f} GiB" if number >= GIBIBYTE else f"{number / 2**20:,.0f} MiB"
