"""`/metrics`: this process's figures as Prometheus reads them, for administrators and for who has the token of its own.

What people do is nobody's business but the administrators', so this is not open as the health checks are.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hmac import compare_digest

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from api.http.paths import METRICS
from api.observability.request_metrics import RequestMetrics
from schema.engine.errors import DatabaseUnavailable, Forbidden
from schema.engine.model.policy import Actor
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import Executor

Authenticate = Callable[[Scope], Awaitable[Actor]]


def route(
    figures: RequestMetrics, executor: Executor, authenticate: Authenticate, *, token: str | None, several: bool
) -> Route:
    """`token` opens it without a key. Where there are `several` workers, all figures are labelled with theirs."""

    async def metrics(request: Request) -> Response:
        """All figures, as they are now."""
        sent = request.headers.get("authorization", "").encode("latin-1")
        if token is not None and compare_digest(sent, f"Bearer {token}".encode()):
            request.scope["charged"] = True  # whoever watches the service pays no points for it
        else:
            actor = await authenticate(request.scope)
            if "admin" not in actor.roles:
                raise Forbidden("the metrics are for administrators")
            actor.kind.keep_within("metrics", "read")
        # Only here, because most processes are never asked.
        from api.observability.exposition import exposed

        worker = str(os.getpid()) if several else None
        directory: Directory = request.app.state.directory
        lag = None
        with suppress(DatabaseUnavailable):
            lag = await directory.lag()
        text, media = exposed(figures, executor, directory, request.headers.get("accept", ""), worker, lag)
        return Response(text, headers={"content-type": media, "cache-control": "no-store", "vary": "Accept"})

    return Route(METRICS, metrics)
