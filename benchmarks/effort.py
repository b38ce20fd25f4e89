"""What a request costs the database: the statements that it takes, and what the database had to do for them.

SQLite counts its steps and the pages that it reads with nothing in its cache (`effort_sqlite.py`), PostgreSQL the rows
and the buffers that its plans went through (`effort_postgres.py`). Time is noisy; these are the same on every machine.
No credential is shown here: what looking at one costs is no request's own, it is done once in two seconds whoever
asks. The service runs in this very process, so that its statements can be listened to; each is then run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.types import Scope

from api.app import create_app
from api.auth.authenticator import Authenticator
from api.auth.development.access import LocalAccess
from api.settings import read
from benchmarks.environments import Unavailable
from benchmarks.questions import Question
from benchmarks.workloads import NUMBER, Ask
from schema.engine.database_url import is_postgres
from schema.engine.operations.directory import Directory

LOOKED_AT = 5
FIRST_NEW = f"new.{'0' * len(NUMBER)}@example.com"
HERE = ("127.0.0.1", 50000)


@dataclass(frozen=True, slots=True)
class Effort:
    """The most that any of a question's requests took: steps or rows, pages or buffers.

    `pages` is None where the system does not tell.
    """

    statements: int
    steps: int
    pages: int | None


class Observer(Protocol):
    """What listens to a directory's statements, and runs them again."""

    def opened(self) -> AbstractAsyncContextManager[Directory]:
        """A directory that is listened to."""

    def clear(self) -> None:
        """Forget what was said."""

    async def effort(self) -> Effort:
        """What the statements cost that were said since; what they write is taken back."""


def efforts(database: str, asked: Sequence[Question]) -> dict[str, Effort]:
    """What each question costs."""
    return asyncio.run(measured(database, asked))


async def measured(database: str, asked: Sequence[Question]) -> dict[str, Effort]:
    """The same, where an event loop runs already."""
    url = database if is_postgres(database) else f"sqlite:///{database}"
    settings = read({"TANDEM_ENV": "development", "DATABASE_URL": url})
    app = create_app(settings, Authenticator(settings, LocalAccess(check_peer=_no_peer)))
    observer = _observer(database)
    async with observer.opened() as directory:
        app.state.directory = directory
        return {question.name: await _costliest(app, observer, question) for question in asked}


async def _no_peer(scope: Scope) -> None:
    """A call within this process has no connection, and so no process at its other end."""


def _observer(database: str) -> Observer:
    if is_postgres(database):
        from benchmarks.effort_postgres import PostgresObserver

        return PostgresObserver(database, FIRST_NEW)
    from benchmarks.effort_sqlite import SQLiteObserver

    return SQLiteObserver(database, FIRST_NEW)


async def _costliest(app: Starlette, observer: Observer, question: Question) -> Effort:
    found = []
    for ask in question.asks[:LOOKED_AT]:
        observer.clear()
        status, body = await answered(app, ask)
        if status >= 400:
            raise Unavailable(f"{ask.method} {ask.path} is answered with {status}: {body[:300]!r}")
        found.append(await observer.effort())
    return _most(found)


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


def _most(found: Sequence[Effort]) -> Effort:
    pages = [effort.pages for effort in found if effort.pages is not None]
    return Effort(
        max(effort.statements for effort in found), max(effort.steps for effort in found), max(pages) if pages else None
    )
