"""Export to CSV files: all from one snapshot of the database, ordered by id.

Values are spelled as in REST, and null is an empty cell; an export that is imported again is restored exactly. With
`for_spreadsheets`, texts that look like a formula are prefixed by an apostrophe, and files begin with a byte order
mark: such files are for viewing, not for importing.
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
from schema.engine.private_file import create, create_folders
from schema.engine.sql.statement import Statement
from schema.transfer import ProgressCallback
from schema.transfer.connection import Connection, Row, connect, translated_errors
from schema.transfer.csv_schema import CsvSchema

FORMULA_PREFIXES = "=+-@"
BATCH_SIZE = 5000  # rows


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The directory at one moment, until the snapshot is closed. `counts` are the rows written, by CSV schema."""

    connection: Connection
    for_spreadsheets: bool
    on_progress: ProgressCallback
    batch_size: int
    counts: dict[str, int]

    def write(self, csv_schema: CsvSchema, file: IO[bytes]) -> None:
        file.write(BOM_UTF8 if self.for_spreadsheets else b"")
        header: list[Row] = [tuple(field.name for field in csv_schema.exported_fields)]
        terminator = "\r\n" if self.for_spreadsheets else "\n"
        for rows in chain([header], self._batches(csv_schema)):
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator=terminator).writerows(rows)
            file.write(text.getvalue().encode())

    def _batches(self, csv_schema: CsvSchema) -> Iterator[list[Row]]:
        ((total,),) = self.connection.run(select(func.count()).select_from(csv_schema.table))
        query = _select(csv_schema, self.for_spreadsheets)
        for rows in self.connection.batches(query, self.batch_size):
            self.counts[csv_schema.name] = self.counts.get(csv_schema.name, 0) + len(rows)
            self.on_progress(f"Writing {csv_schema.name}", self.counts[csv_schema.name] / total)
            yield rows


@contextmanager
def open_snapshot(
    database: str, on_progress: ProgressCallback, *, for_spreadsheets: bool = False, batch_size: int = BATCH_SIZE
) -> Iterator[Snapshot]:
    """Take a snapshot of the database at a path or URL."""
    with translated_errors(database), connect(database, query_only=True) as connection:
        connection.begin(writing=False)
        yield Snapshot(connection, for_spreadsheets, on_progress, batch_size, {})


def export_file(snapshot: Snapshot, csv_schema: CsvSchema, path: Path) -> None:
    """Export to one file. It appears complete or not at all."""
    with _replaced_files([path]) as (file,):
        snapshot.write(csv_schema, file)


def export_folder(snapshot: Snapshot, csv_schemas: Sequence[CsvSchema], folder: Path) -> None:
    """Export one file for each CSV schema. The files appear only after all of them are written."""
    try:
        create_folders(folder)
    except OSError as error:
        raise BadRequest(f"{folder} cannot be created: {error.strerror or error}") from error
    with _replaced_files([folder / f"{csv_schema.name}.csv" for csv_schema in csv_schemas]) as files:
        for csv_schema, file in zip(csv_schemas, files, strict=True):
            snapshot.write(csv_schema, file)


def export_zip(snapshot: Snapshot, csv_schemas: Sequence[CsvSchema], path: Path) -> None:
    with _replaced_files([path]) as (file,), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for csv_schema in csv_schemas:
            with archive.open(f"{csv_schema.name}.csv", "w", force_zip64=True) as member:
                snapshot.write(csv_schema, member)


@contextmanager
def _replaced_files(paths: Sequence[Path]) -> Iterator[list[IO[bytes]]]:
    """Temporary files beside the paths; they replace the files at the paths once all are written."""
    paths = [path.resolve() for path in paths]
    for path in paths:
        if path.exists() and not path.is_file():
            raise BadRequest(f"{path} is not a regular file; use - for standard output")
    parts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    try:
        with ExitStack() as stack:
            files: list[IO[bytes]] = [stack.enter_context(os.fdopen(_create_part(part), "wb")) for part in parts]
            yield files
            for file, path in zip(files, paths, strict=True):
                file.flush()
                _copy_mode(path, file)
                os.fsync(file.fileno())
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except OSError as error:
        location = paths[0] if len(paths) == 1 else paths[0].parent
        raise BadRequest(f"{location} cannot be written: {error.strerror or error}") from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink()


def _create_part(part: Path) -> int:
    """Create a file in place of one that an earlier process with the same id may have left behind."""
    part.unlink(missing_ok=True)
    return create(part)


def _copy_mode(path: Path, file: IO[bytes]) -> None:
    """Keep the mode of our own file that is replaced. Another user's mode does not decide who may read ours."""
    if path.exists() and os.name == "posix" and (old := path.stat()).st_uid == os.geteuid():
        os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))


def _select(csv_schema: CsvSchema, for_spreadsheets: bool) -> Statement:
    columns = [_cell(csv_schema, field, for_spreadsheets) for field in csv_schema.exported_fields]
    return Statement(select(*columns).order_by(*(csv_schema.table.c[name] for name in csv_schema.identity)))


def _cell(csv_schema: CsvSchema, field: ResourceField, for_spreadsheets: bool) -> ColumnElement[object]:
    column = csv_schema.table.c[field.name]
    if field.kind == "boolean":
        return case((column.is_(None), None), (column, "true"), else_="false")
    if field.kind == "text" and for_spreadsheets:
        prefixes: list[ColumnElement[str]] = [literal_column(f"'{prefix}'") for prefix in FORMULA_PREFIXES]
        return case((func.substr(column, 1, 1).in_(prefixes), "'" + column), else_=column)
    return column
