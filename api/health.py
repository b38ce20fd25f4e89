"""Whether the process lives, and whether it can serve."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from schema.engine.database import Directory
from schema.engine.errors import DirectoryError


def routes() -> list[Route]:
    """`/health/live`, `/health/ready`, and `/health`, which is the latter."""
    return [Route("/health/live", live), Route("/health/ready", ready), Route("/health", ready)]


async def live(request: Request) -> JSONResponse:
    """200 as long as the process can answer at all."""
    return _answer(200, {"status": "alive"})


async def ready(request: Request) -> JSONResponse:
    """200 if the database answers, else 503."""
    directory: Directory = request.app.state.directory
    try:
        await directory.read([("SELECT 1", ())])
    except DirectoryError as error:
        return _answer(503, {"status": "unavailable", "detail": error.detail})
    return _answer(200, {"status": "ready"})


def _answer(status: int, content: dict[str, str]) -> JSONResponse:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return JSONResponse(content, status, headers if status == 200 else {**headers, "retry-after": "1"})
