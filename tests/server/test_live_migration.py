"""A database is migrated while the old version serves: requests only wait for a moment."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from schema.engine.errors import DatabaseUnavailable
from schema.engine.sqlite.database_file import exclusive_lock
from schema.migrations import commands
from tests.server.test_database_failures import ROOT, environment, server, value_of, wait_until

pytestmark = pytest.mark.sqlite

TOY = '''"""A migration of a test."""
from alembic import op
import sqlalchemy as sa

revision, down_revision = "{revision}", "{before}"


def upgrade():
    {operation}
'''
NICKNAME = 'op.add_column("user", sa.Column("nickname", sa.String()))'
INDEX = 'op.create_index("ix_user_nickname", "user", ["nickname"])'
REBUILD = """with op.batch_alter_table("membership", recreate="always") as batch:
        batch.add_column(sa.Column("note", sa.String()))"""
FAIL = 'op.execute("SELECT no_such_function()")'


@pytest.fixture
def migrations(tmp_path):
    """A copy of the migrations, with a function that adds one migration for each operation."""
    folder: Path = shutil.copytree(
        commands.FOLDER, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__")
    )
    newest = commands.newest()

    def add(*operations) -> Path:
        before = newest
        for number, operation in enumerate(operations):
            revision = f"999{number}"
            text = TOY.format(revision=revision, before=before, operation=operation)
            (folder / "versions" / f"{revision}_toy.py").write_text(text)
            before = revision
        return folder

    return add


def test_a_server_keeps_serving_during_a_migration(database, migrations):
    """The old version keeps writing and reading; no request fails, and no row is lost."""
    folder = migrations(NICKNAME, INDEX, REBUILD)
    statuses: list[int] = []
    ended = threading.Event()

    def call(base: str) -> None:
        with httpx2.Client(base_url=base, trust_env=False, timeout=30) as http_client:
            while not ended.is_set():
                created = http_client.post("/users", json={"first_name": "P", "age": 1})
                statuses.append(created.status_code)
                if created.status_code == 201:
                    statuses.append(http_client.get(created.headers["location"]).status_code)
                    changed = http_client.patch(created.headers["location"], json={"age": 2})
                    statuses.append(changed.status_code)

    with server(database) as (_, http_client):
        threads = [threading.Thread(target=call, args=(str(http_client.base_url),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) > 10)
        before = len(statuses)
        newest = commands.migrate(str(database), folder=folder)
        during = len(statuses)
        wait_until(lambda: len(statuses) > during + 10)
        ended.set()
        for thread in threads:
            thread.join()
        again = commands.migrate(str(database), folder=folder)

    assert newest == again == "9992"
    assert 0 < before <= during < len(statuses)
    assert set(statuses) == {200, 201}
    assert value_of(database, "SELECT count(*) FROM user WHERE age = 2") == statuses.count(201)
    assert value_of(database, "SELECT count(*) FROM pragma_table_info('user') WHERE name = 'nickname'") == 1
    assert value_of(database, "PRAGMA integrity_check") == "ok"


def test_a_migration_waits_for_the_write_lock_and_notifies(database, migrations):
    folder = migrations(NICKNAME)
    notices: list[str] = []
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as lock_holder:
        lock_holder.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.5, lambda: lock_holder.execute("COMMIT"))
        timer.start()

        newest = commands.migrate(str(database), notices.append, notice_after=0.1, folder=folder)

        timer.join()
    assert newest == "9990"
    assert notices == ["Another process is writing to the database: waiting for the write lock."]


def test_the_wait_for_the_write_lock_times_out(database, migrations):
    folder = migrations(NICKNAME)
    with closing(sqlite3.connect(database, isolation_level=None)) as lock_holder:
        lock_holder.execute("BEGIN IMMEDIATE")

        with pytest.raises(DatabaseUnavailable, match="nothing was migrated; try again"):
            commands.migrate(str(database), timeout=0.3, folder=folder)

    assert commands.migrate(str(database), folder=folder) == "9990"


def test_only_one_process_migrates_at_a_time(database):
    taken = pytest.raises(DatabaseUnavailable, match=r"is in use: process \d+ is migrating it")
    with exclusive_lock(str(database), "migrating"), taken:
        commands.migrate(str(database), timeout=0.2)

    assert commands.migrate(str(database)) == commands.newest()


def test_a_failed_run_is_resumed_by_the_next(database, migrations):
    folder = migrations(NICKNAME, f"{INDEX}; {FAIL}")
    with pytest.raises(OperationalError, match="no such function"):
        commands.migrate(str(database), folder=folder)
    assert value_of(database, "SELECT version_num FROM alembic_version") == "9990"
    assert value_of(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'ix_user_nickname'") == 0

    folder = migrations(NICKNAME, INDEX)

    assert commands.migrate(str(database), folder=folder) == "9991"
    assert value_of(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'ix_user_nickname'") == 1


SLOW = """
import sys
from pathlib import Path
from schema.migrations import commands
commands.migrate(sys.argv[1], folder=Path(sys.argv[2]))
"""


def test_a_killed_migration_is_rolled_back_and_can_be_repeated(database, migrations):
    forever = 'op.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n")'
    folder = migrations(NICKNAME, f"{INDEX}; {forever}")
    command = [sys.executable, "-c", SLOW, str(database), str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(database))
    until = time.monotonic() + 30
    while value_of(database, "SELECT version_num FROM alembic_version") != "9990":
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.wait(30)

    folder = migrations(NICKNAME, INDEX)

    assert commands.migrate(str(database), folder=folder) == "9991"
    assert value_of(database, "PRAGMA integrity_check") == "ok"
