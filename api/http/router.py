"""A fast path to endpoints. Starlette's route table stays authoritative: a path that is not known here goes through it.

A path whose parts are fixed and variable in turn (`/users/{id}/groups`) is looked up in a dictionary by its fixed
parts, instead of matching one route after another.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

# Every other part is a name (`/users/{id}/groups`), so these names are the key.
_TEMPLATE = re.compile(r"/[^/{}]+(/\{\w+\}/[^/{}]+)*(/\{\w+\})?")


class FastRouter:
    """Middleware that passes a request for a known path to its endpoint, and answers `OPTIONS *`.

    The latter is here because Starlette's routes need a path that starts with a slash.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        self._app = app
        self._fixed: dict[str, ASGIApp] = {}
        self._templates: dict[tuple[object, ...], tuple[ASGIApp, list[str]]] = {}
        for route in routes:
            if not _TEMPLATE.fullmatch(route.path):
                continue
            parts = route.path.split("/")
            names = [part.strip("{}") for part in parts[2::2]]
            if names:
                self._templates[(len(parts), *parts[1::2])] = (route.app, names)
            else:
                self._fixed[route.path] = route.app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request to its endpoint, or to the route table."""
        if scope["type"] == "http" and not scope.get("root_path"):
            path = scope["path"]
            if path == "*" and scope["method"] == "OPTIONS":
                return answer_server_options(scope, receive, send)
            if path in self._fixed:
                scope["path_params"] = {}
                return self._fixed[path](scope, receive, send)
            parts = path.split("/")
            match = self._templates.get((len(parts), *parts[1::2]))
            if match is not None and all(values := parts[2::2]):
                endpoint, names = match
                scope["path_params"] = dict(zip(names, values, strict=True))
                return endpoint(scope, receive, send)
        return self._app(scope, receive, send)


async def answer_server_options(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `OPTIONS *` with the methods that the server supports (RFC 9110, 9.3.7)."""
    allow = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    await send({"type": "http.response.start", "status": 204, "headers": [allow]})
    await send({"type": "http.response.body"})
