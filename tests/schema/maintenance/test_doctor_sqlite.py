"""The doctor reports problems of an SQLite file with advice, and changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from schema.engine.model.resource import resource_of
from schema.maintenance.doctor.sqlite import run_checks
from schema.models import MODELS
from tests.fixtures import access_table
from tests.fixtures.people import PEOPLE, insert_records

pytestmark = pytest.mark.sqlite

RESOURCES = [resource_of(model) for model in MODELS]


def execute(database, *statements):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def problems(database, **limits):
    findings = run_checks(str(database), RESOURCES, **limits)
    return {finding.check: finding.problem for finding in findings if finding.problem}


def test_an_intact_database_has_no_problems_and_is_not_changed(run, database):
    access_table.populate(database)
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
    insert_records(database, PEOPLE)
    execute(database, *statements)

    findings, result = problems(database), run("doctor")

    assert problem in findings[check]
    assert result.exit_code == 1
    assert f"PROBLEM  {check}: " in result.stdout
    assert "what to do: " in result.stdout
    assert " in tandem.db.\n" in result.stderr


def test_damaged_pages_are_reported(damaged_database):
    assert "integrity" in problems(damaged_database)


def test_a_missing_or_invalid_file_is_reported(run, tmp_path):
    (tmp_path / "tandem.db").write_text("Dear diary, " * 1000)

    invalid, missing = run("doctor"), run("doctor", "none.db")

    assert (invalid.exit_code, missing.exit_code) == (1, 1)
    assert "file is not a database" in invalid.stdout
    assert "none.db cannot be opened: unable to open database file" in missing.stdout
    assert not (tmp_path / "none.db").exists()


def test_a_full_disk_and_a_long_log_are_reported(database):
    assert problems(database, min_free_space=2**80, max_log_size=-1).keys() == {"disk", "log"}
