"""The same migrations make PostgreSQL's tables what the models say, one runner at a time, all of it or nothing."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlmodel import SQLModel

from schema.migrations import commands, connections
from tests.fixtures import postgres

pytestmark = pytest.mark.postgres


@pytest.fixture
def empty(postgres_server):
    """An empty database."""
    postgres.run(postgres_server, "CREATE DATABASE migrating")
    yield postgres.named(postgres_server, "migrating")
    postgres.run(postgres_server, "DROP DATABASE migrating WITH (FORCE)")


def tables(url):
    rows = postgres.run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row[0] for row in rows} - {"alembic_version"}


def test_the_tables_are_the_models(empty):
    assert commands.current(empty) is None

    assert commands.migrate(empty) == commands.newest() == commands.migrate(empty) == commands.current(empty)

    assert commands.drift(empty) == []
    assert tables(empty) == set(SQLModel.metadata.tables)


def test_every_text_sorts_by_code_point(migrated):
    rows = postgres.run(
        migrated,
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version' AND data_type LIKE 'character%'",
    )

    assert len(rows) > 20
    assert [tuple(row) for row in rows if row[2] != "C"] == []


def test_a_migration_can_be_taken_back(empty):
    commands.migrate(empty)

    commands.downgrade(empty, "base")

    assert tables(empty) == set()
    assert commands.migrate(empty) == commands.newest()


def test_of_several_at_once_one_migrates_and_the_others_wait(empty):
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(commands.migrate, [empty] * 4))

    assert done == [commands.newest()] * 4
    assert commands.drift(empty) == []


@pytest.mark.parametrize("query, left", [("", ("3s", 1)), ("&pgbouncer=true", ("0", 0))])
def test_behind_a_pooler_nothing_outlives_the_transaction(empty, query, left):
    """Neither a setting nor a lock may stay with a session that others are given."""
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {connections.LOCK >> 32}"
    found = []

    def look(connection):
        for _ in range(2):
            limit = connection.exec_driver_sql("SHOW lock_timeout").scalar()
            found.append((limit, connection.exec_driver_sql(held).scalar()))
            connection.rollback()

    connections.on_postgres(f"{empty}{query}", look, alone=True)

    assert found == [("3s", 1), left]


def test_all_migrations_go_through_a_pooler(empty):
    migrate = ThreadPoolExecutor(2)

    revisions = list(migrate.map(commands.migrate, [f"{empty}&pgbouncer=true"] * 2))

    assert revisions == [commands.newest()] * 2
    assert commands.drift(f"{empty}&pgbouncer=true") == []


def test_a_lock_that_others_hold_is_waited_for(empty, monkeypatch):
    monkeypatch.setattr(connections, "WAIT", 0.2)
    commands.migrate(empty)
    held, free = threading.Event(), threading.Event()

    async def hold():
        connection = await asyncpg.connect(empty)
        async with connection.transaction():
            await connection.execute('LOCK TABLE "user" IN ACCESS SHARE MODE')
            held.set()
            await asyncio.to_thread(free.wait, 30)
        await connection.close()

    with ThreadPoolExecutor(2) as threads:
        holding = threads.submit(asyncio.run, hold())
        held.wait(10)
        threading.Timer(1.0, free.set).start()
        connections.patiently(
            lambda: connections.on_postgres(
                empty, lambda connection: connection.exec_driver_sql('LOCK TABLE "user" IN ACCESS EXCLUSIVE MODE')
            )
        )
        holding.result()

    assert free.is_set()
