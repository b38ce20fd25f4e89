"""The secret that signs cursors: one row of the database, so that all workers and hosts sign alike.

It belongs to the database as the records do: a backup carries it, and a file that takes the place of another at runtime
brings its own. It is in no export, and neither API shows the table.
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
_LOOK = "SELECT secret FROM cursor_key WHERE id = 1"
_MAKE = text("INSERT INTO cursor_key (id, secret) VALUES (1, :secret) ON CONFLICT (id) DO NOTHING")


class CursorKey:
    """The signer of a database's cursors, read when it is first needed, and again when the database is another one."""

    def __init__(self, database: Driver, dialect: Dialect) -> None:
        self._database = database
        self._make = Statement(_MAKE).on(dialect)
        self._signer = NO_SIGNER
        self._generation: Hashable = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def current(self) -> Signer:
        """The signer, if its secret has been read from the database that is there now; else `UNKNOWN`."""
        return self._signer if self._database.generation() == self._generation else NO_SIGNER

    async def signer(self) -> Signer:
        """The signer; `DatabaseUnavailable` while its secret cannot be read. Those who need it at once share a look."""
        if (signer := self.current) is not NO_SIGNER:
            return signer
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._is_read)
        await asyncio.shield(self._reading)
        return self._signer

    def _is_read(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # Whoever waited has been told.

    async def _read(self) -> None:
        # Before the look: a database that is replaced meanwhile has another generation, and is looked at once more.
        generation = self._database.generation()
        (rows,) = await self._database.read_fresh([(_LOOK, ())])
        if not rows:
            rows = await self._written()
        self._signer, self._generation = Signer(bytes(rows[0][0])), generation

    async def _written(self) -> list[tuple[bytes]]:
        """The row, made if somebody has deleted it; of several that make it at once, the first one's counts."""
        secret = secrets.token_bytes(SECRET_BYTES)

        def job() -> QueryGenerator:
            yield self._make.sql, self._make.bind({"secret": secret})
            return TransactionResult((yield _LOOK, ()))

        written: TransactionResult = await self._database.write(job)
        rows: list[tuple[bytes]] = written.result
        return rows
