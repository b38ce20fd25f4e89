"""The short way to an endpoint. Starlette's route table stays the truth: what is not found here goes through it.

A path whose every other part is a name (`/users/{id}/groups`) is found by these names in a dictionary, in place of
trying one route after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_TEMPLATE = re.compile(r"/[^/{}]+(/\{\w+\}/[^/{}]+)*(/\{\w+\})?")


class Shortcut:
    """Middleware that hands a request for a known path to its endpoint."""

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        self._app = app
        self._known: dict[tuple[str, ...], tuple[ASGIApp, list[str]]] = {}
        for route in routes:
            if _TEMPLATE.fullmatch(route.path):
                parts = route.path.split("/")
                names = [part.strip("{}") for part in parts[2::2]]
                self._known[(str(len(parts)), *parts[1::2])] = (route.app, names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Straight to the endpoint, or on to the route table."""
        if scope["type"] == "http" and not scope.get("root_path"):
            parts = scope["path"].split("/")
            found = self._known.get((str(len(parts)), *parts[1::2]))
            if found is not None and all(values := parts[2::2]):
                scope["path_params"] = dict(zip(found[1], values, strict=True))
                await found[0](scope, receive, send)
                return
        await self._app(scope, receive, send)
