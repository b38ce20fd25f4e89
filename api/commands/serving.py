"""`serve`: both doors, until a signal says to leave."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Annotated

import typer

from api.commands.migrating import prepare
from api.commands.terminal import fail, plainly
from api.listening import listen
from api.settings import Settings, WrongSetting, read
from api.workers import Workers


def serve(
    host: Annotated[str | None, typer.Option(help="Where to listen, instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port to listen on, instead of PORT.")] = None,
) -> None:
    """Serve REST and GraphQL. In development the database is brought up to date first."""
    with plainly():
        settings = read()
        settings = replace(settings, host=host or settings.host, port=port or settings.port)
        if settings.workers > 1 and _on_sqlite(settings.database):
            raise WrongSetting(f"WEB_CONCURRENCY is {settings.workers}; on SQLite, which has one writer, it takes 1")
        prepare(settings)
        listeners = _listeners(settings)
    print(f"Tandem's front page is {address(settings.host, settings.port)}", flush=True)
    if settings.workers == 1:
        _work(settings, listeners, None)
    else:
        workers = Workers(settings.workers, lambda lifeline: _work(settings, listeners, lifeline), listeners)
        raise typer.Exit(workers.run())


def _work(settings: Settings, listeners: list[socket.socket], lifeline: int | None) -> None:
    # Only here, because the other commands need neither door and start in a fraction of the time.
    from api import server
    from api.app import create_app

    server.serve(create_app(settings), settings, listeners, lifeline)


def _listeners(settings: Settings) -> list[socket.socket]:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        fail(f"{settings.host}, port {settings.port}, cannot be listened on: {error.strerror}")


def _on_sqlite(database: str) -> bool:
    """Whether a database is a file: a URL of another kind says so."""
    return "://" not in database or database.startswith("sqlite")


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds it."""
    name = "localhost" if host in ("::", "0.0.0.0", "*") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{name}:{port}/"
