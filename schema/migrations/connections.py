"""Connections for migrations: Alembic needs SQLAlchemy's, unlike the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from schema.engine.database_url import postgres_address
from schema.engine.errors import DatabaseUnavailable
from schema.engine.postgres.session import connect
from schema.migrations.write_lock import WriteLock

ATTEMPTS, PAUSE = 10, 0.5  # seconds between attempts
LOCK_TIMEOUT = 3.0  # seconds: requests queue behind a migration that waits for a table lock
MIGRATION_TIMEOUT = 300.0  # seconds to wait for another migration
STATEMENT_TIMEOUT = 3600.0  # seconds
LOCK_ID = 7_461_636_445  # of the advisory lock that a migration holds; any constant
Result = TypeVar("Result")


def on_sqlite(path: str, do: Callable[[Connection], Result], write_lock: WriteLock | None) -> Result:
    """Run a function on a connection whose transactions include DDL, so that a failed migration leaves nothing.

    Without a write lock the connection is for reading.
    """
    engine = create_engine(URL.create("sqlite", database=path))
    event.listen(engine, "connect", _disable_implicit_transactions if write_lock is None else _configure)
    event.listen(engine, "begin", _begin if write_lock is None else write_lock.begin)
    try:
        with engine.connect() as connection:
            return do(connection)
    finally:
        engine.dispose()


def on_postgres(
    url: str, do: Callable[[Connection], Result], *, exclusive: bool = False, lock_timeout: float = LOCK_TIMEOUT
) -> Result:
    """Run a function on a connection of its own; with `exclusive`, while no other migration runs.

    Behind a pooler all of it is one transaction: settings and locks of a session would stay with a session that other
    clients get next.
    """
    server = postgres_address(url)

    async def run() -> Result:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(server, STATEMENT_TIMEOUT))
        try:
            async with engine.connect() as connection:
                if exclusive:
                    await _acquire_migration_lock(connection, lock_timeout, pooled=server.pooled)
                elif not server.pooled:
                    await _set_timeouts(connection, lock_timeout, pooled=False)
                result = await connection.run_sync(do)
                if server.pooled:
                    await connection.commit()
                return result
        finally:
            await engine.dispose()

    return asyncio.run(run())


def retry_locked(do: Callable[[], Result]) -> Result:
    """Run a function again while it fails by PostgreSQL's lock timeout or a deadlock."""
    for remaining in reversed(range(ATTEMPTS)):
        try:
            return do()
        except DBAPIError as error:
            if remaining == 0 or getattr(error.orig, "sqlstate", None) not in ("55P03", "40P01"):
                raise
        time.sleep(PAUSE)
    raise AssertionError("the last attempt returns or raises")


async def _acquire_migration_lock(connection: AsyncConnection, lock_timeout: float, *, pooled: bool) -> None:
    """Wait until no other migration runs. The lock ends with the connection; behind a pooler, with the transaction."""
    until = time.monotonic() + MIGRATION_TIMEOUT
    await _set_timeouts(connection, lock_timeout, pooled=pooled)
    sql = f"SELECT pg_try_advisory_{'xact_' if pooled else ''}lock({LOCK_ID})"
    while not (await connection.exec_driver_sql(sql)).scalar():
        await connection.rollback()
        if time.monotonic() > until:
            raise DatabaseUnavailable("another migration has been running for five minutes: check what it waits for")
        await asyncio.sleep(0.2)
        if pooled:
            await _set_timeouts(connection, lock_timeout, pooled=True)
    if not pooled:
        await connection.commit()


async def _set_timeouts(connection: AsyncConnection, lock_timeout: float, *, pooled: bool) -> None:
    """For this session; behind a pooler, for this transaction."""
    await connection.exec_driver_sql(f"SET {'LOCAL ' if pooled else ''}lock_timeout = '{lock_timeout}s'")
    if pooled:
        await connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}s'")
    else:
        await connection.commit()


def _disable_implicit_transactions(connection: Any, record: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _configure(connection: Any, record: object) -> None:
    _disable_implicit_transactions(connection, record)
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=0")  # The write lock retries by itself.
