"""The command `serve`: check the database and the address, then run one server process or several.

A server runs for weeks, so it imports neither the command line's libraries nor Alembic, unless a migration is needed.
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
from api.server.workers import WorkerSupervisor
from api.settings import InvalidSetting, Settings, read_settings
from schema.engine.database_url import is_postgres, postgres_address
from schema.engine.errors import DirectoryError
from schema.engine.sqlite.database_file import exclusive_lock
from schema.migrations.revisions import newest

REVISION_TIMEOUT_SECONDS = 5.0
# The command with its options in their usual spelling; all other spellings are parsed by the command line.
_USUAL_COMMAND = re.compile(
    r"serve(?:\0--host[\0=](?P<host>\w[\w.:-]*)|\0--port[\0=](?P<port>[1-9]\d{0,3}|[1-5]\d{4}))*", re.ASCII
)


def start_directly(arguments: Sequence[str]) -> None:
    """Serve, then exit, if the arguments are those of `serve` in their usual spelling; otherwise return."""
    if match := _USUAL_COMMAND.fullmatch("\0".join(arguments)):
        sys.exit(start(match["host"], int(match["port"]) if match["port"] else None))


def start(host: str | None, port: int | None) -> int:
    """Serve until a signal arrives; return the exit code. Expected errors are printed as one sentence."""
    with ExitStack() as stack:
        try:
            settings = read_settings()
            settings = settings.model_copy(update={"host": host or settings.host, "port": port or settings.port})
            _migrate_if_needed(settings)
            if not is_postgres(settings.database):
                # Two servers on one file would announce changes to their own clients only, and wait for each other.
                stack.enter_context(exclusive_lock(settings.database, "serving"))
            listeners = _listen(settings)
        except (InvalidSetting, DirectoryError) as error:
            print(error, file=sys.stderr, flush=True)
            return 2 if isinstance(error, InvalidSetting) else 1
        logs.configure(settings.log_level, development=settings.development)
        if settings.development:  # in production every line of output is a log line
            print(f"Tandem's front page is {local_url(settings.host, settings.port)}", flush=True)
        if settings.workers > 1:
            return WorkerSupervisor(settings.workers, lambda pipe: _serve(settings, listeners, pipe), listeners).run()
        _serve(settings, listeners, None)
    return 0


def local_url(host: str, port: int) -> str:
    """The server's URL for a browser on this machine."""
    name = "localhost" if host in ("::", "0.0.0.0", "*") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{name}:{port}/"


def _migrate_if_needed(settings: Settings) -> None:
    database = settings.database
    revision = asyncio.run(_postgres_revision(database)) if is_postgres(database) else _sqlite_revision(database)
    if revision != newest():
        from api.cli.migrate import prepare_database

        prepare_database(settings)


def _sqlite_revision(path: str) -> str | None:
    """The database's migration; None if it cannot be read without Alembic."""
    if not Path(path).is_file():
        return None
    try:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return None
    return str(rows[0][0]) if len(rows) == 1 else None


async def _postgres_revision(url: str) -> str | None:
    """As `_sqlite_revision`."""
    # Imported here: a server on SQLite needs no PostgreSQL driver.
    from schema.engine.postgres.session import connect

    try:
        connection = await connect(postgres_address(url), REVISION_TIMEOUT_SECONDS)
        try:
            query = "SELECT version_num FROM alembic_version"
            rows = await connection.fetch(query, timeout=REVISION_TIMEOUT_SECONDS)
        finally:
            connection.terminate()
    except Exception:  # `prepare_database` meets the same error and reports it
        return None
    return str(rows[0][0]) if len(rows) == 1 else None


def _listen(settings: Settings) -> list[socket.socket]:
    try:
        return listen(settings.host, settings.port)
    except OSError as error:
        raise InvalidSetting(f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}") from error


def _serve(settings: Settings, listeners: list[socket.socket], parent_pipe: int | None) -> None:
    # Imported here: the supervisor of workers needs no application.
    from api.app import create_app
    from api.server import process

    app = create_app(settings)
    process.serve(app, settings, listeners, parent_pipe, app.state.on_refusal)
