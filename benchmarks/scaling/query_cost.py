"""The cost of a request's statements in the database.

On SQLite: virtual machine steps, and pages read with an empty cache (`query_cost_sqlite.py`); on PostgreSQL: rows and
buffers of the plans (`query_cost_postgres.py`). Unlike times, these are the same on every machine. The service runs in
this process, so that its statements can be recorded; each is then run again. Requests carry no credential: a credential
is looked up once in two seconds, not for each request.
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
from api.settings import read_settings
from benchmarks.environments import Unavailable
from benchmarks.scaling.queries import Query
from benchmarks.workloads import NUMBER_PLACEHOLDER, Request
from schema.engine.database_url import is_postgres
from schema.engine.operations.directory import Directory

MAX_REQUESTS = 5  # of each query
NEW_EMAIL = f"new.{'0' * len(NUMBER_PLACEHOLDER)}@example.com"
CLIENT = ("127.0.0.1", 50000)


@dataclass(frozen=True, slots=True)
class QueryCost:
    """The highest cost among a query's requests: steps or rows, pages or buffers.

    `pages` is None where the system does not report it.
    """

    statements: int
    steps: int
    pages: int | None


class StatementRecorder(Protocol):
    """Records the statements of a directory, and measures them by running them again."""

    def open_directory(self) -> AbstractAsyncContextManager[Directory]:
        """A directory whose statements are recorded."""

    def clear(self) -> None:
        """Forget the recorded statements."""

    async def cost(self) -> QueryCost:
        """The cost of the recorded statements. What they write is rolled back."""


def query_costs(database: str, queries: Sequence[Query]) -> dict[str, QueryCost]:
    """The cost of each query, by name."""
    return asyncio.run(measure_costs(database, queries))


async def measure_costs(database: str, queries: Sequence[Query]) -> dict[str, QueryCost]:
    url = database if is_postgres(database) else f"sqlite:///{database}"
    settings = read_settings({"TANDEM_ENV": "development", "DATABASE_URL": url})
    app = create_app(settings, Authenticator(settings, LocalAccess(check_peer=_accept)))
    recorder = _recorder(database)
    async with recorder.open_directory() as directory:
        app.state.directory = directory
        return {query.name: await _highest_cost(app, recorder, query) for query in queries}


async def call_app(app: Starlette, request: Request) -> tuple[int, bytes]:
    """Call the service as a client on this host; returns status and body."""
    path, _, query = request.path.partition("?")
    body = request.body.replace(NUMBER_PLACEHOLDER.encode(), b"0" * len(NUMBER_PLACEHOLDER))
    headers = [(b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())]
    headers += [(b"content-type", b"application/json")] if body else []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": CLIENT,
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


async def _accept(scope: Scope) -> None:
    """A call within this process has no connection whose peer could be checked."""


def _recorder(database: str) -> StatementRecorder:
    if is_postgres(database):
        from benchmarks.scaling.query_cost_postgres import PostgresRecorder

        return PostgresRecorder(database, NEW_EMAIL)
    from benchmarks.scaling.query_cost_sqlite import SQLiteRecorder

    return SQLiteRecorder(database, NEW_EMAIL)


async def _highest_cost(app: Starlette, recorder: StatementRecorder, query: Query) -> QueryCost:
    costs = []
    for request in query.requests[:MAX_REQUESTS]:
        recorder.clear()
        status, body = await call_app(app, request)
        if status >= 400:
            raise Unavailable(f"{request.method} {request.path} failed: {status}, {body[:300]!r}")
        costs.append(await recorder.cost())
    pages = [cost.pages for cost in costs if cost.pages is not None]
    return QueryCost(
        max(cost.statements for cost in costs), max(cost.steps for cost in costs), max(pages) if pages else None
    )
