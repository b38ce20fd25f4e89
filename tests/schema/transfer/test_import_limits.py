"""What an import reads is bounded, counted as it comes, and takes no more memory for being much or wrong."""

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
from schema.transfer import limits
from schema.transfer.importer import ImportOptions, import_files
from schema.transfer.limits import LONGEST_ROW, MOST_FILES, Limits, Metered
from schema.transfer.session import session
from schema.transfer.source import sources_of
from schema.transfer.staging_tables import Stage
from tests.schema.transfer.test_transfer import SHEETS

# What is read of files and archives has nothing to do with the database that it goes to.
pytestmark = pytest.mark.sqlite

HEADER = "first_name,age\n"


class Endless(io.RawIOBase):
    """A stream that begins like a CSV file and goes on for ever; `given` is how much was taken of it."""

    def __init__(self, line, header=HEADER):
        self._line = line
        self._next = header.encode()
        self.given = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._next[: len(buffer)]
        self._next = self._next[len(data) :] or self._line * max(1, 65536 // len(self._line))
        buffer[: len(data)] = data
        self.given += len(data)
        return len(data)


@pytest.fixture
def bring(database):
    def bring(paths, stdin=None, **wish):
        sources = sources_of([str(path) for path in paths], stdin or io.BytesIO())
        return import_files(str(database), SHEETS, sources, ImportOptions(**wish), lambda what, share: None)

    return bring


def pack(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return path


def peak(deed):
    tracemalloc.start()
    try:
        return deed(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", ["file", "folder", "zip", "stdin"])
def test_more_than_the_limit_is_refused_wherever_it_comes_from(bring, tmp_path, way):
    text = HEADER + "Ada,36\n" * 20_000
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "users.csv").write_text(text)
    packed = pack(tmp_path / "all.zip", {"users.csv": text})
    paths = {"file": [folder / "users.csv"], "folder": [folder], "zip": [packed], "stdin": ["-"]}[way]

    for most, good in ((len(text), True), (len(text) - 1, False)):
        stdin = io.BytesIO(text.encode())
        if good:
            assert bring(paths, stdin, kind="users", dry_run=True, limits=Limits(bytes=most)).bad == 0
        else:
            with pytest.raises(BadRequest, match="more than 0 MiB to be imported: --max-size allows more"):
                bring(paths, stdin, kind="users", dry_run=True, limits=Limits(bytes=most))


def test_all_files_together_are_bounded(bring, tmp_path):
    for number in range(3):
        (tmp_path / f"users{number}.csv").write_text(HEADER + "Ada,36\n" * 10)
    size = (tmp_path / "users0.csv").stat().st_size

    assert bring([tmp_path], dry_run=True, limits=Limits(bytes=3 * size)).bad == 0
    with pytest.raises(BadRequest, match="to be imported"):
        bring([tmp_path], dry_run=True, limits=Limits(bytes=3 * size - 1))


@pytest.mark.parametrize("line", [b"Ada,36\n", b"x\n", b"\n", b'"a\n', b"\0\n", b",,,,,,\n"], ids=ascii)
def test_an_endless_stream_ends_at_the_limit_in_little_memory(bring, line):
    stream = Endless(line)
    most = 2**17

    def deed():
        with pytest.raises(BadRequest, match="more than 0 MiB to be imported"):
            bring(["-"], io.BufferedReader(stream), kind="users", skip_bad=True, limits=Limits(bytes=most))

    _, memory = peak(deed)

    assert stream.given <= most + 2**18
    assert memory < 12_000_000


def test_an_endless_line_and_an_endless_row_are_refused_with_their_place(bring):
    for line, sentence in (
        (b"a", r"standard input:2: the line is too long: it may have 262,144 characters"),
        (b'"a\nb",', r"standard input:\d+: the row is too long: it may have 262,144 characters"),
    ):
        stream = Endless(line)

        def deed(stream=stream, sentence=sentence):
            with pytest.raises(BadRequest, match=sentence):
                bring(["-"], io.BufferedReader(stream), kind="users")

        _, memory = peak(deed)

        assert stream.given < 4 * LONGEST_ROW
        assert memory < 12_000_000


def test_an_endless_heading_is_refused(bring):
    with pytest.raises(BadRequest, match="standard input:1: the line is too long"):
        bring(["-"], io.BufferedReader(Endless(b"first_name,", "first_name,")), kind="users")


def test_rows_are_counted(bring, tmp_path):
    (tmp_path / "users.csv").write_text(HEADER + "Ada,36\n" * 6000)

    assert bring([tmp_path / "users.csv"], dry_run=True, limits=Limits(rows=6000)).bad == 0
    with pytest.raises(BadRequest, match="more than 5,999 rows to be imported"):
        bring([tmp_path / "users.csv"], dry_run=True, limits=Limits(rows=5999))


def test_an_archive_unpacks_to_a_hundred_times_its_size(bring, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FREELY", 2**16)
    bomb = pack(tmp_path / "bomb.zip", {"users.csv": HEADER + "x\n" * 250_000})
    assert bomb.stat().st_size < 2**12

    def deed():
        with pytest.raises(BadRequest, match=r"bomb\.zip unpacks to more than 0 MiB, 100 times its size"):
            bring([bomb])

    _, memory = peak(deed)

    assert memory < 8_000_000


def test_what_an_archive_says_of_itself_is_not_believed(bring, tmp_path, monkeypatch):
    """The size in the list of members is a lie, and many members are one and the same piece of the file."""
    monkeypatch.setattr(limits, "FREELY", 2**18)
    text = HEADER + "Ada,36\n" * 15_000
    lying = pack(tmp_path / "lying.zip", {"users.csv": text})
    data = lying.read_bytes()
    lying.write_bytes(data.replace(struct.pack("<L", len(text)), struct.pack("<L", 10)))
    several = pack(tmp_path / "several.zip", {f"users{number}.csv": text for number in range(5)})

    with pytest.raises(BadRequest, match=r"is damaged|unpacks to more"):
        bring([lying])
    with pytest.raises(BadRequest, match=r"several\.zip unpacks to more than 0 MiB"):
        bring([several], dry_run=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_cannot_be_unpacked_piece_by_piece_is_refused(bring, tmp_path, method):
    packed = pack(tmp_path / "all.zip", {"users.csv": HEADER}, method)

    with pytest.raises(BadRequest, match="packed by another method than deflate"):
        bring([packed])


def test_so_many_files_and_no_more(bring, tmp_path):
    packed = pack(tmp_path / "all.zip", {f"users{number}.csv": HEADER for number in range(MOST_FILES + 1)})

    with pytest.raises(BadRequest, match="there are 1,001 files; 1,000 can be imported at a time"):
        bring([packed])


def test_a_list_of_members_without_end_is_not_read(tmp_path):
    packed = pack(tmp_path / "all.zip", {f"{'x' * 200}{number}": "" for number in range(5000)})

    def deed():
        with pytest.raises(BadRequest, match="its list of members is too long"):
            sources_of([str(packed)], io.BytesIO())

    assert peak(deed)[1] < 4_000_000


def test_a_name_that_would_steer_a_terminal_is_refused(tmp_path):
    packed = pack(tmp_path / "all.zip", {"\x1b[2Jusers.csv": HEADER})

    with pytest.raises(BadRequest, match="unprintable name"):
        sources_of([str(packed)], io.BytesIO())


@pytest.mark.parametrize("line, faults", [("x\n", 1), ("Ada,200\n", 1), (",\n", 2)], ids=ascii)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_bad_rows_are_counted_and_only_the_first_are_kept(bring, tmp_path, monkeypatch, line, faults, skip_bad):
    (tmp_path / "users.csv").write_text(HEADER + f"Ada,36\n{line}" * 6_000 + "Ada,36\n")
    kept = []
    usual = Stage.blame

    def blame(self, statement, faults):
        usual(self, statement, faults)
        ((number,),) = self.run(select(func.count()).select_from(self.faults))
        kept.append(number)

    monkeypatch.setattr(Stage, "blame", blame)
    report = bring([tmp_path / "users.csv"], most_told=7, skip_bad=skip_bad, dry_run=True)

    assert max(kept) == 7
    assert [it.line for it in report.row_errors] == [3 + 2 * (number // faults) for number in range(7)]
    assert (report.bad, report.found) == (6_000, faults * 6_000)


@pytest.mark.sqlite
def test_what_is_staged_is_not_held_in_memory(database):
    with closing(session(str(database))) as opened:
        ((where,),) = opened.run(sql("PRAGMA temp_store"))

    assert where == 1  # a file


def test_long_rows_are_staged_a_few_at_a_time(tmp_path, bring):
    """Cells that are far too long are faults; five thousand such rows would be gigabytes."""
    (tmp_path / "users.csv").write_text(HEADER + f"{'x' * 100_000},36\n" * 200)

    report, memory = peak(lambda: bring([tmp_path / "users.csv"], dry_run=True))

    assert (report.bad, len(report.row_errors)) == (200, 50)
    assert all(len(str(it)) < 700 for it in report.row_errors)
    assert memory < 30_000_000


def test_what_a_stream_gives_is_what_is_counted():
    data = b"abc" * 1000
    read = Metered(io.BytesIO(data), [])

    assert (io.BufferedReader(read).read(), read.tell()) == (data, len(data))


def test_the_command_tells_its_limits(database, tmp_path, monkeypatch):
    help = " ".join(CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "200"}).output.split())

    assert "262,144 characters" in help
    assert "--max-size" in help
    for arguments in (["--max-size", "0"], ["--show", "10001"]):
        assert CliRunner().invoke(app, ["import", "x.csv", *arguments]).exit_code == 2
