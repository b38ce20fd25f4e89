"""The doctor reports problems of a PostgreSQL database with advice, and changes nothing."""

from __future__ import annotations

import uuid

import pytest
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.model.resource import resource_of
from schema.maintenance.doctor.postgres import ServerUsage, run_checks
from schema.migrations.commands import migrate
from schema.models import MODELS
from tests.fixtures import postgres
from tests.fixtures.people import PEOPLE, insert_records

pytestmark = pytest.mark.postgres

RESOURCES = [resource_of(model) for model in MODELS]


@pytest.fixture
def url(postgres_server):
    """A database that a test may damage."""
    name = f"ill_{uuid.uuid4().hex[:12]}"
    postgres.run(postgres_server, f'CREATE DATABASE "{name}"')
    url = postgres.database_url(postgres_server, name)
    migrate(url)
    insert_records(url, PEOPLE)
    postgres.run(url, f'ALTER DATABASE "{name}" SET synchronous_commit = on')
    yield url
    postgres.run(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


def problems(url, usage=None):
    """Problems and advice by check, but for the unsafe settings of the tests' server."""
    findings = run_checks(url, RESOURCES, usage or ServerUsage(11))
    by_check = {finding.check: f"{finding.problem} | {finding.advice}" for finding in findings if finding.problem}
    if by_check.get("settings", "").startswith("fsync is off, full_page_writes is off:"):
        del by_check["settings"]
    return by_check


def test_an_intact_database_has_no_problems(url):
    assert problems(url) == {}


CHECK = 'ALTER TABLE "user" DROP CONSTRAINT ck_user_age'
UNPROVEN = 'ALTER TABLE "user" ADD CONSTRAINT ck_user_age CHECK (age < 9) NOT VALID'
ALTER = "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' {}'; END $$"
PROBLEMS = {
    "a row that violates a CHECK": (
        [CHECK, 'UPDATE "user" SET age = 200', UNPROVEN],
        {"checks": "rows of user violate ck_user_age", "constraints": "VALIDATE CONSTRAINT ck_user_age"},
    ),
    "a missing CHECK": ([CHECK], {"constraints": "missing: ck_user_age"}),
    "a dangling reference": (
        [
            "ALTER TABLE membership DISABLE TRIGGER ALL",
            "INSERT INTO membership (group_id, user_id, role, created_at) VALUES ('a', 'b', 'owner', '')",
        ],
        {"references": "rows of membership refer by group_id", "constraints": "ENABLE TRIGGER ALL"},
    ),
    "a key that differs from its text": (
        ["UPDATE \"user\" SET first_name_key = 'Other'"], {"keys of users": "is not its first_name in lower case"},
    ),
    "an invalid index": (
        ["UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_user_age_id'::regclass"],
        {"indexes": "REINDEX INDEX CONCURRENTLY ix_user_age_id"},
    ),
    "a missing index": (["DROP INDEX ix_user_age_id"], {"tables": "1 difference from the models"}),
    "another collation": (
        ['ALTER TABLE "group" ALTER COLUMN description TYPE varchar(500) COLLATE "POSIX"'],
        {"text": "group.description: not sorted by code point"},
    ),
    "an older migration": (["UPDATE alembic_version SET version_num = '0003'"], {"migration": "is at 0003"}),
    "asynchronous commits": (
        [ALTER.format("SET synchronous_commit = off")],
        {"settings": "acknowledged writes can be lost"},
    ),
    "read-only transactions": (
        [ALTER.format("SET default_transaction_read_only = on")],
        {"settings": "default_transaction_read_only is on"},
    ),
    "a missing extension": (["DROP EXTENSION pg_trgm CASCADE"], {"search": "CREATE EXTENSION pg_trgm"}),
    "too few connections": (
        [ALTER.format("CONNECTION LIMIT 10")],
        {"connections": "this host opens up to 11, the server allows 10"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage, expected", PROBLEMS.values(), ids=PROBLEMS)
def test_a_problem_is_reported_with_advice(url, damage, expected):
    for statement in damage:
        postgres.run(url, statement)

    problems_by_check = problems(url)

    for check, words in expected.items():
        assert words in problems_by_check.get(check, ""), problems_by_check


def test_a_replica_that_is_not_a_standby_is_reported(url):
    problems_by_check = problems(url, ServerUsage(11, postgres.database_url(url, "postgres")))

    assert problems_by_check["replica"].startswith(
        "postgresql:///postgres is not a standby | set it to a streaming replica"
    )


def test_a_pooler_without_timeouts_is_reported(url):
    assert "no statement_timeout" in problems(f"{url}&pgbouncer=true")["limits"]


def command(url, *arguments):
    result = CliRunner().invoke(app, arguments, env={"TANDEM_ENV": "production", "DATABASE_URL": url})
    return result.exit_code, result.output


def test_the_command_prints_each_check_and_fails_on_a_problem(url):
    postgres.run(url, "DROP INDEX ix_user_age_id")

    code, text = command(url, "doctor")

    assert code == 1
    assert "ok       migration: 0005, the newest\n" in text
    assert "PROBLEM  tables: 1 difference" in text
    assert "         what to do: `python -m api migrate`" in text


def test_an_unreachable_server_is_one_problem_without_its_password(url):
    code, text = command("postgresql://ada:secret@127.0.0.1:1/tandem", "doctor")

    assert code == 1
    assert "PROBLEM  server: postgresql://127.0.0.1:1/tandem: the database is not available\n" in text
    assert "secret" not in text


def test_backup_refers_to_pg_dump_on_postgresql(url):
    code, text = command(url, "backup", "monday.dump")

    assert code == 1
    assert 'pg_dump --format=custom --file=monday.dump "$DATABASE_URL"' in text
