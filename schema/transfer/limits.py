"""How much an import reads: a file, an archive and all of it are bounded, and a row is.

What is read is counted as it comes; what an archive says of itself is not believed.
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
LONGEST_ROW = 2**18  # characters, whether in one line or in several
MOST_FILES = 1000
MOST_TOLD = 10_000  # faults
RATIO = 100  # text of this kind shrinks to a tenth, or a twentieth if it is very repetitive
FREELY = 16 * 2**20  # bytes that any archive may unpack to
LARGEST_CATALOGUE = 2**20  # bytes in which an archive lists its members; a thousand names need a tenth


@dataclass(frozen=True, slots=True)
class Limits:
    """What an import may read in all: bytes, unpacked where they come packed, and rows."""

    bytes: int = 4 * GIBIBYTE
    rows: int = 50_000_000


class Budget:
    """Bytes that may still be read; `BadRequest` with the sentence when there are none left."""

    def __init__(self, limit: int, sentence: str) -> None:
        self._left = limit
        self._sentence = sentence

    def spend(self, number: int) -> None:
        """Count some bytes."""
        self._left -= number
        if self._left < 0:
            raise BadRequest(self._sentence)


def budget_of(limits: Limits) -> Budget:
    """That of a whole import."""
    return Budget(limits.bytes, f"there are more than {_size(limits.bytes)} to be imported: --max-size allows more")


def budget_of_archive(path: str) -> Budget:
    """That of an archive: a hundred times as much as it takes on the disk."""
    limit = max(FREELY, RATIO * os.stat(path).st_size)
    return Budget(limit, f"{path} unpacks to more than {_size(limit)}, {RATIO} times its size: unpack it yourself")


def check_rows(number: int, limits: Limits) -> None:
    """`BadRequest` if so many rows are too many."""
    if number > limits.rows:
        raise BadRequest(f"there are more than {limits.rows:,} rows to be imported: import them in several parts")


class Metered(io.RawIOBase):
    """A file of which every byte is counted on its way; `tell` says how many there were."""

    def __init__(self, file: IO[bytes], budgets: Sequence[Budget]) -> None:
        self._file = file
        self._budgets = budgets
        self._taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        read = getattr(self._file, "read1", self._file.read)
        data: bytes = read(len(room))
        self._taken += len(data)
        for budget in self._budgets:
            budget.spend(len(data))
        room[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._taken

    def close(self) -> None:
        self._file.close()
        super().close()


class Catalogued(io.FileIO):
    """A file of which nobody takes more than so much at once: zipfile reads the list of members in one piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        most = LARGEST_CATALOGUE + 1
        data = super().read(most if size is None or size < 0 else min(size, most))
        if data and len(data) == most:
            raise BadRequest(f"{self.name!s} cannot be read: its list of members is too long")
        return data


def _size(number: int) -> str:
    return f"{number / GIBIBYTE:,.1f} GiB" if number >= GIBIBYTE else f"{number / 2**20:,.0f} MiB"
