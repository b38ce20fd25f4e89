"""A backup is of one moment while others write, and the doctor finds what is amiss with a file."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.model.resource import resource_of
from schema.maintenance import doctor_sqlite
from schema.maintenance.backup import back_up
from schema.models import MODELS
from tests.fixtures import access_table
from tests.fixtures.people import PEOPLE, fill

pytestmark = pytest.mark.sqlite

SHAPES = [resource_of(model) for model in MODELS]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command, in development, over tandem.db in the working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **environment):
        usual = {"TANDEM_ENV": "development", "DATABASE_URL": "sqlite:///tandem.db"}
        return CliRunner().invoke(app, arguments, env={**usual, **environment})

    return run


def execute(database, *statements):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def contents(connection):
    """The rows of every table that can be read like one; an index of words is none, but the tables behind it are."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    ).fetchall()
    return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


def test_a_backup_is_the_database(run, database, tmp_path):
    access_table.furnish(database)

    result = run("backup", "copy.db")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("copy.db is a copy of tandem.db: 0.")
    with closing(sqlite3.connect(database)) as one, closing(sqlite3.connect(tmp_path / "copy.db")) as other:
        assert contents(one) == contents(other)
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == ["copy.db"]
    assert os.stat(tmp_path / "copy.db").st_mode & 0o077 == 0
    assert run("doctor", "copy.db").exit_code == 0


def test_a_backup_under_writes_is_of_one_moment(database, tmp_path):
    """A writer moves one year from one to another, over and over: whatever the moment, the sum is the same."""
    fill(database, PEOPLE)
    execute(database, "UPDATE user SET age = 75")
    ended = threading.Event()
    moves: list[str] = []

    def write():
        with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            first, second, *_ = [id for (id,) in connection.execute("SELECT id FROM user")]
            while not ended.is_set():
                one, other = (first, second) if len(moves) // 50 % 2 else (second, first)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE user SET age = age - 1 WHERE id = ?", (one,))
                connection.execute("UPDATE user SET age = age + 1 WHERE id = ?", (other,))
                connection.execute("COMMIT")
                moves.append(one)

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
    "arguments, sentence",
    [
        (["old.db"], "old.db is there already: take another name, or --force to replace it\n"),
        (["tandem.db", "--force"], "tandem.db is the database itself\n"),
        (["folder", "--force"], "folder is no file that could be replaced\n"),
        (["none/copy.db"], "none/copy.db cannot be written: No such file or directory\n"),
    ],
)
def test_a_backup_destroys_nothing(run, database, tmp_path, arguments, sentence):
    (tmp_path / "folder").mkdir()
    (tmp_path / "old.db").write_text("old")
    before = database.read_bytes()

    result = run("backup", *arguments)

    assert (result.exit_code, result.stderr) == (1, sentence)
    assert (tmp_path / "old.db").read_text() == "old"
    assert database.read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_backup_replaces_an_older_one_if_it_shall(run, database, tmp_path):
    (tmp_path / "old.db").write_text("old")

    assert run("backup", "old.db", "--force").exit_code == 0
    assert run("doctor", "old.db").exit_code == 0


def test_of_a_damaged_database_there_is_no_backup(run, database, tmp_path):
    damage(database)

    result = run("backup", "copy.db")

    assert result.exit_code == 1
    assert "tandem.db is damaged, and so would its copy be" in result.stderr
    assert not (tmp_path / "copy.db").exists()


def damage(database):
    with closing(sqlite3.connect(database)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'user'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xde\xad\xbe\xef" * (size // 4))


def amiss(database):
    return {finding.what: finding.wrong for finding in doctor_sqlite.examine(str(database), SHAPES) if finding.wrong}


def test_a_database_in_order_is_well_and_is_not_changed(run, database):
    access_table.furnish(database)
    before = database.read_bytes()

    result = run("doctor")

    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.stdout.splitlines()} == {"ok"}
    assert {"integrity", "references", "migration", "tables", "disk", "log"} <= {
        line.split()[1].rstrip(":") for line in result.stdout.splitlines()
    }
    assert database.read_bytes() == before


STRAY = "INSERT INTO membership VALUES ('none', 'nobody', 'member', '2026-01-01T00:00:00.000000Z')"


@pytest.mark.parametrize(
    "statements, what, wrong",
    [
        (["PRAGMA foreign_keys=OFF", STRAY], "references", "rows of membership refer to records that are not there"),
        (["UPDATE alembic_version SET version_num = '0001'"], "migration", "it is at 0001, and "),
        (["DROP TABLE alembic_version"], "migration", "it could not be looked at: no such table"),
        (["DROP INDEX ix_user_age_id"], "tables", "they differ from the models in 1 places"),
        (["UPDATE user SET email_key = email WHERE email IS NOT NULL"], "keys of users", "email_key of "),
        (["UPDATE user SET last_name = NULL"], "keys of users", "last_name_key of "),
        (["PRAGMA ignore_check_constraints=ON", "UPDATE user SET age = 200"], "integrity", "CHECK constraint failed"),
    ],
    ids=["stray", "behind", "unmigrated", "drifted", "key", "null key", "check"],
)
def test_what_is_amiss_is_found_and_something_can_be_done(database, run, statements, what, wrong):
    fill(database, PEOPLE)
    execute(database, *statements)

    found, result = amiss(database), run("doctor")

    assert wrong in found[what]
    assert result.exit_code == 1
    assert f"AMISS  {what}: " in result.stdout
    assert "what to do: " in result.stdout
    assert "amiss with tandem.db.\n" in result.stderr


def test_damage_is_found(database):
    damage(database)

    assert "integrity" in amiss(database)


def test_what_is_no_database_or_is_not_there_is_told(run, tmp_path):
    (tmp_path / "tandem.db").write_text("Dear diary, " * 1000)

    text, none = run("doctor"), run("doctor", "none.db")

    assert (text.exit_code, none.exit_code) == (1, 1)
    assert "file is not a database" in text.stdout
    assert "none.db cannot be opened: unable to open database file" in none.stdout
    assert not (tmp_path / "none.db").exists()


def test_a_full_disk_and_a_long_log_are_amiss(database, monkeypatch):
    monkeypatch.setattr(doctor_sqlite, "LEAST_FREE", 2**80)
    monkeypatch.setattr(doctor_sqlite, "LOG_LIMIT", -1)

    assert amiss(database).keys() == {"disk", "log"}
