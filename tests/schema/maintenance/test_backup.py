"""Backups are consistent under concurrent writes, and overwrite nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from schema.maintenance.backup import back_up
from tests.fixtures import access_table
from tests.fixtures.people import PEOPLE, insert_records

pytestmark = pytest.mark.sqlite


def execute(database, *statements):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def contents(connection):
    """The rows of every table; a virtual table is read by its underlying tables."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    ).fetchall()
    return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


def test_a_backup_holds_the_same_rows(run, database, tmp_path):
    access_table.populate(database)

    result = run("backup", "copy.db")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("copy.db is a copy of tandem.db: 0.")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert contents(source) == contents(copy)
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy.db"]
    assert os.stat(tmp_path / "copy.db").st_mode & 0o077 == 0
    assert run("doctor", "copy.db").exit_code == 0


def test_a_backup_during_writes_is_one_snapshot(database, tmp_path):
    """A writer moves years of age between two users: the sum is the same at every moment."""
    insert_records(database, PEOPLE)
    execute(database, "UPDATE user SET age = 75")
    ended = threading.Event()
    moves: list[str] = []

    def write():
        with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            first, second, *_ = [id for (id,) in connection.execute("SELECT id FROM user")]
            while not ended.is_set():
                giver, receiver = (first, second) if len(moves) // 50 % 2 else (second, first)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE user SET age = age - 1 WHERE id = ?", (giver,))
                connection.execute("UPDATE user SET age = age + 1 WHERE id = ?", (receiver,))
                connection.execute("COMMIT")
                moves.append(giver)

    writer = threading.Thread(target=write)
    writer.start()
    sums = []
    for number in range(15):
        back_up(str(database), tmp_path / "copy.db", force=number > 0)
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            sums += copy.execute("SELECT sum(age) FROM user").fetchone()
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    ended.set()
    writer.join()

    assert moves
    assert sums == [75 * len(PEOPLE)] * 15


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["old.db"], "old.db exists: give another name, or --force to replace it\n"),
        (["tandem.db", "--force"], "tandem.db is the database itself\n"),
        (["folder", "--force"], "folder is not a regular file\n"),
        (["none/copy.db"], "none/copy.db cannot be written: No such file or directory\n"),
    ],
)
@pytest.mark.slow
def test_a_backup_overwrites_nothing(run, database, tmp_path, arguments, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.db").write_text("old")
    before = database.read_bytes()

    result = run("backup", *arguments)

    assert (result.exit_code, result.stderr) == (1, message)
    assert (tmp_path / "old.db").read_text() == "old"
    assert database.read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_force_replaces_an_older_backup(run, database, tmp_path):
    (tmp_path / "old.db").write_text("old")

    assert run("backup", "old.db", "--force").exit_code == 0
    assert run("doctor", "old.db").exit_code == 0


def test_a_damaged_database_is_not_copied(run, damaged_database, tmp_path):
    result = run("backup", "copy.db")

    assert result.exit_code == 1
    assert "tandem.db is damaged and was not copied" in result.stderr
    assert not (tmp_path / "copy.db").exists()
