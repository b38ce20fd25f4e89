"""Private and undocumented attributes of libraries that the code relies on, in one table, with a canary for each.

A library may rename or remove these in any release, so it has a ceiling in `pyproject.toml`. When a canary fails after
the ceiling was raised, read the file named in the table and the library's change.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import uvicorn
from uvicorn.protocols.http import flow_control
from uvicorn.server import ServerState

from tests.fixtures.protocol_harness import Echo, Transport

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Use:
    """Attributes of an object of a library, and the file that uses them."""

    library: str
    owner: Callable[[], Any]
    file: str
    attributes: tuple[str, ...]


def uvicorn_config() -> uvicorn.Config:
    config = uvicorn.Config(Echo(), http="httptools", ws="websockets-sansio", lifespan="off", log_config=None)
    config.load()
    return config


def uvicorn_connection() -> Any:
    httptools_impl = pytest.importorskip("uvicorn.protocols.http.httptools_impl")
    connection = httptools_impl.HttpToolsProtocol(uvicorn_config(), ServerState(), {})
    connection.connection_made(Transport())
    return connection


def uvicorn_websocket() -> Any:
    websockets = pytest.importorskip("uvicorn.protocols.websockets.websockets_sansio_impl")
    return websockets.WebSocketsSansIOProtocol(uvicorn_config(), ServerState(), {})


def uvicorn_flow() -> Any:
    return uvicorn_connection().flow


def module(name: str) -> Any:
    return pytest.importorskip(name)


AIOSQLITE = "schema/engine/sqlite/connection_thread.py"
HTTP = "uvicorn.protocols.http.httptools_impl"
USES = {
    "uvicorn: HTTP connection": Use(
        "uvicorn", uvicorn_connection, "api/server/http/connection.py",
        (
            "_should_upgrade_to_ws", "_start_asgi_task", "app", "app_state", "asgi_version", "client", "cycle", "flow",
            "handle_websocket_upgrade", "headers", "loop", "on_response_complete", "parser", "pipeline", "root_path",
            "scheme", "scope", "server", "server_state", "transport",
        ),
    ),
    "uvicorn: flow control": Use(
        "uvicorn", uvicorn_flow, "api/server/http/connection.py", ("pause_reading", "read_paused", "resume_reading")
    ),
    "uvicorn: flow control of writes": Use(
        "uvicorn", uvicorn_flow, "api/server/http/request_response_cycle.py", ("drain", "write_paused")
    ),
    "uvicorn: high water": Use(
        "uvicorn", lambda: flow_control, "api/server/http/connection.py", ("HIGH_WATER_LIMIT",)
    ),
    "uvicorn: response lines": Use(
        "uvicorn", partial(module, HTTP), "api/server/http/request_response_cycle.py", ("HEADER_RE", "STATUS_LINE")
    ),
    "uvicorn: response cycle": Use(
        "uvicorn", lambda: module(HTTP).RequestResponseCycle, "api/server/http/request_response_cycle.py",
        ("send", "send_500_response"),
    ),
    "uvicorn: server": Use(
        "uvicorn", lambda: uvicorn.Server(uvicorn_config()), "api/server/process.py",
        ("config", "handle_exit", "server_state", "should_exit", "shutdown", "startup"),
    ),
    "uvicorn: server state": Use(
        "uvicorn", ServerState, "api/server/process.py", ("connections", "tasks")
    ),
    "uvicorn: server state of a connection": Use(
        "uvicorn", ServerState, "api/server/http/connection.py", ("default_headers", "total_requests")
    ),
    "uvicorn: WebSocket": Use(
        "uvicorn", uvicorn_websocket, "api/server/http/websocket.py",
        (
            "close_sent", "config", "conn", "connection_lost", "data_received", "disconnected", "handshake_complete",
            "initial_response", "loop", "queue", "read_paused", "receive", "run_asgi", "send", "shutdown",
            "stop_keepalive", "transport", "writable",
        ),
    ),
    "websockets: parser": Use(
        "websockets", lambda: uvicorn_websocket().conn, "api/server/http/websocket.py",
        ("available_extensions", "fail", "max_message_size", "parser_exc", "recv_frame", "state"),
    ),
    "aiosqlite: connection": Use(
        "aiosqlite", lambda: aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 64), AIOSQLITE,
        ("_connection", "_tx"),
    ),
    "aiosqlite: open connection": Use("aiosqlite", lambda: aiosqlite.Connection, AIOSQLITE, ("_conn",)),
}  # fmt: skip


@pytest.mark.parametrize(
    "use, attribute",
    [pytest.param(use, name, id=f"{key}: {name}") for key, use in USES.items() for name in use.attributes],
)
async def test_a_private_attribute_still_exists(use, attribute):
    assert hasattr(use.owner(), attribute)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_the_table_lists_only_what_is_used(use):
    text = (ROOT / use.file).read_text(encoding="utf-8")

    assert [name for name in use.attributes if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("library", sorted({use.library for use in USES.values()}))
def test_a_library_whose_private_attributes_are_used_has_a_ceiling(library):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    (requirement,) = [line for line in project["dependencies"] if re.match(rf"{library}\b", line)]

    assert re.search(r"<\d|==\d", requirement)


async def test_our_response_cycle_sets_what_the_cycle_of_uvicorn_sets():
    """Ours does not call uvicorn's `__init__`, for speed, so a new attribute there has to be set here as well."""
    ours = pytest.importorskip("api.server.http.request_response_cycle").RequestResponseCycle
    theirs = module(HTTP).RequestResponseCycle.__init__.__code__
    only_in_code_that_is_overridden = {"access_logger", "default_headers"}

    assert {name for name in theirs.co_names if name not in only_in_code_that_is_overridden} <= {
        *vars(ours), *ours.__init__.__code__.co_names, *theirs.co_varnames, "bytearray"
    }  # fmt: skip


async def test_uvicorn_creates_lifespan_and_listeners_where_the_shutdown_looks_for_them():
    server = uvicorn.Server(uvicorn_config())
    server.lifespan = server.config.lifespan_class(server.config)

    await server.startup(sockets=[])

    assert hasattr(server.lifespan, "state")
    assert server.servers == []


async def test_aiosqlite_runs_functions_from_its_queue_on_its_thread():
    loop = asyncio.get_running_loop()
    thread = loop.create_future()
    async with aiosqlite.connect(":memory:") as connection:
        connection._tx.put_nowait((None, lambda: loop.call_soon_threadsafe(thread.set_result, threading.get_ident())))

        assert await thread != threading.get_ident()


async def test_aiosqlite_uses_and_closes_the_connection_that_replaces_its_own():
    replacement = sqlite3.connect(":memory:", check_same_thread=False)
    replacement.execute("CREATE TABLE replacement (id)")
    async with aiosqlite.connect(":memory:", check_same_thread=False) as connection:
        connection._conn.close()
        connection._connection = replacement

        assert connection._conn is replacement
        await connection.execute("SELECT id FROM replacement")

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        replacement.execute("SELECT 1")
