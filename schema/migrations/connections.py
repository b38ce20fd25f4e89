"""The connections that migrations run on: Alembic's are SQLAlchemy's, unlike those of the service."""

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
from schema.migrations.write_turns import AT_ONCE, Turn

TRIES = 10
WAIT = 3.0  # seconds for a lock: while a migration waits for one, the requests behind it wait as well
LOCK = 7_461_636_445  # the number of the advisory lock that the one who migrates holds: "tandem", in a way
LONGEST = 3600.0  # seconds that a statement of a migration may take
Done = TypeVar("Done")


def on_sqlite(path: str, do: Callable[[Connection], Done], turn: Turn | None = AT_ONCE) -> Done:
    """With SQLite's transactions begun by us, so that a migration that fails leaves nothing behind.

    Without a turn to take, it is for reading alone.
    """
    engine = create_engine(URL.create("sqlite", database=path))
    event.listen(engine, "connect", _plain if turn is None else _configure)
    event.listen(engine, "begin", _begin if turn is None else turn.take)
    try:
        with engine.connect() as connection:
            return do(connection)
    finally:
        engine.dispose()


def on_postgres(url: str, do: Callable[[Connection], Done], *, alone: bool = False) -> Done:
    """On a connection of its own; `alone`: while nobody else migrates.

    Behind a pooler all of it is one transaction: what a session is told, and the locks that it holds, would stay with
    a session that others are given.
    """
    server = postgres_address(url)

    async def doing() -> Done:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(server, LONGEST))
        try:
            async with engine.connect() as connection:
                if alone:
                    await _lock(connection, within=server.pooled)
                elif not server.pooled:
                    await _limit(connection, within=False)
                done = await connection.run_sync(do)
                if server.pooled:
                    await connection.commit()
                return done
        finally:
            await engine.dispose()

    return asyncio.run(doing())


def patiently(do: Callable[[], Done]) -> Done:
    """What `do` gives, tried again while others hold the locks that it needs."""
    for left in reversed(range(TRIES)):
        try:
            return do()
        except DBAPIError as error:
            if left == 0 or getattr(error.orig, "sqlstate", None) not in ("55P03", "40P01"):
                raise
        time.sleep(0.5)
    raise AssertionError("the last try returns or raises")


async def _limit(connection: AsyncConnection, *, within: bool) -> None:
    """Wait for locks only so long: in this session, or within this transaction."""
    await connection.exec_driver_sql(f"SET {'LOCAL ' if within else ''}lock_timeout = '{WAIT}s'")
    if within:
        await connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{LONGEST}s'")
    else:
        await connection.commit()


async def _lock(connection: AsyncConnection, *, within: bool) -> None:
    """Wait for the one who migrates now; the lock goes with the connection, or with this transaction."""
    until = time.monotonic() + 300
    await _limit(connection, within=within)
    lock = f"SELECT pg_try_advisory_{'xact_' if within else ''}lock({LOCK})"
    while not (await connection.exec_driver_sql(lock)).scalar():
        await connection.rollback()
        if time.monotonic() > until:
            raise DatabaseUnavailable("another migration has been running for five minutes: see what it waits for")
        await asyncio.sleep(0.2)
        if within:
            await _limit(connection, within=True)
    if not within:
        await connection.commit()


def _plain(connection: Any, record: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _configure(connection: Any, record: object) -> None:
    _plain(connection, record)
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=0")
