"""A process is ready if its database responds and has all migrations; results are cached for a short time."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from subprocess import run

import pytest
from starlette.requests import Request

from api.observability import health
from schema.engine.operations.directory import Directory
from schema.migrations import revisions
from schema.migrations.commands import newest
from tests.conftest import using_directory
from tests.fixtures import postgres


class App:
    """The part of an application that readiness uses."""

    def __init__(self, directory):
        self.state, self.directory = self, directory


def request_for(directory):
    return Request({"type": "http", "headers": [], "app": App(directory)})


@pytest.fixture
def set_revision(database):
    """A function that sets the revision of the database for a test."""

    def set_to(revision):
        if isinstance(database, str):
            postgres.run(database, "UPDATE alembic_version SET version_num = $1", revision)
            return
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()

    yield set_to
    set_to(newest())


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_ready_with_a_migrated_database(http_client, path):
    response = http_client.get(path)

    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": "ok", "migrations": "ok"}}
    assert response.headers["cache-control"] == "no-store"


def test_live_does_not_depend_on_the_database(http_client):
    http_client.portal.call(http_client.app.state.directory.close)

    assert http_client.get("/health/live").json() == {"status": "alive"}


def test_not_ready_without_a_database(http_client):
    http_client.portal.call(http_client.app.state.directory.close)

    response = http_client.get("/health/ready")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == {"status": "unavailable", "checks": {"database": "failing", "migrations": "unknown"}}


def test_not_ready_with_pending_migrations(http_client, set_revision):
    set_revision(revisions.REVISIONS[-2])

    response = http_client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "checks": {"database": "ok", "migrations": "behind"}}


def test_a_schema_that_is_ahead_is_served(http_client, set_revision):
    set_revision("9999")

    assert http_client.get("/health/ready").status_code == 200


def test_a_database_without_any_table_is_behind(service, tmp_path):
    path = tmp_path / "bare.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")

    with using_directory(service, Directory(str(path))):
        assert service.get("/health/ready").json()["checks"] == {"database": "ok", "migrations": "behind"}


async def test_ready_after_a_pending_migration(directory, set_revision):
    now = 1000.0
    readiness = health.Readiness(lambda: now)
    set_revision(revisions.REVISIONS[-2])
    before = await readiness.ready(request_for(directory))

    set_revision(newest())
    now += health.CACHE_SECONDS
    after = await readiness.ready(request_for(directory))

    assert (before.status_code, after.status_code) == (503, 200)


async def test_check_results_are_cached(traced_directory):
    directory, statements = traced_directory
    now = 1000.0
    readiness = health.Readiness(lambda: now)
    statements.clear()

    await asyncio.gather(*(readiness.ready(request_for(directory)) for _ in range(50)))
    first = len(statements)
    now += health.CACHE_SECONDS
    await asyncio.gather(*(readiness.ready(request_for(directory)) for _ in range(50)))

    assert (first, len(statements)) == (len({*statements}), 2 * first)
    assert len([statement for statement in statements if "alembic_version" in statement]) == 2


def test_revisions_match_alembic():
    assert revisions.REVISIONS[-1] == newest()


@pytest.mark.sqlite
@pytest.mark.slow
def test_a_serving_process_does_not_load_alembic(database):
    code = f"""
import sys
from starlette.testclient import TestClient
from api.app import create_app
from api.settings import read_settings
app = create_app(read_settings({{"DATABASE_URL": "sqlite:///{database}"}}))
with TestClient(app) as client:
    assert client.get("/health/ready").status_code == 200
print([name for name in ("alembic", "prometheus_client", "opentelemetry") if name in sys.modules])
"""

    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
