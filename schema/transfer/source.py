"""Sources: the CSV files that an import reads, wherever they lie, and their rows.

A source is a file, one in a folder or in a .zip, or what comes by standard input. It is UTF-8, with or without a byte
order mark; its first line names the columns; commas, semicolons or tabs part them, and that line says which.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import IO

from schema.engine.errors import BadRequest, ValidationFailed
from schema.transfer.limits import LONGEST_ROW, MOST_FILES, Budget, Catalogued, Metered, budget_of_archive
from schema.transfer.sheet import Column, Sheet

DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file's bytes come from, how many there are, if that is known, and what bounds the archive it is in."""

    name: str
    open: Callable[[], IO[bytes]]
    size: int | None
    archive: Budget | None = None


@dataclass(frozen=True, slots=True)
class Heading:
    """What a file's first line says: of which sheet it is, its columns, and how they are spelled there."""

    source: str
    sheet: Sheet
    columns: tuple[Column, ...]
    header: tuple[str, ...]

    def spelled(self, name: str | None) -> str | None:
        """How a column of the stage, or another that fills the same field, is called in the file, if it is there."""
        named = {column.name: spelling for column, spelling in zip(self.columns, self.header, strict=True)}
        alike = {column.about: spelling for column, spelling in zip(self.columns[::-1], self.header[::-1], strict=True)}
        return None if name is None else named.get(name) or alike.get(name) or name


@dataclass(frozen=True, slots=True)
class Line:
    """A row's cells, the line that it starts in, and what is wrong with it if it cannot be read.

    `size` is how many characters it has taken.
    """

    number: int
    cells: Sequence[str]
    fault: str | None = None
    size: int = 0


def sources_of(paths: Sequence[str], stdin: IO[bytes]) -> list[Source]:
    """The files at these paths: folders and .zip files give all the CSV files in them, `-` is standard input."""
    found = [source for path in paths for source in _at(path, stdin)]
    if not found:
        raise BadRequest(f"there are no .csv files in {', '.join(paths)}")
    if len(found) > MOST_FILES:
        raise BadRequest(f"there are {len(found):,} files; {MOST_FILES:,} can be imported at a time")
    return found


@contextmanager
def opened(
    source: Source, sheets: Mapping[str, Sheet], kind: str | None, budget: Budget
) -> Iterator[tuple[Heading, Iterator[Line], Metered]]:
    """A file's heading, its rows, and the file itself, for whoever wants to know how far it has been read.

    What is read is taken from the budget, and from that of the archive if there is one.
    """
    budgets = [budget, source.archive] if source.archive else [budget]
    try:
        with (
            Metered(source.open(), budgets) as raw,
            io.TextIOWrapper(io.BufferedReader(raw), "utf-8-sig", newline="") as text,
        ):
            lines = _Lines(source.name, text)
            header = lines.header()
            sheet = sheets[kind or _kind(source, header, sheets)]
            yield _heading(source, sheet, header), lines.rows(len(header)), raw
    except OSError as error:
        raise BadRequest(f"{source.name} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadRequest(f"{source.name} is damaged: {error}") from error


def kind_named(name: str, sheets: Mapping[str, Sheet]) -> str | None:
    """The sheet that a file's name begins with: `users.csv`, `Users 2026.csv` and `user-new.csv` hold users."""
    stem = PurePath(name).stem.lower()
    found = (sheet.name for sheet in sheets.values() if re.match(f"({sheet.name}|{sheet.one})(?![a-z])", stem))
    return next(found, None)


class _Lines:
    """The rows of a text, each with the line that it starts in."""

    def __init__(self, name: str, text: io.TextIOWrapper) -> None:
        self._name = name
        self._text = text
        self._read = self._taken = 0
        self._csv = csv.reader(iter(()))

    def header(self) -> list[str]:
        first = self._line().rstrip("\r\n")
        delimiter = max(DELIMITERS, key=first.count)
        self._csv = csv.reader(iter(self._line, ""), delimiter=delimiter, strict=True)
        try:
            names = next(csv.reader([first], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise BadRequest(f"{self._name}:1: {_meaning(error)}") from error
        names = [name.strip().lower() for name in names]
        if not any(names):
            raise BadRequest(f"{self._name} is empty: its first line has to name the columns")
        return names

    def rows(self, width: int) -> Iterator[Line]:
        while True:
            start, self._taken = self._read + 1, 0
            try:
                cells = next(self._csv)
            except StopIteration:
                return
            except csv.Error as error:
                yield Line(start, (), _meaning(error))
                continue
            if len(cells) == width:
                yield Line(start, cells, size=self._taken)
            elif cells:
                yield Line(start, (), f"it has {len(cells)} cells, and the first line names {width} columns")

    def _line(self) -> str:
        try:
            line = self._text.readline(LONGEST_ROW)
        except UnicodeDecodeError as error:
            wrong = f"the byte {error.object[error.start]:#04x}, in line {self._read + 1} or soon after"
            raise BadRequest(f"{self._name} is not UTF-8 ({wrong}): save it as “CSV UTF-8”") from error
        self._read += 1
        self._taken += len(line)
        if len(line) == LONGEST_ROW:
            raise BadRequest(f"{self._name}:{self._read}: the line is too long: it may have {LONGEST_ROW:,} characters")
        if self._taken > LONGEST_ROW:
            raise BadRequest(f"{self._name}:{self._read}: the row is too long: it may have {LONGEST_ROW:,} characters")
        return line


def _at(path: str, stdin: IO[bytes]) -> Iterator[Source]:
    place = Path(path)
    if path == "-":
        yield Source("standard input", lambda: stdin, None)
    elif place.is_dir():
        for inner in sorted(place.iterdir()):
            if _is_csv(inner.name):
                yield _file(inner)
    elif place.suffix.lower() == ".zip" and place.is_file():
        yield from _packed(path)
    else:
        yield _file(place)


def _file(path: Path) -> Source:
    return Source(str(path), lambda: path.open("rb"), path.stat().st_size if path.is_file() else None)


def _packed(path: str) -> Iterator[Source]:
    try:
        with Catalogued(path) as file, zipfile.ZipFile(file) as packed:
            members = packed.infolist()
        budget = budget_of_archive(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from error
    for member in members:
        if _is_csv(PurePath(member.filename).name) and not member.filename.startswith("__MACOSX/"):
            _check(path, member)
            opened = partial(_unpacked, path, member)
            yield Source(f"{path}/{member.filename}", opened, member.file_size, budget)


def _check(path: str, member: zipfile.ZipInfo) -> None:
    """`BadRequest` for a member that cannot be unpacked piece by piece, or whose name holds control characters."""
    if not member.filename.isprintable():
        raise BadRequest(f"{path} has a member with an unprintable name: {member.filename[:64]!r}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadRequest(f"{path}/{member.filename} is packed by another method than deflate: pack it anew")


def _unpacked(path: str, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member, open. The .zip stays open as long as it."""
    try:
        with zipfile.ZipFile(path) as packed:
            return packed.open(member)
    except RuntimeError as error:
        raise BadRequest(f"{path} cannot be unpacked: {error}") from error


def _is_csv(name: str) -> bool:
    return name.lower().endswith(".csv") and not name.startswith(".")


def _kind(source: Source, header: Sequence[str], sheets: Mapping[str, Sheet]) -> str:
    named = kind_named(source.name, sheets)
    fitting = [sheet.name for sheet in sheets.values() if set(header) <= sheet.columns.keys()]
    if named or len(fitting) == 1:
        return named or fitting[0]
    kinds = ", ".join(fitting or sheets)
    raise ValidationFailed(
        f"{source.name}: neither its name nor its columns say what it holds; say it with --kind: {kinds}"
    )


def _heading(source: Source, sheet: Sheet, header: Sequence[str]) -> Heading:
    for name in header:
        if name not in sheet.columns:
            raise ValidationFailed(
                f"{source.name}:1: there is no column {name[:64]!r}; {sheet.name} have {', '.join(sheet.columns)}"
            )
    columns = tuple(sheet.columns[name] for name in header)
    twice = [name for name, column in zip(header, columns, strict=True) if columns.count(column) > 1]
    if twice:
        raise ValidationFailed(f"{source.name}:1: the columns {' and '.join(twice)} say the same")
    for field in sheet.fields.values():
        if field.name in sheet.identity and field.foreign and not any(it.about == field.name for it in columns):
            ways = ", ".join(name for name, it in sheet.columns.items() if it.about == field.name)
            raise ValidationFailed(
                f"{source.name}:1: it does not say which {field.foreign}: add one of the columns {ways}"
            )
    return Heading(source.name, sheet, columns, tuple(header))


def _meaning(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text or "field limit" in text:
        return "a cell is opened with a quotation mark and never closed"
    if "expected after" in text:
        return "a closing quotation mark is followed by something else; write quotation marks inside a cell twice"
    return f"it cannot be read: {text}"
