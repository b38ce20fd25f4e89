"""Sources of an import: the CSV files at the given paths, and their rows.

A source is a file, a file in a folder or in a .zip archive, or standard input. It is UTF-8, with or without a byte
order mark; its first line is the header, which also decides the delimiter: a comma, a semicolon or a tab.
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
from schema.transfer.csv_schema import Column, CsvSchema
from schema.transfer.limits import (
    MAX_FILES,
    MAX_ROW_LENGTH,
    ArchiveFile,
    ByteBudget,
    CountingReader,
    ImportLimits,
    archive_budget,
)

DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Source:
    """A CSV file: how to open it, its size in bytes where that is known, and the budget of the archive it is in."""

    name: str
    open: Callable[[], IO[bytes]]
    size: int | None
    archive: ByteBudget | None = None


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """A file's header: its schema, its columns, and their names as the file spells them."""

    source: str
    csv_schema: CsvSchema
    columns: tuple[Column, ...]
    names: tuple[str, ...]

    def name_in_file(self, name: str | None) -> str | None:
        """The file's name of a staging column, or of another column that sets the same field."""
        if name is None:
            return None
        columns = list(zip(self.columns, self.names, strict=True))
        exact = {column.name: spelling for column, spelling in columns}
        same_field = {column.target: spelling for column, spelling in reversed(columns)}
        return exact.get(name) or same_field.get(name) or name


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row's cells, the number of its first line, its length in characters, and why it cannot be read, if so."""

    line: int
    cells: Sequence[str]
    error: str | None = None
    length: int = 0


def find_sources(paths: Sequence[str], stdin: IO[bytes], limits: ImportLimits | None = None) -> list[Source]:
    """The files at these paths: folders and .zip archives give all CSV files in them, `-` is standard input."""
    sources = [source for path in paths for source in _sources_at(path, stdin, limits or ImportLimits())]
    if not sources:
        raise BadRequest(f"no .csv files in {', '.join(paths)}")
    if len(sources) > MAX_FILES:
        raise BadRequest(f"too many files: {len(sources):,}, at most {MAX_FILES:,} can be imported at a time")
    return sources


@contextmanager
def open_source(
    source: Source, csv_schemas: Mapping[str, CsvSchema], kind: str | None, budget: ByteBudget
) -> Iterator[tuple[CsvHeader, Iterator[CsvRow], CountingReader]]:
    """Open a file: its header, its rows, and the underlying reader, which knows how much has been read.

    Charges what is read to the budget, and to that of the archive if there is one.
    """
    budgets = [budget, source.archive] if source.archive else [budget]
    try:
        with (
            CountingReader(source.open(), budgets) as raw,
            io.TextIOWrapper(io.BufferedReader(raw), "utf-8-sig", newline="") as text,
        ):
            reader = _RowReader(source.name, text)
            names = reader.header()
            csv_schema = csv_schemas[kind or _kind(source, names, csv_schemas)]
            yield _header(source, csv_schema, names), reader.rows(len(names)), raw
    except OSError as error:
        raise BadRequest(f"{source.name} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadRequest(f"{source.name} is damaged: {error}") from error


def kind_of_file(name: str, csv_schemas: Mapping[str, CsvSchema]) -> str | None:
    """The schema that a file's name begins with: `users.csv`, `Users 2026.csv` and `user-new.csv` hold users."""
    stem = PurePath(name).stem.lower()
    matches = (
        csv_schema.name
        for csv_schema in csv_schemas.values()
        if re.match(f"({csv_schema.name}|{csv_schema.singular})(?![a-z])", stem)
    )
    return next(matches, None)


class _RowReader:
    """Reads the rows of a text, each with the number of its first line."""

    def __init__(self, name: str, text: io.TextIOWrapper) -> None:
        self._name = name
        self._text = text
        self._line_number = self._row_length = 0
        self._csv = csv.reader(iter(()))

    def header(self) -> list[str]:
        first = self._line().rstrip("\r\n")
        delimiter = max(DELIMITERS, key=first.count)
        self._csv = csv.reader(iter(self._line, ""), delimiter=delimiter, strict=True)
        try:
            names = next(csv.reader([first], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise BadRequest(f"{self._name}:1: {_message(error)}") from error
        names = [name.strip().lower() for name in names]
        if not any(names):
            raise BadRequest(f"{self._name} is empty: expected a header with the names of the columns")
        return names

    def rows(self, width: int) -> Iterator[CsvRow]:
        while True:
            start, self._row_length = self._line_number + 1, 0
            try:
                cells = next(self._csv)
            except StopIteration:
                return
            except csv.Error as error:
                yield CsvRow(start, (), _message(error))
                continue
            if len(cells) == width:
                yield CsvRow(start, cells, length=self._row_length)
            elif cells:
                yield CsvRow(start, (), f"expected {width} cells as in the header, got {len(cells)}")

    def _line(self) -> str:
        try:
            line = self._text.readline(MAX_ROW_LENGTH)
        except UnicodeDecodeError as error:
            where = f"byte {error.object[error.start]:#04x} in or after line {self._line_number + 1}"
            raise BadRequest(f"{self._name} is not UTF-8 ({where}): save it as “CSV UTF-8”") from error
        self._line_number += 1
        self._row_length += len(line)
        if len(line) == MAX_ROW_LENGTH:
            raise self._too_long("line")
        if self._row_length > MAX_ROW_LENGTH:
            raise self._too_long("row")
        return line

    def _too_long(self, unit: str) -> BadRequest:
        return BadRequest(
            f"{self._name}:{self._line_number}: the {unit} is too long: at most {MAX_ROW_LENGTH:,} characters"
        )


def _sources_at(path: str, stdin: IO[bytes], limits: ImportLimits) -> Iterator[Source]:
    location = Path(path)
    if path == "-":
        yield Source("standard input", lambda: stdin, None)
    elif location.is_dir():
        for file in sorted(location.iterdir()):
            if _is_csv(file.name):
                yield _file_source(file)
    elif location.suffix.lower() == ".zip" and location.is_file():
        yield from _archive_sources(path, limits)
    else:
        yield _file_source(location)


def _file_source(path: Path) -> Source:
    return Source(str(path), lambda: path.open("rb"), path.stat().st_size if path.is_file() else None)


def _archive_sources(path: str, limits: ImportLimits) -> Iterator[Source]:
    try:
        with ArchiveFile(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        budget = archive_budget(path, limits)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from error
    for member in members:
        if _is_csv(PurePath(member.filename).name) and not member.filename.startswith("__MACOSX/"):
            _check_member(path, member)
            yield Source(f"{path}/{member.filename}", partial(_open_member, path, member), member.file_size, budget)


def _check_member(path: str, member: zipfile.ZipInfo) -> None:
    """Refuse names with control characters, which would reach a terminal, and methods that unpack in one piece."""
    if not member.filename.isprintable():
        raise BadRequest(f"{path} has a member with an unprintable name: {member.filename[:64]!r}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadRequest(f"{path}/{member.filename}: unsupported compression method: use deflate")


def _open_member(path: str, member: zipfile.ZipInfo) -> IO[bytes]:
    """Open a member. The archive stays open until the member is closed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.open(member)
    except RuntimeError as error:
        raise BadRequest(f"{path} cannot be unpacked: {error}") from error


def _is_csv(name: str) -> bool:
    return name.lower().endswith(".csv") and not name.startswith(".")


def _kind(source: Source, names: Sequence[str], csv_schemas: Mapping[str, CsvSchema]) -> str:
    by_name = kind_of_file(source.name, csv_schemas)
    fitting = [csv_schema.name for csv_schema in csv_schemas.values() if set(names) <= csv_schema.columns.keys()]
    if by_name or len(fitting) == 1:
        return by_name or fitting[0]
    raise ValidationFailed(
        f"{source.name}: neither the name nor the columns say what the file holds; "
        f"give --kind: {', '.join(fitting or csv_schemas)}"
    )


def _header(source: Source, csv_schema: CsvSchema, names: Sequence[str]) -> CsvHeader:
    location = f"{source.name}:1"
    for name in names:
        if name not in csv_schema.columns:
            known = ", ".join(csv_schema.columns)
            raise ValidationFailed(f"{location}: unknown column {name[:64]!r}; columns of {csv_schema.name}: {known}")
    columns = tuple(csv_schema.columns[name] for name in names)
    duplicates = [name for name, column in zip(names, columns, strict=True) if columns.count(column) > 1]
    if duplicates:
        raise ValidationFailed(f"{location}: the columns {' and '.join(duplicates)} have the same meaning: keep one")
    targets = {column.target for column in columns}
    for field in csv_schema.fields.values():
        if field.name in csv_schema.identity and field.foreign_table and field.name not in targets:
            choices = ", ".join(name for name, column in csv_schema.columns.items() if column.target == field.name)
            raise ValidationFailed(f"{location}: no column identifies the {field.foreign_table}: add one of {choices}")
    return CsvHeader(source.name, csv_schema, columns, tuple(names))


def _message(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text or "field limit" in text:
        return "a quoted cell is not closed"
    if "expected after" in text:
        return "text after a closing quotation mark: double the quotation marks inside a cell"
    return f"invalid CSV: {text}"
