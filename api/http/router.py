"""The short way to an endpoint. Starlette's route table stays the truth: what is not found here goes through it.

A path whose every other part is a name (`/users/{id}/groups`) is found by these names in a dictionary, in place of
trying one route after another.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_TEMPLATE = re.compile(r"/[^/{}]+(/\{\w+\}/[^/{}]+)*(/\{\w+\})?")


async def answer_server_options(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `OPTIONS *`: the methods that this server as a whole has (RFC 9110, 9.3.7)."""
    allow = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    await send({"type": "http.response.start", "status": 204, "headers": [allow]})
    await send({"type": "http.response.body"})


class FastRouter:
    """Middleware that hands a request for a known path to its endpoint, and answers `OPTIONS *`.

    No route may have a path without a slash, so the latter is here.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        self._app = app
        self._plain: dict[str, ASGIApp] = {}
        self._known: dict[tuple[object, ...], tuple[ASGIApp, list[str]]] = {}
        for route in routes:
            if not _TEMPLATE.fullmatch(route.path):
                continue
            parts = route.path.split("/")
            names = [part.strip("{}") for part in parts[2::2]]
            if names:
                self._known[(len(parts), *parts[1::2])] = (route.app, names)
            else:
                self._plain[route.path] = route.app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Straight to the endpoint, or on to the route table."""
        if scope["type"] == "http" and not scope.get("root_path"):
            path = scope["path"]
            if path == "*" and scope["method"] == "OPTIONS":
                return answer_server_options(scope, receive, send)
            if path in self._plain:
                scope["path_params"] = {}
                return self._plain[path](scope, receive, send)
            parts = path.split("/")
            found = self._known.get((len(parts), *parts[1::2]))
            if found is not None and all(values := parts[2::2]):
                scope["path_params"] = dict(zip(found[1], values, strict=True))
                return found[0](scope, receive, send)
        return self._app(scope, receive, send)
