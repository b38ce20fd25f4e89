"""The connections that migrations run on: Alembic's are SQLAlchemy's, unlike those of the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from schema.engine.errors import DatabaseUnavailable
from schema.engine.place import server_at
from schema.engine.server import connect
from schema.migrations.turns import AT_ONCE, Turn

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
    """On a connection of its own; `alone`: while nobody else migrates."""

    async def doing() -> Done:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: connect(server_at(url), LONGEST))
        try:
            async with engine.connect() as connection:
                await connection.exec_driver_sql(f"SET lock_timeout = '{WAIT}s'")
                await connection.commit()
                if alone:
                    await _lock(connection)
                return await connection.run_sync(do)
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


async def _lock(connection: AsyncConnection) -> None:
    """Wait for the one who migrates now; the lock goes with the connection."""
    until = time.monotonic() + 300
    while not (await connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCK})")).scalar():
        await connection.rollback()
        if time.monotonic() > until:
            raise DatabaseUnavailable("another migration has been running for five minutes: see what it waits for")
        await asyncio.sleep(0.2)
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
