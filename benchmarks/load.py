"""What is asked of a server, by wrk: requests made beforehand, one after another, and what came of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import Unavailable, tool
from benchmarks.servers import LOAD_CORE, Server, pinned
from benchmarks.stores import Store

SCRIPT = Path(__file__).parent / "load.lua"
CONNECTIONS = 32
SEPARATOR = b"\0"
GRACE = 60


@dataclass(frozen=True, slots=True)
class Measure:
    """What one stretch of load brought: per second, in milliseconds, in microseconds of processor, in bytes.

    `cpu` is the server's, `database` that of a database beside it.
    """

    requests: float
    p50: float
    p99: float
    cpu: float
    size: float
    errors: int
    database: float = 0.0


def wrk() -> str:
    """The load generator; `Unavailable` where it is missing."""
    return tool("wrk", "on Debian `apt install wrk`")


def write(path: Path, requests: Sequence[bytes]) -> Path:
    """Keep requests where the load generator finds them."""
    path.write_bytes(SEPARATOR.join(requests))
    return path


def press(server: Server, store: Store, requests: Path, seconds: int, first: int) -> Measure:
    """Ask for some seconds. `first` is the number from which the requests that want one are numbered."""
    command = [wrk(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{server.port}", "--", str(requests), str(first)]
    before, beside = server.cpu(), store.cpu()
    try:
        done = subprocess.run(
            [*pinned(LOAD_CORE), *command], capture_output=True, text=True, timeout=seconds + GRACE, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"wrk did not finish: {error}") from error
    cpu, database = server.cpu() - before, store.cpu() - beside
    return _measure(json.loads(done.stdout.strip().splitlines()[-1]), cpu, database)


def _measure(told: dict[str, float], cpu: float, database: float) -> Measure:
    answered = max(told["requests"], 1)
    return Measure(
        requests=round(told["requests"] / (told["microseconds"] / 1e6), 1),
        p50=told["p50"] / 1000,
        p99=told["p99"] / 1000,
        cpu=round(cpu / answered * 1e6, 1),
        size=round(told["bytes"] / answered, 1),
        errors=int(told["errors"]),
        database=round(database / answered * 1e6, 1),
    )
