"""Reads from a real replica, and what health checks, metrics and the doctor report about it."""

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
from api.settings import read_settings
from schema.migrations.commands import migrate
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures import postgres
from tests.fixtures.in_process import in_process_app

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def clusters():
    """A primary and its replica."""
    with (
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as primary_folder,
        tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as replica_folder,
        postgres.Cluster(Path(primary_folder)) as primary,
    ):
        migrate(primary.url)
        with primary.standby(Path(replica_folder)) as replica:
            yield primary, replica


@pytest.fixture
def http_client(clusters, monkeypatch):
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    primary, replica = clusters
    environment = {"DATABASE_URL": primary.url, "TANDEM_READ_DATABASE_URL": replica.url, "TANDEM_ENV": "development"}
    with TestClient(
        in_process_app(read_settings({**environment, "TANDEM_POOL": "3"})), base_url=BASE_URL, client=CLIENT_ADDRESS
    ) as opened:
        yield opened


def metric(http_client, name, **labels):
    text = http_client.get("/metrics").raise_for_status().text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return next((sample.value for sample in samples if sample.name == name and sample.labels == labels), None)


def ready(http_client, **expected):
    """The response of `/health/ready`, once its checks are as expected."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        response = http_client.get("/health/ready")
        if expected.items() <= response.json()["checks"].items():
            return response
        time.sleep(0.05)
    raise AssertionError(response.json())


def test_a_replica_that_keeps_up_is_reported_as_ok(http_client):
    response = ready(http_client, replica="ok")

    assert response.status_code == 200
    assert response.json()["replica_lag_seconds"] < 10
    assert metric(http_client, "tandem_replica_lag_seconds") < 10
    assert metric(http_client, "tandem_database_connections_limit", database="replica") == 3


def test_a_replica_that_falls_behind_is_reported(http_client, clusters, monkeypatch):
    _, replica = clusters
    monkeypatch.setattr(health, "MAX_REPLICA_LAG", 0.05)
    postgres.run(replica.url, "SELECT pg_wal_replay_pause()")
    try:
        http_client.post("/users", json={"first_name": "Ada", "age": 36}).raise_for_status()

        response = ready(http_client, replica="behind")

        assert response.status_code == 200
        assert metric(http_client, "tandem_replica_lag_seconds") > 0.05
    finally:
        postgres.run(replica.url, "SELECT pg_wal_replay_resume()")
    assert ready(http_client, replica="ok").json()["replica_lag_seconds"] < 10


def test_without_its_replica_the_primary_is_read(http_client, clusters):
    _, replica = clusters
    replica.stop()
    try:
        response = ready(http_client, replica="failing")
        listed = http_client.get("/users")

        assert (response.status_code, listed.status_code) == (200, 200)
        assert response.json()["checks"] == {"database": "ok", "migrations": "ok", "replica": "failing"}
        assert metric(http_client, "tandem_replica_lag_seconds") is None
        assert metric(http_client, "tandem_database_connections_lost_total", database="replica") >= 1
    finally:
        replica.start()
    ready(http_client, replica="ok")


def test_lost_connections_and_retries_are_counted(http_client, clusters):
    primary, _ = clusters
    http_client.post("/users", json={"first_name": "Ada", "age": 36}).raise_for_status()
    lost = metric(http_client, "tandem_database_connections_lost_total", database="primary")
    postgres.run(
        primary.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tandem'"
    )
    http_client.post("/users", json={"first_name": "Ada", "age": 36}).raise_for_status()

    assert metric(http_client, "tandem_database_connections_lost_total", database="primary") > lost
    open_ = sum(
        metric(http_client, "tandem_database_connections", database="primary", state=state)
        for state in ("idle", "busy")
    )
    assert 1 <= open_ <= 3
    assert metric(http_client, "tandem_database_repetitions_total", database="primary") is not None


def test_the_doctor_checks_the_replica(clusters):
    primary, replica = clusters
    environment = {"TANDEM_ENV": "production", "DATABASE_URL": primary.url, "TANDEM_READ_DATABASE_URL": replica.url}

    output = CliRunner().invoke(app, ["doctor"], env=environment).output
    replica_output = CliRunner().invoke(app, ["doctor"], env={**environment, "DATABASE_URL": replica.url}).output

    assert "ok       replica: postgresql:///postgres is " in output
    assert "PROBLEM  server: is a standby, which is read-only" in replica_output
