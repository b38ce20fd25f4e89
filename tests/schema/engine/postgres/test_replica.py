"""What a real replica is for, what is told of it, and what is told of connections: all as it is, and nothing breaks."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.__main__ import app
from api.observability import health
from api.settings import read
from schema.migrations.commands import migrate
from tests.conftest import BASE, HERE
from tests.fixtures import postgres
from tests.fixtures.in_process import in_process_app

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def clusters():
    """A primary and its replica."""
    with (
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as one,
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as other,
        postgres.Cluster(Path(one)) as primary,
    ):
        migrate(primary.url)
        with primary.standby(Path(other)) as replica:
            yield primary, replica


@pytest.fixture
def http_client(clusters, monkeypatch):
    monkeypatch.setattr(health, "SECONDS_KEPT", 0.0)
    primary, replica = clusters
    given = {"DATABASE_URL": primary.url, "TANDEM_READ_DATABASE_URL": replica.url, "TANDEM_ENV": "development"}
    with TestClient(in_process_app(read({**given, "TANDEM_POOL": "3"})), base_url=BASE, client=HERE) as opened:
        yield opened


def figure(http_client, name, **labels):
    text = http_client.get("/metrics").raise_for_status().text
    samples = [it for family in text_string_to_metric_families(text) for it in family.samples]
    return next((it.value for it in samples if it.name == name and it.labels == labels), None)


def ready(http_client, **expected):
    """The answer of `/health/ready`, once its checks are as expected."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        answer = http_client.get("/health/ready")
        if expected.items() <= answer.json()["checks"].items():
            return answer
        time.sleep(0.05)
    raise AssertionError(answer.json())


def test_a_replica_that_keeps_up_is_read_and_told(http_client):
    answer = ready(http_client, replica="ok")

    assert answer.status_code == 200
    assert answer.json()["replica_lag_seconds"] < 10
    assert figure(http_client, "tandem_replica_lag_seconds") < 10
    assert figure(http_client, "tandem_database_connections_limit", database="replica") == 3


def test_a_replica_that_falls_behind_is_told_and_served_from(http_client, clusters, monkeypatch):
    _, replica = clusters
    monkeypatch.setattr(health, "TOLERATED", 0.05)
    postgres.run(replica.url, "SELECT pg_wal_replay_pause()")
    try:
        http_client.post("/users", json={"first_name": "Ada", "age": 36}).raise_for_status()

        answer = ready(http_client, replica="behind")

        assert answer.status_code == 200
        assert figure(http_client, "tandem_replica_lag_seconds") > 0.05
    finally:
        postgres.run(replica.url, "SELECT pg_wal_replay_resume()")
    assert ready(http_client, replica="ok").json()["replica_lag_seconds"] < 10


def test_a_replica_that_is_away_is_told_and_the_primary_is_read(http_client, clusters):
    _, replica = clusters
    replica.stop()
    try:
        answer = ready(http_client, replica="failing")
        listed = http_client.get("/users")

        assert (answer.status_code, listed.status_code) == (200, 200)
        assert answer.json()["checks"] == {"database": "ok", "migrations": "ok", "replica": "failing"}
        assert figure(http_client, "tandem_replica_lag_seconds") is None
        assert figure(http_client, "tandem_database_connections_lost_total", database="replica") >= 1
    finally:
        replica.start()
    ready(http_client, replica="ok")


def test_connections_that_are_lost_and_what_is_done_again_are_counted(http_client, clusters):
    primary, _ = clusters
    http_client.post("/users", json={"first_name": "Ada", "age": 36}).raise_for_status()
    lost = figure(http_client, "tandem_database_connections_lost_total", database="primary")
    postgres.run(
        primary.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tandem'"
    )
    http_client.post("/users", json={"first_name": "Ada", "age": 36}).raise_for_status()

    assert figure(http_client, "tandem_database_connections_lost_total", database="primary") > lost
    open_ = sum(
        figure(http_client, "tandem_database_connections", database="primary", state=it) for it in ("idle", "busy")
    )
    assert 1 <= open_ <= 3
    assert figure(http_client, "tandem_database_repetitions_total", database="primary") is not None


def test_the_doctor_looks_at_the_replica(clusters):
    primary, replica = clusters
    given = {"TANDEM_ENV": "production", "DATABASE_URL": primary.url, "TANDEM_READ_DATABASE_URL": replica.url}

    text = CliRunner().invoke(app, ["doctor"], env=given).output
    mistaken = CliRunner().invoke(app, ["doctor"], env={**given, "DATABASE_URL": replica.url}).output

    assert "ok     replica: postgresql:///postgres is " in text
    assert "PROBLEM  server: it is a standby, which cannot be written to" in mistaken
