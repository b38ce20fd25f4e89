"""Who is measured: Tandem, what its users would pick instead, and the limit.

Each peer is written as its own documentation teaches, in a folder of its own below `peers/`, and given what helps it:
one worker, an event loop and a parser in C, WAL, pools, prepared statements, caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks import people

Door = Literal["rest", "kinds", "graphql"]
Runtime = Literal["tandem", "python", "node"]
System = Literal["sqlite", "postgres"]
Owner = Literal["tandem", "peers"]
TITLES: Mapping[System, str] = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_UVICORN = (
    *("{python}", "-m", "uvicorn", "{app}:app", "--host", "127.0.0.1", "--port", "{port}"),
    *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
)
_GUNICORN = (
    *("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--workers", "1", "--threads", "4"),
    *("--keep-alive", "75", "--log-level", "warning"),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that is measured.

    `folder` is the one below `peers/`, `serves` the doors that it has, `made_of` the packages to name in a table,
    `drivers` those for either database. `on_postgres` is the module that serves PostgreSQL, where it is one of its own.
    `aside`: it is measured only where it is named.
    """

    name: str
    title: str
    runtime: Runtime
    command: tuple[str, ...]
    serves: tuple[Door, ...] = ("rest", "kinds", "graphql")
    folder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    made_of: tuple[str, ...] = ()
    drivers: Mapping[System, str] = field(default_factory=dict)
    on_postgres: str = "app"
    aside: bool = False


_AIOSQLITE: Mapping[System, str] = {"sqlite": "aiosqlite", "postgres": "asyncpg"}
_ASYNCPG: Mapping[System, str] = {"postgres": "asyncpg"}
_PSYCOPG: Mapping[System, str] = {"postgres": "psycopg"}


def _unguarded(name: str, title: str, wire: str) -> Peer:
    """Tandem without what `tandem/unguarded.py` leaves out: what the rest costs is the difference."""
    return Peer(
        name=name,
        title=title,
        runtime="tandem",
        command=("{python}", "-m", "benchmarks.tandem.unguarded", wire),
        environment={"TANDEM_ENV": "production"},
        aside=True,
    )


PEERS: tuple[Peer, ...] = (
    Peer(
        name="tandem",
        title="Tandem",
        runtime="tandem",
        command=("{python}", "-m", "benchmarks.tandem", "serve"),
        environment={"TANDEM_ENV": "production", "HOST": "127.0.0.1", "LOG_LEVEL": "warning"},
        headers={"authorization": f"Bearer {people.KEY}"},
        made_of=("starlette", "uvicorn", "uvloop", "graphql-core", "strawberry-graphql"),
        drivers=_AIOSQLITE,
    ),
    _unguarded("unguarded", "Tandem without its guards", "own"),
    _unguarded("unguarded-uvicorn", "the same on uvicorn's own wire", "uvicorn"),
    Peer(
        name="fastapi",
        title="FastAPI, SQLModel, Strawberry",
        runtime="python",
        command=_UVICORN,
        folder="fastapi",
        made_of=("fastapi", "sqlmodel", "sqlalchemy", "strawberry-graphql", "uvicorn", "uvloop"),
        drivers=_ASYNCPG,
        on_postgres="app_postgres",
    ),
    Peer(
        name="fastapi-cached",
        title="FastAPI, Strawberry with its caches",
        runtime="python",
        command=_UVICORN,
        serves=("graphql",),
        folder="fastapi",
        environment={"CACHES": "on"},
        on_postgres="app_postgres",
    ),
    Peer(
        name="litestar",
        title="Litestar, SQLAlchemy",
        runtime="python",
        command=_UVICORN,
        serves=("rest", "kinds"),
        folder="litestar",
        made_of=("litestar", "msgspec", "advanced-alchemy", "sqlalchemy", "uvicorn", "uvloop"),
        drivers=_AIOSQLITE,
    ),
    Peer(
        name="flask",
        title="Flask, SQLAlchemy",
        runtime="python",
        command=(*_GUNICORN, "app:app"),
        serves=("rest", "kinds"),
        folder="flask",
        made_of=("flask", "flask-sqlalchemy", "sqlalchemy", "gunicorn"),
        drivers=_PSYCOPG,
    ),
    Peer(
        name="django",
        title="Django, ninja, strawberry-django",
        runtime="python",
        command=(*_GUNICORN, "wsgi"),
        folder="django",
        made_of=("django", "django-ninja", "strawberry-graphql-django", "gunicorn"),
        drivers=_PSYCOPG,
    ),
    Peer(
        name="blacksheep",
        title="BlackSheep, SQLAlchemy Core",
        runtime="python",
        command=_UVICORN,
        serves=("rest", "kinds"),
        folder="blacksheep",
        made_of=("blacksheep", "sqlalchemy", "uvicorn", "uvloop"),
        drivers=_AIOSQLITE,
    ),
    Peer(
        name="fastify",
        title="Fastify, Mercurius with JIT (Node)",
        runtime="node",
        command=("node", "{app}.js"),
        folder="fastify",
        made_of=("fastify", "mercurius"),
        drivers={"sqlite": "better-sqlite3", "postgres": "pg"},
        on_postgres="app_postgres",
    ),
    Peer(
        name="raw",
        title="raw ASGI, hand-written SQL",
        runtime="python",
        command=_UVICORN,
        folder="raw",
        made_of=("uvicorn", "uvloop", "httptools", "orjson"),
        drivers=_ASYNCPG,
        on_postgres="app_postgres",
    ),
)
