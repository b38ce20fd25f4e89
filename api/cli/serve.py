"""`serve`: both doors, until a signal says to leave."""

from __future__ import annotations

from typing import Annotated

import typer

from api.server import startup


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen, instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to listen on, instead of PORT.")] = None,
) -> None:
    """Serve REST and GraphQL. In development the database is brought up to date first."""
    raise typer.Exit(startup.start(host, port))
