"""The export: sheets as CSV, all as they are at one moment, in the order of their ids.

Values stand as REST spells them, and null is an empty cell. What is exported comes back the same when it is imported:
a text that begins like a spreadsheet's formula stays as it is. Only `for_spreadsheets` puts an apostrophe before such a
text, and a byte order mark before it all; a file like that is for looking at, not for importing.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import zipfile
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from sqlalchemy import ColumnElement, case, func, literal_column, select

from schema.engine.errors import BadRequest
from schema.engine.model.field import ResourceField
from schema.engine.private_file import create, make_folders
from schema.engine.sql.statement import Statement
from schema.transfer import Tell
from schema.transfer.session import Row, Session, explained, session
from schema.transfer.sheet import Sheet

FORMULAS = "=+-@"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The directory as it is at one moment; it holds still until it is closed."""

    session: Session
    for_spreadsheets: bool
    tell: Tell
    counts: dict[str, int]

    def write(self, sheet: Sheet, file: IO[bytes]) -> None:
        """Write a sheet to a file, row by row."""
        file.write(BOM_UTF8 if self.for_spreadsheets else b"")
        heading = tuple(field.name for field in sheet.shown)
        ending = "\r\n" if self.for_spreadsheets else "\n"
        headings: list[Row] = [heading]
        for rows in chain([headings], self._batches(sheet)):
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator=ending).writerows(rows)
            file.write(text.getvalue().encode())

    def _batches(self, sheet: Sheet) -> Iterator[list[Row]]:
        ((total,),) = self.session.run(select(func.count()).select_from(sheet.table))
        for rows in self.session.batches(_listing(sheet, self.for_spreadsheets)):
            self.counts[sheet.name] = self.counts.get(sheet.name, 0) + len(rows)
            self.tell(f"Writing {sheet.name}", self.counts[sheet.name] / total)
            yield rows


@contextmanager
def snapshot(path: str, tell: Tell, *, for_spreadsheets: bool = False) -> Iterator[Snapshot]:
    """A database as it is now."""
    with explained(path), session(path, query_only=True) as opened:
        opened.begin(writing=False)
        yield Snapshot(opened, for_spreadsheets, tell, {})


def export_file(taken: Snapshot, sheet: Sheet, path: Path) -> None:
    """A sheet as a file, which is there whole or not at all."""
    with _replacing([path]) as (file,):
        taken.write(sheet, file)


def export_folder(taken: Snapshot, sheets: Sequence[Sheet], folder: Path) -> None:
    """A file for each sheet; none is put in its place before all are written."""
    try:
        make_folders(folder)
    except OSError as error:
        raise BadRequest(f"{folder} cannot be made: {error.strerror or error}") from error
    with _replacing([folder / f"{sheet.name}.csv" for sheet in sheets]) as files:
        for sheet, file in zip(sheets, files, strict=True):
            taken.write(sheet, file)


def export_zip(taken: Snapshot, sheets: Sequence[Sheet], path: Path) -> None:
    """All sheets in one file."""
    with _replacing([path]) as (file,), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for sheet in sheets:
            with packed.open(f"{sheet.name}.csv", "w", force_zip64=True) as member:
                taken.write(sheet, member)


@contextmanager
def _replacing(paths: Sequence[Path]) -> Iterator[list[IO[bytes]]]:
    """Files that take the place of those at the paths once all are written; until then they lie beside them."""
    paths = [path.resolve() for path in paths]
    for path in paths:
        if path.exists() and not path.is_file():
            raise BadRequest(f"{path} is no file that could be replaced; standard output is spelled -")
    parts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        with ExitStack() as stack:
            files: list[IO[bytes]] = [stack.enter_context(os.fdopen(_created(it), "wb")) for it in parts]
            yield files
            for file, path in zip(files, paths, strict=True):
                file.flush()
                _give_mode(file, path)
                os.fsync(file.fileno())
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except OSError as error:
        place = paths[0] if len(paths) == 1 else paths[0].parent
        raise BadRequest(f"{place} cannot be written: {error.strerror or error}") from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink()


def _created(part: Path) -> int:
    """A new file; what a process of the same number has left behind goes."""
    part.unlink(missing_ok=True)
    return create(part)


def _give_mode(file: IO[bytes], path: Path) -> None:
    """The mode of our own file that it takes the place of; somebody else's says nothing about who may read ours."""
    if path.exists() and os.name == "posix" and (old := path.stat()).st_uid == os.geteuid():
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))


def _listing(sheet: Sheet, for_spreadsheets: bool) -> Statement:
    columns = [_cell(sheet, field, for_spreadsheets) for field in sheet.shown]
    return Statement(select(*columns).order_by(*(sheet.table.c[name] for name in sheet.identity)))


def _cell(sheet: Sheet, field: ResourceField, for_spreadsheets: bool) -> ColumnElement[object]:
    column = sheet.table.c[field.name]
    if field.kind == "boolean":
        return case((column.is_(None), None), (column, "true"), else_="false")
    if field.kind == "text" and for_spreadsheets:
        marks: list[ColumnElement[str]] = [literal_column(f"'{mark}'") for mark in FORMULAS]
        return case((func.substr(column, 1, 1).in_(marks), "'" + column), else_=column)
    return column
