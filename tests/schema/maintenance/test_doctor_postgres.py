"""The doctor finds what is amiss with a PostgreSQL, says what to do about it, and changes nothing."""

from __future__ import annotations

import uuid

import pytest
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.model.resource import resource_of
from schema.maintenance.doctor_postgres import examine
from schema.maintenance.postgres_server import Used
from schema.migrations.commands import migrate
from schema.models import MODELS
from tests.fixtures import postgres
from tests.fixtures.people import PEOPLE, fill

pytestmark = pytest.mark.postgres

SHAPES = [resource_of(model) for model in MODELS]


@pytest.fixture
def url(postgres_server):
    """A database to be damaged."""
    name = f"ill_{uuid.uuid4().hex[:12]}"
    postgres.run(postgres_server, f'CREATE DATABASE "{name}"')
    url = postgres.named(postgres_server, name)
    migrate(url)
    fill(url, PEOPLE)
    postgres.run(url, f'ALTER DATABASE "{name}" SET synchronous_commit = on')
    yield url
    postgres.run(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


def amiss(url, used=None):
    """What is wrong, by what was looked at; the server of the tests is none to be relied on, which is found as well."""
    found = {it.what: f"{it.wrong} | {it.advice}" for it in examine(url, SHAPES, used or Used(11)) if it.wrong}
    if found.get("settings", "").startswith("fsync is off, full_page_writes is off:"):
        del found["settings"]
    return found


def test_nothing_is_found_where_all_is_well(url):
    assert amiss(url) == {}


CHECK = 'ALTER TABLE "user" DROP CONSTRAINT ck_user_age'
UNPROVEN = 'ALTER TABLE "user" ADD CONSTRAINT ck_user_age CHECK (age < 9) NOT VALID'
ALTER = "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' {}'; END $$"
ILLS = {
    "a row past a CHECK": (
        [CHECK, 'UPDATE "user" SET age = 200', UNPROVEN],
        {"checks": "rows of user are not as ck_user_age has it", "constraints": "VALIDATE CONSTRAINT ck_user_age"},
    ),
    "a CHECK that is gone": ([CHECK], {"constraints": "missing: ck_user_age"}),
    "a reference to nothing": (
        [
            "ALTER TABLE membership DISABLE TRIGGER ALL",
            "INSERT INTO membership (group_id, user_id, role, created_at) VALUES ('a', 'b', 'owner', '')",
        ],
        {"references": "rows of membership refer by group_id", "constraints": "ENABLE TRIGGER ALL"},
    ),
    "a key that is not its text": (
        ["UPDATE \"user\" SET first_name_key = 'Other'"], {"keys of users": "is not its first_name in lower case"},
    ),
    "an index that is not valid": (
        ["UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_user_age_id'::regclass"],
        {"indexes": "REINDEX INDEX CONCURRENTLY ix_user_age_id"},
    ),
    "an index that is gone": (["DROP INDEX ix_user_age_id"], {"tables": "they differ from the models in 1 place"}),
    "another order of text": (
        ['ALTER TABLE "group" ALTER COLUMN description TYPE varchar(500) COLLATE "POSIX"'],
        {"text": "group.description: sorted otherwise"},
    ),
    "an older migration": (["UPDATE alembic_version SET version_num = '0003'"], {"migration": "it is at 0003"}),
    "commits that do not wait": (
        [ALTER.format("SET synchronous_commit = off")],
        {"settings": "what was acknowledged can be lost"},
    ),
    "nothing may be written": (
        [ALTER.format("SET default_transaction_read_only = on")],
        {"settings": "default_transaction_read_only is on"},
    ),
    "search without its extension": (["DROP EXTENSION pg_trgm CASCADE"], {"search": "CREATE EXTENSION pg_trgm"}),
    "few connections": (
        [ALTER.format("CONNECTION LIMIT 10")],
        {"connections": "this machine takes up to 11, 10 may be open"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage, found", ILLS.values(), ids=ILLS)
def test_what_is_amiss_is_found(url, damage, found):
    for statement in damage:
        postgres.run(url, statement)

    told = amiss(url)

    for what, words in found.items():
        assert words in told.get(what, ""), told


def test_a_replica_that_is_none_is_found(url):
    found = amiss(url, Used(11, postgres.named(url, "postgres")))

    assert found["replica"].startswith("postgresql:///postgres is no standby | name a streaming replica")


def test_a_pooler_without_limits_is_found(url):
    assert "no limit for statement_timeout" in amiss(f"{url}&pgbouncer=true")["limits"]


def command(url, *arguments):
    result = CliRunner().invoke(app, arguments, env={"TANDEM_ENV": "production", "DATABASE_URL": url})
    return result.exit_code, result.output


def test_the_command_says_each_thing_and_ends_by_what_it_found(url):
    postgres.run(url, "DROP INDEX ix_user_age_id")

    code, text = command(url, "doctor")

    assert code == 1
    assert "ok     migration: 0005, the newest\n" in text
    assert "AMISS  tables: they differ" in text
    assert "       what to do: `python -m api migrate`" in text


def test_a_server_that_is_not_there_is_one_thing_amiss_and_its_password_is_not_told(url):
    code, text = command("postgresql://ada:secret@127.0.0.1:1/tandem", "doctor")

    assert code == 1
    assert "AMISS  server: postgresql://127.0.0.1:1/tandem: the database is not available\n" in text
    assert "secret" not in text


def test_a_backup_is_left_to_postgresql_and_the_command_is_told(url):
    code, text = command(url, "backup", "monday.dump")

    assert code == 1
    assert 'pg_dump --format=custom --file=monday.dump "$DATABASE_URL"' in text
