"""No client delays shutdown.

Within 25 s of SIGTERM the process has exited, and well-behaved clients have their responses.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fixtures.credentials import SECRET, key
from tests.fixtures.hostile_clients import SLOW, graphql_request, hostile_clients_connected
from tests.fixtures.people import insert_records, random_users
from tests.fixtures.raw_http import connected, free_port, read_response, request, send_raw

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="there are no signals here"),
    pytest.mark.sqlite,  # half a minute each, and what clients do has nothing to do with the database
]

ROOT = Path(__file__).parents[2]
# What hosts grant at the least before they kill.
GRANTED_SECONDS = 25
UNLIMITED = {"TANDEM_RATE": "0", "TANDEM_SOCKETS_PER_ADDRESS": "0", "TANDEM_RUNNING": "1000"}


class Served(NamedTuple):
    process: subprocess.Popen[bytes]
    port: int
    log: Path


@pytest.fixture
def serve(database: Path | str, tmp_path: Path) -> Iterator[Served]:
    """`python -m api serve` in production, as a process of its own."""
    port, log = free_port(), tmp_path / "log"
    url, workers = (database, "2") if isinstance(database, str) else (f"sqlite:///{database}", "1")
    usual = {"TANDEM_ENV": "production", "DATABASE_URL": url, "SECRET_KEY": SECRET, "WEB_CONCURRENCY": workers}
    command = [sys.executable, "-m", "api", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **usual, **UNLIMITED}, stderr=written, start_new_session=True
        )
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(OSError, IndexError):
                if send_raw(port, request("GET", "/health/ready"))[0][0] == 200:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield Served(process, port, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_no_client_delays_the_exit(database, serve):
    """Nor does any client make the server fail or cut off the requests of others."""
    admin = key(database, "admin")
    insert_records(database, random_users(20_000))
    with hostile_clients_connected(serve.port, admin), connected(serve.port) as honest, connected(serve.port) as late:
        time.sleep(1)
        honest.settimeout(GRANTED_SECONDS)
        honest.sendall(graphql_request(SLOW, admin))
        time.sleep(0.1)
        began = time.monotonic()

        serve.process.send_signal(signal.SIGTERM)
        late.sendall(request("GET", "/health/live"))

        with late.makefile("rb") as received:
            healthy = read_response(received)
        with honest.makefile("rb") as received:
            status, _, body = read_response(received)
        code = serve.process.wait(GRANTED_SECONDS + 30)
        took = time.monotonic() - began

    assert healthy[0] == 200
    assert (status, b"errors" in body) == (200, False)
    assert took < GRANTED_SECONDS
    assert code == 0
    assert not [line for line in serve.log.read_text().splitlines() if '"level":"error"' in line]
