"""The service called within the process of the tests, where no connection leads to a peer that could be looked at."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.types import Scope

import api.app
from api.auth import Authenticator
from api.development import LocalAccess
from api.settings import Settings


async def no_peer(scope: Scope) -> None:
    """A request without a connection: its process is this one."""


def in_process_app(settings: Settings) -> Starlette:
    """The service with its own access rules for development, but for the look at the calling process."""
    return api.app.create_app(settings, Authenticator(settings, LocalAccess(check_peer=no_peer)))
