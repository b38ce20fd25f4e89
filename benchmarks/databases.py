"""SQLite's databases that are measured: Tandem's through its own migration, the peers' from `peers/schema.sql`.

One is made once for each size and kept; whoever measures works on a copy.
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

from benchmarks.contents import Filled, contents, kinds
from benchmarks.people import Size
from benchmarks.roster import Owner, System
from schema.migrations import commands

HERE = Path(__file__).parent
KEPT = HERE / ".databases"
TABLES = HERE / "peers" / "schema.sql"
AT_A_TIME = 10_000
_LOADING = ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-1000000")


class Files:
    """SQLite: a file for each peer, in whose own process it runs."""

    system: System = "sqlite"

    @contextmanager
    def copied(self, owner: Owner, size: Size) -> Iterator[str]:
        """The path of a copy, gone afterwards."""
        original = kept(owner, size)
        with tempfile.TemporaryDirectory(prefix="copy-", dir=KEPT) as folder:
            yield shutil.copy(original, str(Path(folder) / "copy.db"))

    def cpu(self) -> float:
        """No processor time but the peer's own."""
        return 0.0

    def described(self) -> dict[str, str]:
        """The version."""
        return {"SQLite": sqlite3.sqlite_version}


def kept(owner: Owner, size: Size) -> Path:
    """The database of an owner and size, made unless it is there; it is told apart by what it is made from."""
    told = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_sources(owner))))
    path = KEPT / f"{owner}-{size.users}-{told.hexdigest()[:12]}.db"
    if not path.exists():
        KEPT.mkdir(exist_ok=True)
        for old in KEPT.glob(f"{owner}-{size.users}-*"):
            old.unlink()
        print(f"Making the database of {owner}, {size.users:,} users: once.", flush=True)
        draft = path.with_suffix(".draft")
        _make(draft, owner, size)
        draft.rename(path)
    return path


def _sources(owner: Owner) -> list[Path]:
    own = [HERE / name for name in ("databases.py", "contents.py", "people.py")]
    if owner == "peers":
        return [TABLES, *own]
    models = [*(HERE.parent / "schema" / "models").glob("*.py"), HERE / "tandem" / "models.py"]
    return [*models, *(commands.FOLDER / "versions").glob("*.py"), *own]


def _make(path: Path, owner: Owner, size: Size) -> None:
    if owner == "tandem":
        commands.migrate(str(path))
        engine = create_engine(f"sqlite:///{path}")
        SQLModel.metadata.create_all(engine, tables=kinds())
        engine.dispose()
    else:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(TABLES.read_text(encoding="utf-8"))
    with _loading(path) as connection:
        for filled in contents(owner, size):
            _load(connection, filled)


def _load(connection: sqlite3.Connection, filled: Filled) -> None:
    places = ", ".join("?" * len(filled.columns))
    sql = f'INSERT INTO "{filled.table}" ({", ".join(filled.columns)}) VALUES ({places})'
    while chunk := list(islice(filled.rows, AT_A_TIME)):
        connection.execute("BEGIN")
        connection.executemany(sql, chunk)
        connection.execute("COMMIT")


@contextmanager
def _loading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that loads fast: the indexes are put back when all rows are there, and nothing can be undone."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in _LOADING:
            connection.execute(f"PRAGMA {pragma}")
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        dropped = indexes.fetchall()
        for name, _ in dropped:
            connection.execute(f'DROP INDEX "{name}"')
        yield connection
        for _, sql in dropped:
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode=WAL")
