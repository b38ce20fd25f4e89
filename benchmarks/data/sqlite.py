"""SQLite databases of the benchmarks: Tandem's from its migrations, the peers' from `peers/schema.sql`.

One is created for each owner and size, and kept; measurements work on copies.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import create_engine
from sqlmodel import SQLModel

from benchmarks.data.dataset import Size
from benchmarks.data.tables import TableRows, tables_of, techempower_tables
from benchmarks.peer import Owner, System
from schema.migrations import commands

HERE = Path(__file__).parent
BENCHMARKS = HERE.parent
FOLDER = BENCHMARKS / ".databases"
PEER_SCHEMA = BENCHMARKS / "peers" / "schema.sql"
BATCH_SIZE = 10_000
_LOAD_PRAGMAS = ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-1000000")


class SQLiteFiles:
    """SQLite runs in each peer's own process; copies are files in `folder`."""

    system: System = "sqlite"

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    @contextmanager
    def copy(self, owner: Owner, size: Size) -> Iterator[str]:
        """The path of a copy, deleted afterwards."""
        original = self._original(owner, size)
        with tempfile.TemporaryDirectory(prefix="copy-", dir=self._folder) as folder:
            yield shutil.copy(original, str(Path(folder) / "copy.db"))

    def cpu(self) -> float:
        """There is no processor time but the peer's own."""
        return 0.0

    def description(self) -> dict[str, str]:
        return {"SQLite": sqlite3.sqlite_version}

    def _original(self, owner: Owner, size: Size) -> Path:
        """The database of an owner and size, created if it is missing or what it is created from has changed."""
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_sources(owner)))).hexdigest()
        path = self._folder / f"{owner}-{size.users}-{digest[:12]}.db"
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            for old in self._folder.glob(f"{owner}-{size.users}-*"):
                old.unlink()
            print(f"Creating the database of {owner} with {size.users:,} users (only once).", flush=True)
            draft = path.with_suffix(".draft")
            _create(draft, owner, size)
            draft.rename(path)
        return path


def _sources(owner: Owner) -> list[Path]:
    own = [HERE / name for name in ("dataset.py", "sqlite.py", "tables.py")]
    if owner == "peers":
        return [PEER_SCHEMA, *own]
    models = [*(BENCHMARKS.parent / "schema" / "models").glob("*.py"), BENCHMARKS / "tandem" / "models.py"]
    return [*models, *(commands.FOLDER / "versions").glob("*.py"), *own]


def _create(path: Path, owner: Owner, size: Size) -> None:
    if owner == "tandem":
        commands.migrate(str(path))
        engine = create_engine(f"sqlite:///{path}")
        SQLModel.metadata.create_all(engine, tables=techempower_tables())
        engine.dispose()
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(PEER_SCHEMA.read_text(encoding="utf-8"))
    with _load_connection(path) as connection:
        for table_rows in tables_of(owner, size):
            _insert(connection, table_rows)


@contextmanager
def _load_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for fast loading: no rollback, and indexes are created after all rows are there."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in _LOAD_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        indexes = connection.execute(query).fetchall()
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        yield connection
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode=WAL")


def _insert(connection: sqlite3.Connection, table_rows: TableRows) -> None:
    placeholders = ", ".join("?" * len(table_rows.columns))
    sql = f'INSERT INTO "{table_rows.table}" ({", ".join(table_rows.columns)}) VALUES ({placeholders})'
    while batch := list(islice(table_rows.rows, BATCH_SIZE)):
        connection.execute("BEGIN")
        connection.executemany(sql, batch)
        connection.execute("COMMIT")
