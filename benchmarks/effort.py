"""What a request costs the database: the statements that it takes, SQLite's steps, and the pages it reads.

Time is noisy; these are the same on every machine. No credential is shown here: what looking at one costs is no
request's own, it is done once in two seconds whoever asks. The service runs in this very process, so that its
statements can be listened to; each is then run again on a connection that has read nothing yet.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from api.app import create_app
from api.settings import read
from benchmarks.environments import Unavailable
from benchmarks.questions import Question
from benchmarks.workloads import NUMBER, Ask
from schema.engine.database import Directory

EACH = 10
LOOKED_AT = 5
FIRST_NEW = f"new.{'0' * len(NUMBER)}@example.com"
HERE = ("127.0.0.1", 50000)
_RUN_AGAIN = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class Effort:
    """The most that any of a question's requests took. `pages` is None where the system does not tell."""

    statements: int
    steps: int
    pages: int | None


def efforts(database: Path, asked: Sequence[Question]) -> dict[str, Effort]:
    """What each question costs."""
    return asyncio.run(measured(database, asked))


async def measured(database: Path, asked: Sequence[Question]) -> dict[str, Effort]:
    """The same, where an event loop runs already."""
    settings = read({"TANDEM_ENV": "development", "DATABASE_URL": f"sqlite:///{database}"})
    said: list[str] = []
    app = create_app(settings)
    async with Directory(str(database), watch=said.append) as directory:
        app.state.directory = directory
        found = {}
        for question in asked:
            listened = [await _statements(app, ask, said) for ask in question.asks[:LOOKED_AT]]
            found[question.name] = _most([_effort(database, statements) for statements in listened])
        return found


async def _statements(app: Starlette, ask: Ask, said: list[str]) -> list[str]:
    """The statements behind an answer; those of transactions, and of triggers, left out."""
    said.clear()
    status, body = await answered(app, ask)
    if status >= 400:
        raise Unavailable(f"{ask.method} {ask.path} is answered with {status}: {body[:300]!r}")
    ours = [sql for sql in said if sql.lstrip().upper().startswith(_RUN_AGAIN) and "'main'." not in sql]
    # SQLite reports each step of a trigger once more under the name of the statement that set it off.
    return [sql for place, sql in enumerate(ours) if place == 0 or sql != ours[place - 1]]


async def answered(app: Starlette, ask: Ask) -> tuple[int, bytes]:
    """Status and body of what the service answers to a caller on this machine."""
    path, _, query = ask.path.partition("?")
    body = ask.body.replace(NUMBER.encode(), b"0" * len(NUMBER))
    headers = [(b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())]
    headers += [(b"content-type", b"application/json")] if body else []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": HERE,
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def _effort(database: Path, statements: Sequence[str]) -> Effort:
    """The statements again, on a connection that has read nothing yet; what they write is taken back."""
    if any(sql.startswith("INSERT") for sql in statements):
        _take_back(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        calls = 0

        def count() -> int:
            nonlocal calls
            calls += 1
            return 0

        connection.set_progress_handler(count, EACH)
        with _reading() as told:
            for sql in statements:
                connection.execute(sql).fetchall()
        connection.set_progress_handler(None, 0)
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("ROLLBACK")
    return Effort(len(statements), calls * EACH, round(told[0] / size) if told else None)


def _take_back(database: Path) -> None:
    """What was created must be gone before it can be created again."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("DELETE FROM user WHERE email_key = ?", (FIRST_NEW,))


@contextmanager
def _reading() -> Iterator[list[int]]:
    """How many bytes this thread reads meanwhile, as the system counts them; nothing where it does not."""
    before, told = _read_bytes(), list[int]()
    yield told
    after = _read_bytes()
    if before is not None and after is not None:
        told.append(after - before)


def _read_bytes() -> int | None:
    try:
        lines = Path("/proc/thread-self/io").read_text().splitlines()
    except OSError:
        return None
    return int(lines[0].partition(": ")[2])


def _most(found: Sequence[Effort]) -> Effort:
    pages = [effort.pages for effort in found if effort.pages is not None]
    return Effort(
        max(effort.statements for effort in found), max(effort.steps for effort in found), max(pages) if pages else None
    )
