"""Limits of an import: bytes are counted as they are read, and memory stays bounded."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from contextlib import closing

import pytest
from sqlalchemy import func, select
from sqlalchemy import text as sql
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.errors import BadRequest
from schema.transfer.connection import connect
from schema.transfer.importer import ImportOptions, import_files
from schema.transfer.limits import MAX_FILES, MAX_ROW_LENGTH, CountingReader, ImportLimits, import_budget
from schema.transfer.row_parser import RowParser
from schema.transfer.source import find_sources, open_source
from schema.transfer.staging_tables import StagingTables
from tests.schema.transfer.test_transfer import CSV_SCHEMAS

# Reading files and archives does not depend on the database.
pytestmark = pytest.mark.sqlite

HEADER = "first_name,age\n"


class Endless(io.RawIOBase):
    """A stream that begins like a CSV file and never ends; `bytes_read` is how much was read of it."""

    def __init__(self, line, header=HEADER):
        self._line = line
        self._next = header.encode()
        self.bytes_read = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._next[: len(buffer)]
        self._next = self._next[len(data) :] or self._line * max(1, 65536 // len(self._line))
        buffer[: len(data)] = data
        self.bytes_read += len(data)
        return len(data)


@pytest.fixture
def import_paths(database):
    def import_paths(paths, stdin=None, **options):
        limits = options.get("limits", ImportLimits())
        sources = find_sources([str(path) for path in paths], stdin or io.BytesIO(), limits)
        return import_files(str(database), CSV_SCHEMAS, sources, ImportOptions(**options), lambda activity, share: None)

    return import_paths


def pack(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return path


def peak_memory(do):
    tracemalloc.start()
    try:
        return do(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["file", "folder", "zip", "stdin"])
@pytest.mark.slow
def test_the_byte_limit_holds_for_every_source(import_paths, tmp_path, way):
    text = HEADER + "Ada,36\n" * 20_000
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "users.csv").write_text(text)
    packed = pack(tmp_path / "all.zip", {"users.csv": text})
    paths = {"file": [folder / "users.csv"], "folder": [folder], "zip": [packed], "stdin": ["-"]}[way]

    for most, good in ((len(text), True), (len(text) - 1, False)):
        stdin = io.BytesIO(text.encode())
        if good:
            assert import_paths(paths, stdin, kind="users", dry_run=True, limits=ImportLimits(bytes=most)).bad == 0
        else:
            with pytest.raises(BadRequest, match="the import exceeds 0 MiB: raise the limit with --max-size"):
                import_paths(paths, stdin, kind="users", dry_run=True, limits=ImportLimits(bytes=most))


def test_the_byte_limit_is_for_all_files_together(import_paths, tmp_path):
    for number in range(3):
        (tmp_path / f"users{number}.csv").write_text(HEADER + "Ada,36\n" * 10)
    size = (tmp_path / "users0.csv").stat().st_size

    assert import_paths([tmp_path], dry_run=True, limits=ImportLimits(bytes=3 * size)).bad == 0
    with pytest.raises(BadRequest, match="the import exceeds"):
        import_paths([tmp_path], dry_run=True, limits=ImportLimits(bytes=3 * size - 1))


@pytest.mark.parametrize("line", [b"Ada,36\n", b"x\n", b"\n", b'"a\n', b"\0\n", b",,,,,,\n"], ids=ascii)
@pytest.mark.slow
def test_an_endless_stream_is_refused_in_bounded_memory(import_paths, line):
    stream = Endless(line)
    most = 2**17

    def import_endless():
        with pytest.raises(BadRequest, match="the import exceeds 0 MiB"):
            import_paths(["-"], io.BufferedReader(stream), kind="users", skip_bad=True, limits=ImportLimits(bytes=most))

    _, memory = peak_memory(import_endless)

    assert stream.bytes_read <= most + 2**18
    assert memory < 12_000_000


@pytest.mark.slow
def test_an_endless_line_or_row_is_refused_with_its_line_number(import_paths):
    for line, sentence in (
        (b"a", r"standard input:2: the line is too long: at most 262,144 characters"),
        (b'"a\nb",', r"standard input:\d+: the row is too long: at most 262,144 characters"),
    ):
        stream = Endless(line)

        def import_endless(stream=stream, sentence=sentence):
            with pytest.raises(BadRequest, match=sentence):
                import_paths(["-"], io.BufferedReader(stream), kind="users")

        _, memory = peak_memory(import_endless)

        assert stream.bytes_read < 4 * MAX_ROW_LENGTH
        assert memory < 12_000_000


def test_an_endless_header_is_refused(import_paths):
    with pytest.raises(BadRequest, match="standard input:1: the line is too long"):
        import_paths(["-"], io.BufferedReader(Endless(b"first_name,", "first_name,")), kind="users")


@pytest.mark.slow
def test_the_number_of_rows_is_limited(import_paths, tmp_path):
    (tmp_path / "users.csv").write_text(HEADER + "Ada,36\n" * 6000)

    assert import_paths([tmp_path / "users.csv"], dry_run=True, limits=ImportLimits(rows=6000)).bad == 0
    with pytest.raises(BadRequest, match="the import exceeds 5,999 rows"):
        import_paths([tmp_path / "users.csv"], dry_run=True, limits=ImportLimits(rows=5999))


@pytest.mark.slow
def test_an_archive_may_unpack_to_a_hundred_times_its_size(import_paths, tmp_path):
    bomb = pack(tmp_path / "bomb.zip", {"users.csv": HEADER + "x\n" * 250_000})
    assert bomb.stat().st_size < 2**12

    def import_endless():
        with pytest.raises(BadRequest, match=r"bomb\.zip unpacks to more than 0 MiB, 100 times its size"):
            import_paths([bomb], limits=ImportLimits(archive_bytes=2**16))

    _, memory = peak_memory(import_endless)

    assert memory < 8_000_000


@pytest.mark.slow
def test_the_sizes_declared_by_an_archive_are_not_trusted(import_paths, tmp_path):
    """One archive declares a false size; another unpacks to more in several members."""
    limits = ImportLimits(archive_bytes=2**18)
    text = HEADER + "Ada,36\n" * 15_000
    lying = pack(tmp_path / "lying.zip", {"users.csv": text})
    data = lying.read_bytes()
    lying.write_bytes(data.replace(struct.pack("<L", len(text)), struct.pack("<L", 10)))
    several = pack(tmp_path / "several.zip", {f"users{number}.csv": text for number in range(5)})

    with pytest.raises(BadRequest, match=r"is damaged|unpacks to more"):
        import_paths([lying], limits=limits)
    with pytest.raises(BadRequest, match=r"several\.zip unpacks to more than 0 MiB"):
        import_paths([several], dry_run=True, limits=limits)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_that_unpack_in_one_piece_are_refused(import_paths, tmp_path, method):
    packed = pack(tmp_path / "all.zip", {"users.csv": HEADER}, method)

    with pytest.raises(BadRequest, match="unsupported compression method: use deflate"):
        import_paths([packed])


def test_the_number_of_files_is_limited(import_paths, tmp_path):
    packed = pack(tmp_path / "all.zip", {f"users{number}.csv": HEADER for number in range(MAX_FILES + 1)})

    with pytest.raises(BadRequest, match="too many files: 1,001, at most 1,000 can be imported at a time"):
        import_paths([packed])


def test_the_list_of_members_is_limited(tmp_path):
    packed = pack(tmp_path / "all.zip", {f"{'x' * 200}{number}": "" for number in range(5000)})

    def import_endless():
        with pytest.raises(BadRequest, match="its list of members is too long"):
            find_sources([str(packed)], io.BytesIO())

    assert peak_memory(import_endless)[1] < 4_000_000


def test_a_member_name_with_control_characters_is_refused(tmp_path):
    packed = pack(tmp_path / "all.zip", {"\x1b[2Jusers.csv": HEADER})

    with pytest.raises(BadRequest, match="unprintable name"):
        find_sources([str(packed)], io.BytesIO())


@pytest.mark.parametrize("line, errors", [("x\n", 1), ("Ada,200\n", 1), (",\n", 2)], ids=ascii)
@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.slow
def test_all_bad_rows_are_counted_and_only_the_first_errors_kept(import_paths, tmp_path, line, errors, skip_bad):
    (tmp_path / "users.csv").write_text(HEADER + f"Ada,36\n{line}" * 6_000 + "Ada,36\n")

    report = import_paths([tmp_path / "users.csv"], max_errors=7, skip_bad=skip_bad, dry_run=True)

    assert [error.line for error in report.row_errors] == [3 + 2 * (number // errors) for number in range(7)]
    assert (report.bad, report.error_count) == (6_000, errors * 6_000)


@pytest.mark.parametrize("line, errors", [("x\n", 1), ("Ada,200\n", 1), (",\n", 2)], ids=ascii)
def test_only_the_first_errors_are_staged(database, tmp_path, line, errors):
    (tmp_path / "users.csv").write_text(HEADER + line * 100)
    (source,) = find_sources([str(tmp_path / "users.csv")], io.BytesIO())
    budget = import_budget(ImportLimits())

    with connect(str(database)) as connection, open_source(source, CSV_SCHEMAS, None, budget) as (header, rows, _):
        staging = StagingTables(connection, CSV_SCHEMAS, max_errors=7)
        parser = RowParser(staging, header, 0)
        for number, row in enumerate(rows):
            parser.stage([(number, row)])
        ((staged,),) = staging.run(select(func.count()).select_from(staging.errors))

    assert (staged, staging.omitted_errors) == (7, 100 * errors - 7)


@pytest.mark.sqlite
def test_staged_rows_are_not_held_in_memory(database):
    with closing(connect(str(database))) as connection:
        ((temp_store,),) = connection.run(sql("PRAGMA temp_store"))

    assert temp_store == 1  # a file


@pytest.mark.slow
def test_long_rows_are_staged_in_small_batches(tmp_path, import_paths):
    """Cells that are far too long are errors; five thousand such rows would take gigabytes."""
    (tmp_path / "users.csv").write_text(HEADER + f"{'x' * 100_000},36\n" * 200)

    report, memory = peak_memory(lambda: import_paths([tmp_path / "users.csv"], dry_run=True))

    assert (report.bad, len(report.row_errors)) == (200, 50)
    assert all(len(str(error)) < 700 for error in report.row_errors)
    assert memory < 30_000_000


def test_the_counting_reader_counts_every_byte():
    data = b"abc" * 1000
    reader = CountingReader(io.BytesIO(data), [])

    assert (io.BufferedReader(reader).read(), reader.tell()) == (data, len(data))


def test_the_help_text_names_the_limits(database, tmp_path, monkeypatch):
    help = " ".join(CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "200"}).output.split())

    assert "262,144 characters" in help
    assert "--max-size" in help
    for arguments in (["--max-size", "0"], ["--show", "10001"]):
        assert CliRunner().invoke(app, ["import", "x.csv", *arguments]).exit_code == 2
