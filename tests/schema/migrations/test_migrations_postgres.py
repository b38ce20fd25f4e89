"""Migrations on PostgreSQL create what the models declare, one at a time, also through a pooler."""

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
def empty_database(postgres_server):
    postgres.run(postgres_server, "CREATE DATABASE migrating")
    yield postgres.database_url(postgres_server, "migrating")
    postgres.run(postgres_server, "DROP DATABASE migrating WITH (FORCE)")


def tables(url):
    rows = postgres.run(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row[0] for row in rows} - {"alembic_version"}


def test_migrations_create_what_the_models_declare(empty_database):
    assert commands.current(empty_database) is None

    revisions = [commands.migrate(empty_database) for _ in range(2)]

    assert [*revisions, commands.current(empty_database)] == [commands.newest()] * 3

    assert commands.drift(empty_database) == []
    assert tables(empty_database) == set(SQLModel.metadata.tables)


def test_every_text_sorts_by_code_point(migrated):
    rows = postgres.run(
        migrated,
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'alembic_version' AND data_type LIKE 'character%'",
    )

    assert len(rows) > 20
    assert [tuple(row) for row in rows if row[2] != "C"] == []


def test_migrations_can_be_downgraded(empty_database):
    commands.migrate(empty_database)

    commands.downgrade(empty_database, "base")

    assert tables(empty_database) == set()
    assert commands.migrate(empty_database) == commands.newest()


def test_concurrent_migrations_all_succeed(empty_database):
    with ThreadPoolExecutor(4) as threads:
        revisions = list(threads.map(commands.migrate, [empty_database] * 4))

    assert revisions == [commands.newest()] * 4
    assert commands.drift(empty_database) == []


@pytest.mark.parametrize("query, remaining", [("", ("3s", 1)), ("&pgbouncer=true", ("0", 0))])
def test_behind_a_pooler_settings_and_locks_end_with_the_transaction(empty_database, query, remaining):
    """The pooler gives the session to other clients."""
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {connections.LOCK_ID >> 32}"
    states = []

    def read_state(connection):
        for _ in range(2):
            timeout = connection.exec_driver_sql("SHOW lock_timeout").scalar()
            states.append((timeout, connection.exec_driver_sql(held).scalar()))
            connection.rollback()

    connections.on_postgres(f"{empty_database}{query}", read_state, exclusive=True)

    assert states == [("3s", 1), remaining]


def test_migrations_work_through_a_pooler(empty_database):
    threads = ThreadPoolExecutor(2)

    revisions = list(threads.map(commands.migrate, [f"{empty_database}&pgbouncer=true"] * 2))

    assert revisions == [commands.newest()] * 2
    assert commands.drift(f"{empty_database}&pgbouncer=true") == []


def test_a_migration_retries_after_a_lock_timeout(empty_database):
    commands.migrate(empty_database)
    held, free = threading.Event(), threading.Event()

    async def hold():
        connection = await asyncpg.connect(empty_database)
        async with connection.transaction():
            await connection.execute('LOCK TABLE "user" IN ACCESS SHARE MODE')
            held.set()
            await asyncio.to_thread(free.wait, 30)
        await connection.close()

    with ThreadPoolExecutor(2) as threads:
        holding = threads.submit(asyncio.run, hold())
        held.wait(10)
        threading.Timer(1.0, free.set).start()
        connections.retry_locked(
            lambda: connections.on_postgres(
                empty_database,
                lambda connection: connection.exec_driver_sql('LOCK TABLE "user" IN ACCESS EXCLUSIVE MODE'),
                lock_timeout=0.2,
            )
        )
        holding.result()

    assert free.is_set()
