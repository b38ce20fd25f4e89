"""A PostgreSQL that takes no changes is read as ever; who would change it is told, and can as soon as it takes them."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.testclient import TestClient

from api.observability import health
from api.settings import read
from schema.engine.changes import TransactionResult
from schema.engine.errors import DISK_FAILURE, DatabaseUnavailable
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create
from schema.engine.postgres.session import READ_ONLY_MESSAGE
from schema.engine.query.selection import Scalar, Selection
from tests.conftest import BASE, HERE
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.in_process import in_process_app

pytestmark = pytest.mark.postgres

SHORT = Selection((("id", Scalar("id")),))
ADA = {"first_name": "Ada", "age": 36}
SETTING = (
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {} default_transaction_read_only{}', current_database()); END $$"
)
ENDED = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'tandem' AND datname = current_database()"
)


@pytest.fixture
def url(migrated):
    """An empty database; whatever it was told is taken back."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    yield migrated
    postgres.run(migrated, "SET default_transaction_read_only = off")
    take_changes(migrated)


@pytest.fixture
def http_client(url, monkeypatch):
    monkeypatch.setattr(health, "SECONDS_KEPT", 0.0)
    settings = read({"TANDEM_ENV": "development", "DATABASE_URL": url, "TANDEM_POOL": "4"})
    with TestClient(in_process_app(settings), base_url=BASE, client=HERE) as opened:
        yield opened


def take_none(url):
    """As hosts do whose disks fill up."""
    postgres.run(url, SETTING.format("SET", " = on"))
    postgres.run(url, ENDED)


def take_changes(url):
    """Sessions that began before are not told of it."""
    told_otherwise = f"{url}&default_transaction_read_only=off"
    postgres.run(told_otherwise, SETTING.format("RESET", ""))


def test_while_no_changes_are_taken_reads_go_on_and_afterwards_all_is_as_before(http_client, url):
    http_client.post("/users", json=ADA).raise_for_status()
    take_none(url)

    refused = [http_client.post("/users", json=ADA), http_client.post("/groups", json={"name": "New"})]
    asked = http_client.post(
        "/graphql", json={"query": 'mutation { createGroup(input: {name: "A"}) { group { id } } }'}
    )
    listed, ready = http_client.get("/users"), http_client.get("/health/ready")

    assert [(it.status_code, it.headers["retry-after"], it.json()["detail"]) for it in refused] == [
        (503, "1", READ_ONLY_MESSAGE)
    ] * 2
    assert asked.json()["errors"][0]["extensions"]["code"] == "DB_UNAVAILABLE"
    assert (listed.status_code, len(listed.json()["items"])) == (200, 1)
    assert ready.status_code == 503

    take_changes(url)
    until = time.monotonic() + 5
    while http_client.get("/health/ready").status_code != 200 and time.monotonic() < until:
        time.sleep(0.02)

    assert [http_client.post("/users", json=ADA).status_code for _ in range(4)] == [201] * 4


async def test_who_is_refused_is_the_last_to_be_where_nobody_looks_after_it(url):
    """Without a health check: the connections that began while no changes were taken are let go with the first."""
    async with Directory(url, pool=4) as directory:
        take_none(url)
        for _ in range(3):
            await directory.read([("SELECT 1", ())])
        take_changes(url)

        refused = [create(directory.unit_of_work(ADMIN), USER, ADA, SHORT) for _ in range(5)]
        assert {str(error) for error in await asyncio.gather(*refused, return_exceptions=True)} == {READ_ONLY_MESSAGE}
        for _ in range(4):
            await create(directory.unit_of_work(ADMIN), USER, ADA, SHORT)


@pytest.mark.parametrize("code", ["53100", "58030"])
async def test_a_disk_that_is_full_or_fails_is_told_in_the_same_words_as_ever(url, code):
    def full():
        yield f"DO $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '{code}'; END $$", ()
        return TransactionResult(None)

    async with Directory(url) as directory:
        with pytest.raises(DatabaseUnavailable) as refused:
            await directory.write(full)

        assert refused.value.detail == DISK_FAILURE
        with pytest.raises(DatabaseUnavailable, match=DISK_FAILURE):
            await directory.check()
        await create(directory.unit_of_work(ADMIN), USER, ADA, SHORT)
        await directory.check()  # What has gone well since says more than what did not.
