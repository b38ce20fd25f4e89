"""The databases that are measured: Tandem's through its own migration, the peers' from `peers/schema.sql`.

One is made once for each size and kept; whoever measures works on a copy.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert
from sqlmodel import SQLModel

from benchmarks import people
from benchmarks.people import Row, Size
from benchmarks.tandem.models import Fortune, World, id_at
from schema.engine import writes
from schema.engine.record import Declared, Record
from schema.engine.shape import shape
from schema.engine.statement import compiled
from schema.migrations import run
from schema.models import Group, Key, Membership, User

HERE = Path(__file__).parent
KEPT = HERE / ".databases"
TABLES = HERE / "peers" / "schema.sql"
AT_A_TIME = 10_000
_LOADING = ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-1000000")
KEY_ID = "00000000-0000-0000-0000-000000000001"
_MOMENT = "2024-01-01T00:00:00.000000Z"


def tandem(size: Size) -> Path:
    """Tandem's database, with the tables of TechEmpower's kinds beside its own."""
    sources = [*(HERE.parent / "schema" / "models").glob("*.py"), *(run.HERE / "versions").glob("*.py")]
    return _kept("tandem", size, [*sources, HERE / "tandem" / "models.py"], _make_tandem)


def peers(size: Size) -> Path:
    """The peers' database."""
    return _kept("peers", size, [TABLES], _make_peers)


@contextmanager
def copied(original: Path) -> Iterator[Path]:
    """A copy of a database, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="copy-", dir=KEPT) as folder:
        yield Path(shutil.copy(original, Path(folder) / "copy.db"))


def _kept(kind: str, size: Size, sources: Iterable[Path], make: Callable[[Path, Size], None]) -> Path:
    """The database of a kind and size, made unless it is there; it is told apart by what it is made from."""
    told = hashlib.sha256(b"".join(path.read_bytes() for path in sorted([*sources, Path(__file__), *_generators()])))
    path = KEPT / f"{kind}-{size.users}-{told.hexdigest()[:12]}.db"
    if not path.exists():
        KEPT.mkdir(exist_ok=True)
        for old in KEPT.glob(f"{kind}-{size.users}-*"):
            old.unlink()
        print(f"Making the database of {kind}, {size.users:,} users: once.", flush=True)
        draft = path.with_suffix(".draft")
        make(draft, size)
        draft.rename(path)
    return path


def _generators() -> list[Path]:
    return [HERE / "people.py"]


def _make_tandem(path: Path, size: Size) -> None:
    run.migrate(str(path))
    engine = create_engine(f"sqlite:///{path}")
    SQLModel.metadata.create_all(engine, tables=[shape(World).table, shape(Fortune).table])
    engine.dispose()
    with _loading(path) as connection:
        _load_records(connection, User, people.users(size))
        _load_records(connection, Group, people.groups(size))
        _load_links(connection, Membership, people.memberships(size))
        _load_records(connection, Key, [_key()])
        _load_records(connection, World, (_world(place) for place in range(1, people.NUMBERS + 1)))
        _load_records(connection, Fortune, (_fortune(*told) for told in people.messages()))


def _make_peers(path: Path, size: Size) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(TABLES.read_text(encoding="utf-8"))
    with _loading(path) as connection:
        _load_rows(connection, "users", people.users(size))
        _load_rows(connection, "groups", people.groups(size))
        _load_rows(connection, "memberships", people.memberships(size))
        places = range(1, people.NUMBERS + 1)
        _load_rows(connection, "world", ({"id": it, "random_number": people.number_of(it)} for it in places))
        _load_rows(connection, "fortune", ({"id": it, "message": message} for it, message in people.messages()))


def _key() -> Row:
    """The administrator's key that Tandem is measured with: each of its answers is behind a credential."""
    digest = hashlib.sha256(people.KEY_SECRET.encode()).hexdigest()
    open_ends = dict.fromkeys(("scopes", "expires_at", "rate"))
    return {
        "name": "benchmarks",
        "role": "admin",
        "active": True,
        "digest": digest,
        **open_ends,
        **_record(1),
        "id": KEY_ID,
    }


def _world(place: int) -> Row:
    return {"place": place, "random_number": people.number_of(place), **_record(place)}


def _fortune(place: int, message: str) -> Row:
    return {"place": place, "message": message, **_record(place)}


def _record(place: int) -> Row:
    return {"id": id_at(place), "created_at": _MOMENT, "updated_at": _MOMENT, "version": 1}


def _load_records(connection: sqlite3.Connection, model: type[Record], rows: Iterable[Row]) -> None:
    """Rows written as the engine writes them, with the keys that it makes."""
    made = shape(model)
    statement = writes.insertion(made)
    _load(connection, statement.sql, (statement.bind(writes.columns_of(made.fields, row)) for row in rows))


def _load_links(connection: sqlite3.Connection, model: type[Declared], rows: Iterable[Row]) -> None:
    table = SQLModel.metadata.tables[str(model.__tablename__)]
    statement = compiled(insert(table))
    _load(connection, statement.sql, map(statement.bind, rows))


def _load_rows(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    iterator = iter(rows)
    first = next(iterator)
    sql = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({', '.join('?' * len(first))})"
    _load(connection, sql, (tuple(row.values()) for row in _again(first, iterator)))


def _again(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


def _load(connection: sqlite3.Connection, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
    iterator = iter(rows)
    while chunk := list(islice(iterator, AT_A_TIME)):
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
        kept = indexes.fetchall()
        for name, _ in kept:
            connection.execute(f'DROP INDEX "{name}"')
        yield connection
        for _, sql in kept:
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode=WAL")
