"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.http.paths import HEALTH, LIVE, READY
from schema.engine.errors import DirectoryError
from schema.engine.operations.directory import Directory
from schema.migrations.revisions import is_behind

Verdict = Literal["ok", "failing", "behind", "unknown"]
NEEDED = ("database", "migrations")
# However often is asked, the database is asked no more often than this.
SECONDS_KEPT = 0.5
# Seconds that a replica may be behind: who has written reads elsewhere for as long.
TOLERATED = 10.0


def routes() -> list[Route]:
    """`/health/live`, `/health/ready`, and `/health`, which is the latter."""
    ready = Readiness().ready
    return [Route(LIVE, live), Route(READY, ready), Route(HEALTH, ready)]


async def live(request: Request) -> JSONResponse:
    """200 as long as the process can answer at all."""
    return _answer(200, {"status": "alive"})


class Readiness:
    """What was found out last, for those who ask again at once."""

    def __init__(self) -> None:
        self._directory: Directory | None = None
        self._until = 0.0
        self._checks: dict[str, Verdict] = {}
        self._lag: dict[str, float] = {}
        self._one = asyncio.Lock()

    async def ready(self, request: Request) -> JSONResponse:
        """200 if the database can be read and written and lacks no migration, else 503; without a replica it serves."""
        directory: Directory = request.app.state.directory
        async with self._one:
            if directory is not self._directory or monotonic() >= self._until:
                self._checks = await _checks(directory)
                verdict, self._lag = await _replica(directory)
                self._checks |= verdict
                self._directory, self._until = directory, monotonic() + SECONDS_KEPT
        good = all(self._checks[name] == "ok" for name in NEEDED)
        told: dict[str, object] = {"status": "ready" if good else "unavailable", "checks": self._checks, **self._lag}
        return _answer(200 if good else 503, told)


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
    if is_behind(rows[0][0] if rows else None):
        return {"database": "ok", "migrations": "behind"}
    try:
        await directory.cursor_key.signer()
    except DirectoryError:
        return {"database": "failing", "migrations": "ok"}
    return {"database": "ok", "migrations": "ok"}


async def _replica(directory: Directory) -> tuple[dict[str, Verdict], dict[str, float]]:
    """What is said of a replica, and how far it is behind; nothing where there is none."""
    if "replica" not in directory.connections:
        return {}, {}
    try:
        lag = await directory.lag()
    except DirectoryError:
        return {"replica": "failing"}, {}
    if lag is None:  # it is no standby, and nobody knows what it is
        return {"replica": "unknown"}, {}
    return {"replica": "behind" if lag > TOLERATED else "ok"}, {"replica_lag_seconds": round(lag, 3)}


def _answer(status: int, content: dict[str, object]) -> JSONResponse:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(content, status, headers if status == 200 else {**headers, "retry-after": "1"})
