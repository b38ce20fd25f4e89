"""`serve`: both doors, until a signal says to leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from api.commands.migrating import prepare
from api.commands.terminal import plainly
from api.settings import read


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen, instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to listen on, instead of PORT.")] = None,
) -> None:
    """Serve REST and GraphQL. In development the database is brought up to date first."""
    with plainly():
        settings = read()
        settings = replace(settings, host=host or settings.host, port=port or settings.port)
        prepare(settings)
    # Only here, because the other commands need neither door and start in a fraction of the time.
    from api import server
    from api.app import create_app

    print(f"Tandem's front page is {address(settings.host, settings.port)}", flush=True)
    server.serve(create_app(settings), settings)


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds it."""
    name = "localhost" if host in ("::", "0.0.0.0", "*") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{name}:{port}/"
