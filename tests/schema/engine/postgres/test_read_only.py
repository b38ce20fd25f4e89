"""A read-only PostgreSQL serves reads and refuses writes with a 503, until it is writable again."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.testclient import TestClient

from api.observability import health
from api.settings import read_settings
from schema.engine.changes import TransactionResult
from schema.engine.errors import DISK_FAILURE, DatabaseUnavailable
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create
from schema.engine.postgres.session import READ_ONLY_MESSAGE
from schema.engine.query.selection import Scalar, Selection
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.in_process import in_process_app

pytestmark = pytest.mark.postgres

SHORT = Selection((("id", Scalar("id")),))
ADA = {"first_name": "Ada", "age": 36}
SET_READ_ONLY = (
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {} default_transaction_read_only{}', current_database()); END $$"
)
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'tandem' AND datname = current_database()"
)


@pytest.fixture
def url(migrated):
    """An empty database, writable again after the test."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    yield migrated
    postgres.run(migrated, "SET default_transaction_read_only = off")
    make_writable(migrated)


@pytest.fixture
def http_client(url, monkeypatch):
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    settings = read_settings({"TANDEM_ENV": "development", "DATABASE_URL": url, "TANDEM_POOL": "4"})
    with TestClient(in_process_app(settings), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


def make_read_only(url):
    """As hosting providers do when a disk is nearly full."""
    postgres.run(url, SET_READ_ONLY.format("SET", " = on"))
    postgres.run(url, END_SESSIONS)


def make_writable(url):
    """Open sessions keep the old setting."""
    writable_session = f"{url}&default_transaction_read_only=off"
    postgres.run(writable_session, SET_READ_ONLY.format("RESET", ""))


def test_a_read_only_database_serves_reads_and_accepts_writes_when_it_is_writable_again(http_client, url):
    http_client.post("/users", json=ADA).raise_for_status()
    make_read_only(url)

    refused = [http_client.post("/users", json=ADA), http_client.post("/groups", json={"name": "New"})]
    mutation = http_client.post(
        "/graphql", json={"query": 'mutation { createGroup(input: {name: "A"}) { group { id } } }'}
    )
    listed, ready = http_client.get("/users"), http_client.get("/health/ready")

    assert [
        (response.status_code, response.headers["retry-after"], response.json()["detail"]) for response in refused
    ] == [(503, "1", READ_ONLY_MESSAGE)] * 2
    assert mutation.json()["errors"][0]["extensions"]["code"] == "DB_UNAVAILABLE"
    assert (listed.status_code, len(listed.json()["items"])) == (200, 1)
    assert ready.status_code == 503

    make_writable(url)
    until = time.monotonic() + 5
    while http_client.get("/health/ready").status_code != 200 and time.monotonic() < until:
        time.sleep(0.02)

    assert [http_client.post("/users", json=ADA).status_code for _ in range(4)] == [201] * 4


async def test_the_first_refused_write_replaces_the_read_only_connections(url):
    """No health check is needed for that."""
    async with Directory(url, pool=4) as directory:
        make_read_only(url)
        for _ in range(3):
            await directory.read([("SELECT 1", ())])
        make_writable(url)

        refused = [create(directory.unit_of_work(ADMIN), USER, ADA, SHORT) for _ in range(5)]
        assert {str(error) for error in await asyncio.gather(*refused, return_exceptions=True)} == {READ_ONLY_MESSAGE}
        for _ in range(4):
            await create(directory.unit_of_work(ADMIN), USER, ADA, SHORT)


@pytest.mark.parametrize("code", ["53100", "58030"])
async def test_a_full_or_failing_disk_is_reported(url, code):
    def full():
        yield f"DO $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '{code}'; END $$", ()
        return TransactionResult(None)

    async with Directory(url) as directory:
        with pytest.raises(DatabaseUnavailable) as refused:
            await directory.write(full)

        assert refused.value.detail == DISK_FAILURE
        with pytest.raises(DatabaseUnavailable, match=DISK_FAILURE):
            await directory.driver.check()
        await create(directory.unit_of_work(ADMIN), USER, ADA, SHORT)
        await directory.driver.check()  # A later success outweighs the failure.
