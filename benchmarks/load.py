"""Load generation with wrk: sends prepared requests one after another on each connection, and measures the server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data.databases import DatabaseServer
from benchmarks.environments import Unavailable, find_program
from benchmarks.servers import LOAD_CORE, Server, pin_command

SCRIPT = Path(__file__).parent / "load.lua"
CONNECTIONS = 32
SEPARATOR = b"\0"
EXIT_TIMEOUT = 60  # seconds


@dataclass(frozen=True, slots=True)
class Measurement:
    """Requests per second, latencies in ms, processor time per request in µs, response size in bytes.

    `cpu` is the server's processor time, `database` that of a separate database server.
    """

    requests: float
    p50: float
    p99: float
    cpu: float
    size: float
    errors: int
    database: float = 0.0


def wrk() -> str:
    """The path of the load generator; raises `Unavailable` where it is missing."""
    return find_program("wrk", "on Debian `apt install wrk`")


def write_requests(path: Path, requests: Sequence[bytes]) -> Path:
    """Write requests to a file for the load generator."""
    path.write_bytes(SEPARATOR.join(requests))
    return path


def run_load(
    server: Server, database_server: DatabaseServer, request_file: Path, seconds: int, first: int
) -> Measurement:
    """Send requests for some seconds. `first` is the first number that replaces the placeholder in requests."""
    command = [wrk(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{server.port}", "--", str(request_file), str(first)]
    server_before, database_before = server.cpu(), database_server.cpu()
    try:
        process = subprocess.run(
            [*pin_command(LOAD_CORE), *command],
            capture_output=True,
            text=True,
            timeout=seconds + EXIT_TIMEOUT,
            check=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"wrk did not finish: {error}") from error
    cpu, database_cpu = server.cpu() - server_before, database_server.cpu() - database_before
    return _measurement(json.loads(process.stdout.strip().splitlines()[-1]), cpu, database_cpu)


def _measurement(output: dict[str, float], cpu: float, database_cpu: float) -> Measurement:
    responses = max(output["requests"], 1)
    return Measurement(
        requests=round(output["requests"] / (output["microseconds"] / 1e6), 1),
        p50=output["p50"] / 1000,
        p99=output["p99"] / 1000,
        cpu=round(cpu / responses * 1e6, 1),
        size=round(output["bytes"] / responses, 1),
        errors=int(output["errors"]),
        database=round(database_cpu / responses * 1e6, 1),
    )
