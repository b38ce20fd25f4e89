"""The peers: Tandem, the frameworks that it is compared with, and a raw ASGI server as the upper bound.

Each peer is written as its own documentation teaches, in a folder of its own below `peers/`, with everything that helps
it: one worker, an event loop and a parser in C, WAL, connection pools, prepared statements, caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.data import dataset

Api = Literal["rest", "techempower", "graphql"]
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

    `folder` is its folder below `peers/`, `serves` the APIs that it has, `packages` those to name in the results,
    `drivers` those for each database. `postgres_module` is the module that serves PostgreSQL, where it differs. An
    `optional` peer is measured only where it is named.
    """

    name: str
    title: str
    runtime: Runtime
    command: tuple[str, ...]
    serves: tuple[Api, ...] = ("rest", "techempower", "graphql")
    folder: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    drivers: Mapping[System, str] = field(default_factory=dict)
    postgres_module: str = "app"
    optional: bool = False


_AIOSQLITE: Mapping[System, str] = {"sqlite": "aiosqlite", "postgres": "asyncpg"}
_ASYNCPG: Mapping[System, str] = {"postgres": "asyncpg"}
_PSYCOPG: Mapping[System, str] = {"postgres": "psycopg"}


def _unguarded(name: str, title: str, protocol: str) -> Peer:
    """Tandem without what `tandem/unguarded.py` leaves out, to measure the cost of that."""
    return Peer(
        name=name,
        title=title,
        runtime="tandem",
        command=("{python}", "-m", "benchmarks.tandem.unguarded", protocol),
        env={"TANDEM_ENV": "production"},
        optional=True,
    )


PEERS: tuple[Peer, ...] = (
    Peer(
        name="tandem",
        title="Tandem",
        runtime="tandem",
        command=("{python}", "-m", "benchmarks.tandem", "serve"),
        env={"TANDEM_ENV": "production", "HOST": "127.0.0.1", "LOG_LEVEL": "warning"},
        headers={"authorization": f"Bearer {dataset.KEY}"},
        packages=("starlette", "uvicorn", "uvloop", "graphql-core", "strawberry-graphql"),
        drivers=_AIOSQLITE,
    ),
    _unguarded("unguarded", "Tandem without middleware", "own"),
    _unguarded("unguarded-uvicorn", "the same on uvicorn's protocol", "uvicorn"),
    Peer(
        name="fastapi",
        title="FastAPI, SQLModel, Strawberry",
        runtime="python",
        command=_UVICORN,
        folder="fastapi",
        packages=("fastapi", "sqlmodel", "sqlalchemy", "strawberry-graphql", "uvicorn", "uvloop"),
        drivers=_ASYNCPG,
        postgres_module="app_postgres",
    ),
    Peer(
        name="fastapi-cached",
        title="FastAPI, Strawberry with its caches",
        runtime="python",
        command=_UVICORN,
        serves=("graphql",),
        folder="fastapi",
        env={"CACHES": "on"},
        postgres_module="app_postgres",
    ),
    Peer(
        name="litestar",
        title="Litestar, SQLAlchemy",
        runtime="python",
        command=_UVICORN,
        serves=("rest", "techempower"),
        folder="litestar",
        packages=("litestar", "msgspec", "advanced-alchemy", "sqlalchemy", "uvicorn", "uvloop"),
        drivers=_AIOSQLITE,
    ),
    Peer(
        name="flask",
        title="Flask, SQLAlchemy",
        runtime="python",
        command=(*_GUNICORN, "app:app"),
        serves=("rest", "techempower"),
        folder="flask",
        packages=("flask", "flask-sqlalchemy", "sqlalchemy", "gunicorn"),
        drivers=_PSYCOPG,
    ),
    Peer(
        name="django",
        title="Django, ninja, strawberry-django",
        runtime="python",
        command=(*_GUNICORN, "wsgi"),
        folder="django",
        packages=("django", "django-ninja", "strawberry-graphql-django", "gunicorn"),
        drivers=_PSYCOPG,
    ),
    Peer(
        name="blacksheep",
        title="BlackSheep, SQLAlchemy Core",
        runtime="python",
        command=_UVICORN,
        serves=("rest", "techempower"),
        folder="blacksheep",
        packages=("blacksheep", "sqlalchemy", "uvicorn", "uvloop"),
        drivers=_AIOSQLITE,
    ),
    Peer(
        name="fastify",
        title="Fastify, Mercurius with JIT (Node)",
        runtime="node",
        command=("node", "{app}.js"),
        folder="fastify",
        packages=("fastify", "mercurius"),
        drivers={"sqlite": "better-sqlite3", "postgres": "pg"},
        postgres_module="app_postgres",
    ),
    Peer(
        name="raw",
        title="raw ASGI, hand-written SQL",
        runtime="python",
        command=_UVICORN,
        folder="raw",
        packages=("uvicorn", "uvloop", "httptools", "orjson"),
        drivers=_ASYNCPG,
        postgres_module="app_postgres",
    ),
)
