"""The key that signs cursors: one row of the database, so that all workers and hosts sign alike.

It belongs to the database as the records do: a backup contains it, and a file that replaces another at runtime brings
its own. Exports and the APIs leave it out.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Hashable

from sqlalchemy import CheckConstraint, Column, Integer, LargeBinary, Table, text
from sqlalchemy.engine.interfaces import Dialect
from sqlmodel import SQLModel

from schema.engine.changes import TransactionResult
from schema.engine.driver import Driver, QueryGenerator
from schema.engine.query.cursors import NO_SIGNER, Signer
from schema.engine.sql.statement import Statement

SECRET_BYTES = 32
CURSOR_KEY = Table(
    "cursor_key",
    SQLModel.metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("secret", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="id"),
    sqlite_with_rowid=False,
)
_SELECT = "SELECT secret FROM cursor_key WHERE id = 1"
_INSERT = text("INSERT INTO cursor_key (id, secret) VALUES (1, :secret) ON CONFLICT (id) DO NOTHING")


class CursorKey:
    """The signer of a database's cursors: read on first use, and again after the database was replaced."""

    def __init__(self, database: Driver, dialect: Dialect) -> None:
        self._database = database
        self._insert = Statement(_INSERT).on(dialect)
        self._signer = NO_SIGNER
        self._generation: Hashable = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def current(self) -> Signer:
        """The signer, if its key was read from the present database; otherwise `NO_SIGNER`."""
        return self._signer if self._database.generation() == self._generation else NO_SIGNER

    async def signer(self) -> Signer:
        """Return the signer; raise `DatabaseUnavailable` if its key cannot be read. Concurrent callers share a read."""
        if (signer := self.current) is not NO_SIGNER:
            return signer
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._finish_reading)
        await asyncio.shield(self._reading)
        return self._signer

    def _finish_reading(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # Mark it as retrieved: every caller has received it.

    async def _read(self) -> None:
        # Before the read: if the database is replaced meanwhile, its generation differs and the key is read again.
        generation = self._database.generation()
        (rows,) = await self._database.read_fresh([(_SELECT, ())])
        if not rows:
            rows = await self._create()
        self._signer, self._generation = Signer(bytes(rows[0][0])), generation

    async def _create(self) -> list[tuple[bytes]]:
        """Create the row if it was deleted. Of several processes that do so at once, the first one's is kept."""
        secret = secrets.token_bytes(SECRET_BYTES)

        def transaction() -> QueryGenerator:
            yield self._insert.sql, self._insert.bind({"secret": secret})
            return TransactionResult((yield _SELECT, ()))

        result: TransactionResult = await self._database.write(transaction)
        rows: list[tuple[bytes]] = result.result
        return rows
