"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from schema.engine.database import Directory
from schema.engine.errors import DirectoryError
from schema.migrations.known import is_behind

Verdict = Literal["ok", "failing", "behind", "unknown"]
# However often is asked, the database is asked no more often than this.
SECONDS_KEPT = 0.5


def routes() -> list[Route]:
    """`/health/live`, `/health/ready`, and `/health`, which is the latter."""
    ready = Readiness().ready
    return [Route("/health/live", live), Route("/health/ready", ready), Route("/health", ready)]


async def live(request: Request) -> JSONResponse:
    """200 as long as the process can answer at all."""
    return _answer(200, {"status": "alive"})


class Readiness:
    """What was found out last, for those who ask again at once."""

    def __init__(self) -> None:
        self._directory: Directory | None = None
        self._until = 0.0
        self._checks: dict[str, Verdict] = {}
        self._one = asyncio.Lock()

    async def ready(self, request: Request) -> JSONResponse:
        """200 if the database can be read and written and lacks no migration, else 503."""
        directory: Directory = request.app.state.directory
        async with self._one:
            if directory is not self._directory or monotonic() >= self._until:
                self._checks = await _checks(directory)
                self._directory, self._until = directory, monotonic() + SECONDS_KEPT
        good = all(verdict == "ok" for verdict in self._checks.values())
        return _answer(200 if good else 503, {"status": "ready" if good else "unavailable", "checks": self._checks})


async def _checks(directory: Directory) -> dict[str, Verdict]:
    try:
        await directory.check()
    except DirectoryError:
        return {"database": "failing", "migrations": "unknown"}
    try:
        (rows,) = await directory.read([("SELECT version_num FROM alembic_version", ())])
    except DirectoryError:
        # What has never been migrated has no such table: it is there, and behind.
        return {"database": "ok", "migrations": "behind"}
    return {"database": "ok", "migrations": "behind" if is_behind(rows[0][0] if rows else None) else "ok"}


def _answer(status: int, content: dict[str, object]) -> JSONResponse:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(content, status, headers if status == 200 else {**headers, "retry-after": "1"})
