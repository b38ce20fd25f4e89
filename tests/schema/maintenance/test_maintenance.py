"""Backups are consistent under concurrent writes, and the doctor finds problems of an SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.model.resource import resource_of
from schema.maintenance.backup import back_up
from schema.maintenance.doctor.sqlite import run_checks
from schema.models import MODELS
from tests.fixtures import access_table
from tests.fixtures.people import PEOPLE, fill

pytestmark = pytest.mark.sqlite

RESOURCES = [resource_of(model) for model in MODELS]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in development, with tandem.db in the working folder."""
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
    """The rows of every table; a virtual table is read by its underlying tables."""
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    ).fetchall()
    return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


def test_a_backup_holds_the_same_rows(run, database, tmp_path):
    access_table.furnish(database)

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
    fill(database, PEOPLE)
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


def test_a_damaged_database_is_not_copied(run, database, tmp_path):
    damage(database)

    result = run("backup", "copy.db")

    assert result.exit_code == 1
    assert "tandem.db is damaged and was not copied" in result.stderr
    assert not (tmp_path / "copy.db").exists()


def damage(database):
    with closing(sqlite3.connect(database)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'user'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xde\xad\xbe\xef" * (size // 4))


def problems(database, **limits):
    findings = run_checks(str(database), RESOURCES, **limits)
    return {finding.check: finding.problem for finding in findings if finding.problem}


def test_an_intact_database_has_no_problems_and_is_not_changed(run, database):
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
    "statements, check, problem",
    [
        (["PRAGMA foreign_keys=OFF", STRAY], "references", "rows of membership refer to missing records"),
        (["UPDATE alembic_version SET version_num = '0001'"], "migration", "is at 0001, expected "),
        (["DROP TABLE alembic_version"], "migration", "the check failed: no such table"),
        (["DROP INDEX ix_user_age_id"], "tables", "1 difference from the models"),
        (["UPDATE user SET email_key = email WHERE email IS NOT NULL"], "keys of users", "email_key of "),
        (["UPDATE user SET last_name = NULL"], "keys of users", "last_name_key of "),
        (["PRAGMA ignore_check_constraints=ON", "UPDATE user SET age = 200"], "integrity", "CHECK constraint failed"),
    ],
    ids=["stray", "behind", "unmigrated", "drifted", "key", "null key", "check"],
)
def test_a_problem_is_reported_with_advice(database, run, statements, check, problem):
    fill(database, PEOPLE)
    execute(database, *statements)

    findings, result = problems(database), run("doctor")

    assert problem in findings[check]
    assert result.exit_code == 1
    assert f"PROBLEM  {check}: " in result.stdout
    assert "what to do: " in result.stdout
    assert " in tandem.db.\n" in result.stderr


def test_damaged_pages_are_reported(database):
    damage(database)

    assert "integrity" in problems(database)


def test_a_missing_or_invalid_file_is_reported(run, tmp_path):
    (tmp_path / "tandem.db").write_text("Dear diary, " * 1000)

    invalid, missing = run("doctor"), run("doctor", "none.db")

    assert (invalid.exit_code, missing.exit_code) == (1, 1)
    assert "file is not a database" in invalid.stdout
    assert "none.db cannot be opened: unable to open database file" in missing.stdout
    assert not (tmp_path / "none.db").exists()


def test_a_full_disk_and_a_long_log_are_reported(database):
    assert problems(database, min_free_space=2**80, max_log_size=-1).keys() == {"disk", "log"}
