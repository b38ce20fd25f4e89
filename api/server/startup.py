"""What `serve` does. It stays for weeks, so it does without the command line's machinery, and without Alembic's.

A database that is up to date is found to be so by a look; only one that is not is left to Alembic.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from api.observability import logs
from api.server.listeners import listen
from api.server.workers import Workers
from api.settings import InvalidSetting, Settings, read
from schema.engine.database_url import is_postgres, postgres_address
from schema.engine.errors import DirectoryError
from schema.engine.sqlite.database_file import alone
from schema.migrations.revisions import newest

# How long a look at a server may take.
LOOK_SECONDS = 5.0
# The command, and its options as they are nearly always given. All else is for the command line to judge.
_PLAIN = re.compile(
    r"serve(?:\0--host[\0=](?P<host>\w[\w.:-]*)|\0--port[\0=](?P<port>[1-9]\d{0,3}|[1-5]\d{4}))*", re.ASCII
)


def start_directly(arguments: Sequence[str]) -> None:
    """Serve, and end with this process, if that and nothing unusual is asked for; else do nothing."""
    if found := _PLAIN.fullmatch("\0".join(arguments)):
        sys.exit(start(found["host"], int(found["port"]) if found["port"] else None))


def start(host: str | None, port: int | None) -> int:
    """Serve until a signal says to leave; the exit code. What is known to go wrong ends in one sentence."""
    with ExitStack() as held:
        try:
            settings = read()
            settings = settings.model_copy(update={"host": host or settings.host, "port": port or settings.port})
            if settings.workers > 1 and not is_postgres(settings.database):
                raise InvalidSetting(
                    f"WEB_CONCURRENCY is {settings.workers}; on SQLite, which has one writer, it takes 1"
                )
            _prepare(settings)
            if not is_postgres(settings.database):
                # Two servers over one file would tell only their own callers of changes, and wait for each other.
                held.enter_context(alone(settings.database, "serving"))
            listeners = _listeners(settings)
        except (InvalidSetting, DirectoryError) as error:
            print(error, file=sys.stderr, flush=True)
            return 2 if isinstance(error, InvalidSetting) else 1
        logs.begin(settings.log_level, development=settings.development)
        if settings.development:  # elsewhere every line is one of the log's
            print(f"Tandem's front page is {local_url(settings.host, settings.port)}", flush=True)
        if settings.workers > 1:
            return Workers(settings.workers, lambda lifeline: _work(settings, listeners, lifeline), listeners).run()
        _work(settings, listeners, None)
    return 0


def local_url(host: str, port: int) -> str:
    """Where a browser on this machine finds it."""
    name = "localhost" if host in ("::", "0.0.0.0", "*") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{name}:{port}/"


def _prepare(settings: Settings) -> None:
    """See to it that the database can be used."""
    place = settings.database
    found = asyncio.run(_revision_there(place)) if is_postgres(place) else _revision(place)
    if found != newest():
        from api.cli.migrate import prepare

        prepare(settings)


def _revision(path: str) -> str | None:
    """The migration that a database is at, if that can be seen at a glance."""
    if not Path(path).is_file():
        return None
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return None
    return str(found[0][0]) if len(found) == 1 else None


async def _revision_there(url: str) -> str | None:
    """The same of a PostgreSQL."""
    # Only here: who serves from a file needs no driver for a server.
    from schema.engine.postgres.session import connect

    try:
        connection = await connect(postgres_address(url), LOOK_SECONDS)
        try:
            found = await connection.fetch("SELECT version_num FROM alembic_version", timeout=LOOK_SECONDS)
        finally:
            connection.terminate()
    except Exception:  # whatever it is, Alembic's look meets it again, and has words for it
        return None
    return str(found[0][0]) if len(found) == 1 else None


def _listeners(settings: Settings) -> list[socket.socket]:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        said = f"{settings.host}, port {settings.port}, cannot be listened on: {error.strerror}"
        raise InvalidSetting(said) from error


def _work(settings: Settings, listeners: list[socket.socket], lifeline: int | None) -> None:
    # Only here: the process that looks after workers needs neither door.
    from api.app import create_app
    from api.server import process

    app = create_app(settings)
    process.serve(app, settings, listeners, lifeline, app.state.on_refusal)
