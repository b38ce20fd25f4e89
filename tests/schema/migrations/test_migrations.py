"""Migrations create the tables that the models declare, atomically, and the tables enforce the models' constraints."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from schema.engine.errors import DatabaseUnavailable
from schema.engine.operations.directory import Directory
from schema.migrations import commands
from tests.fixtures import access_table
from tests.fixtures.access_table import ADA, BOB, ENGINE, EVE
from tests.fixtures.people import TIMES

pytestmark = pytest.mark.sqlite

ROOT = Path(__file__).parents[3]


@pytest.fixture
def connection(database):
    """A connection to a filled database, for SQL."""
    access_table.populate(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        yield connection


def tables(connection):
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]


def test_migrations_create_what_the_models_declare(database):
    assert commands.drift(str(database)) == []


def test_drift_reports_differences(database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP INDEX ix_user_age_id")
        connection.execute("ALTER TABLE user ADD COLUMN nickname TEXT")

    differences = str(commands.drift(str(database)))

    assert "ix_user_age_id" in differences
    assert "nickname" in differences


def test_the_definitions_of_tables_match_the_models(database, tmp_path):
    """Including what Alembic does not compare: CHECK constraints, generated columns, WITHOUT ROWID."""
    from sqlmodel import SQLModel, create_engine

    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    SQLModel.metadata.create_all(engine)
    engine.dispose()

    assert definitions(database) == definitions(tmp_path / "models.db")


def definitions(path):
    """The definitions in a database, normalized for order and white space."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"
        ).fetchall()
    return {name: sorted(part.strip(" ,\n\t") for part in sql.replace('"', "").split("\n")) for name, sql in rows}


def test_migrating_twice_changes_nothing(database):
    before = database.read_bytes()

    assert commands.migrate(str(database)) == commands.newest()

    assert database.read_bytes() == before


def test_every_table_is_without_rowid(connection):
    tables = dict(
        connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'alembic%'")
    )

    models = {name: sql for name, sql in tables.items() if "_search" not in name and name != "sqlite_sequence"}
    assert set(models) == {"cursor_key", "group", "kept_answer", "key", "membership", "user"}
    assert all(sql.rstrip().endswith("WITHOUT ROWID") for sql in models.values())


def test_migrations_can_be_downgraded(database):
    commands.downgrade(str(database), "base")

    with closing(sqlite3.connect(database)) as connection:
        assert tables(connection) == ["alembic_version", "sqlite_sequence"]

    assert commands.migrate(str(database)) == commands.newest()
    assert commands.drift(str(database)) == []


def dump(connection):
    """All definitions and rows; a virtual table is read by its underlying tables."""
    schema = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    names = [name for name in tables(connection) if not name.endswith("_search")]
    return schema, {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}


FAILING = '''"""A migration that fails at its last statement."""
from alembic import op
import sqlalchemy as sa

revision, down_revision = "9999", "{newest}"


def upgrade():
    op.create_table("half", sa.Column("id", sa.String(), primary_key=True))
    op.execute("UPDATE user SET age = 99")
    with op.batch_alter_table("user") as batch:
        batch.add_column(sa.Column("nickname", sa.String()))
    op.execute("SELECT no_such_function()")
'''


def test_a_failed_migration_is_rolled_back(connection, database, tmp_path):
    """A copy of the migrations with one more, which fails."""
    folder = shutil.copytree(commands.FOLDER, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9999_failing.py").write_text(FAILING.format(newest=commands.newest()))
    newest, before = commands.newest(), dump(connection)

    with pytest.raises(OperationalError, match="no such function"):
        commands.migrate(str(database), folder=folder)

    assert dump(connection) == before
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (newest,)
    connection.execute("BEGIN IMMEDIATE")


@pytest.mark.slow
def test_concurrent_migrations_of_a_new_file_all_succeed(tmp_path):
    """Two processes start at the same moment with the same new file."""
    migrate = "import sys; from schema.migrations.commands import migrate; print(migrate(sys.argv[1]))"
    command = [sys.executable, "-W", "error", "-c", migrate, str(tmp_path / "new.db")]

    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    outputs = [process.communicate(timeout=60) for process in processes]

    assert [stdout.strip() for stdout, _ in outputs] == [commands.newest()] * 2, outputs
    assert commands.drift(str(tmp_path / "new.db")) == []


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "a?b.db", "a#b.db", "ä.db", "deep/er/a.db"])
def test_a_database_file_may_have_any_name(tmp_path, name):
    assert commands.migrate(str(tmp_path / name)) == commands.newest()
    assert (tmp_path / name).is_file()


async def test_a_missing_database_is_reported_with_the_command_to_create_it(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="run the migrations to create it"):
        await Directory(str(tmp_path / "none.db")).open()

    assert not (tmp_path / "none.db").exists()


async def test_a_file_that_is_not_a_database_is_refused(tmp_path):
    threads = threading.active_count()
    (tmp_path / "text.db").write_text("this is a text\n" * 1000)

    with pytest.raises(DatabaseUnavailable):
        await Directory(str(tmp_path / "text.db")).open()

    for thread in threading.enumerate()[threads:]:
        thread.join(5)
    assert threading.active_count() == threads


VALID = {
    "id": "x", "first_name": "P", "first_name_key": "p", "last_name": None, "last_name_key": None, "age": 1,
    "email": None, "email_key": None, "external_id": None, "external_id_key": None, "active": 1, "created_at": TIMES[0],
    "updated_at": TIMES[0], "version": 1,
}  # fmt: skip


def add_user(connection, **changes):
    row = {**VALID, **changes}
    connection.execute(f"INSERT INTO user ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def test_a_valid_row_is_accepted(connection):
    add_user(connection)
    add_user(connection, id="y", last_name="x" * 100, age=150, email="a@b", email_key="a@b", external_id="x" * 255)


@pytest.mark.parametrize(
    "changes",
    [
        {"first_name": ""},
        {"first_name": "x" * 101},
        {"first_name": None},
        {"first_name_key": None},
        {"last_name": ""},
        {"last_name": "x" * 101},
        {"age": -1},
        {"age": 151},
        {"age": None},
        {"age": "old"},
        {"email": "x" * 255},
        {"email": ""},
        {"external_id": ""},
        {"external_id": "x" * 256},
        {"version": 0},
        {"version": -1},
        {"version": None},
        {"created_at": None},
        {"active": None},
        {"id": ADA["id"]},
        {"id": None},
        {"email": "Ada@example.com", "email_key": "ada@example.com"},
        {"external_id": ADA["external_id"]},
    ],
    ids=lambda changes: ascii(changes)[:50],
)
def test_an_invalid_row_violates_a_constraint(connection, changes):
    with pytest.raises(sqlite3.IntegrityError):
        add_user(connection, **changes)


@pytest.mark.parametrize(
    "group, user, role",
    [
        (ENGINE["id"], EVE["id"], "boss"),
        (ENGINE["id"], EVE["id"], ""),
        (ENGINE["id"], EVE["id"], None),
        (ENGINE["id"], "nobody", "member"),
        ("none", EVE["id"], "member"),
        (ENGINE["id"], BOB["id"], "member"),
    ],
)
def test_an_invalid_membership_violates_a_constraint(connection, group, user, role):
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO membership VALUES (?, ?, ?, ?)", (group, user, role, TIMES[0]))


def test_group_names_are_unique(connection):
    with pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE constraint failed: group\.name"):
        connection.execute("UPDATE \"group\" SET name = 'Engine'")
