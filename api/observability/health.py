"""`/health/live`, `/health/ready` and `/health`: whether the process runs, and whether it can serve requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.http.paths import HEALTH, LIVE, READY
from schema.engine.errors import DirectoryError
from schema.engine.operations.directory import Directory
from schema.migrations.revisions import is_behind

CheckStatus = Literal["ok", "failing", "behind", "unknown"]
REQUIRED_CHECKS = ("database", "migrations")
# Results are cached, so that frequent requests cost the database nothing.
CACHE_SECONDS = 0.5
# An actor that has just written reads from the primary for as long.
MAX_REPLICA_LAG = 10.0


def routes() -> list[Route]:
    """Return the routes; `/health` is an alias of `/health/ready`."""
    ready = Readiness().ready
    return [Route(LIVE, live), Route(READY, ready), Route(HEALTH, ready)]


async def live(request: Request) -> JSONResponse:
    """Answer 200 as long as the process runs."""
    return _response(200, {"status": "alive"})


class Readiness:
    """Runs the checks, and caches their results."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._directory: Directory | None = None
        self._until = 0.0
        self._checks: dict[str, CheckStatus] = {}
        self._lag: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def ready(self, request: Request) -> JSONResponse:
        """Answer 200 if the database can be read and written and is migrated, else 503. A replica does not count."""
        directory: Directory = request.app.state.directory
        async with self._lock:
            if directory is not self._directory or self._clock() >= self._until:
                self._checks = await _checks(directory)
                replica, self._lag = await _replica_check(directory)
                self._checks |= replica
                self._directory, self._until = directory, self._clock() + CACHE_SECONDS
        is_ready = all(self._checks[name] == "ok" for name in REQUIRED_CHECKS)
        status = "ready" if is_ready else "unavailable"
        return _response(200 if is_ready else 503, {"status": status, "checks": self._checks, **self._lag})


async def _checks(directory: Directory) -> dict[str, CheckStatus]:
    try:
        await directory.driver.check()
    except DirectoryError:
        return {"database": "failing", "migrations": "unknown"}
    try:
        (rows,) = await directory.read([("SELECT version_num FROM alembic_version", ())])
    except DirectoryError:
        # A database that has never been migrated has no such table.
        return {"database": "ok", "migrations": "behind"}
    if is_behind(rows[0][0] if rows else None):
        return {"database": "ok", "migrations": "behind"}
    try:
        await directory.cursor_key.signer()
    except DirectoryError:
        return {"database": "failing", "migrations": "ok"}
    return {"database": "ok", "migrations": "ok"}


async def _replica_check(directory: Directory) -> tuple[dict[str, CheckStatus], dict[str, float]]:
    """Return the replica's check and its lag in seconds; nothing if there is no replica."""
    if "replica" not in directory.driver.connections():
        return {}, {}
    try:
        lag = await directory.driver.lag()
    except DirectoryError:
        return {"replica": "failing"}, {}
    if lag is None:  # it is not a standby, so its lag is unknown
        return {"replica": "unknown"}, {}
    return {"replica": "behind" if lag > MAX_REPLICA_LAG else "ok"}, {"replica_lag_seconds": round(lag, 3)}


def _response(status: int, content: dict[str, object]) -> JSONResponse:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(content, status, headers if status == 200 else {**headers, "retry-after": "1"})
