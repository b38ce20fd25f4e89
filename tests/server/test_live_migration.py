"""The database is migrated while the old version serves: nobody notices but by a moment's wait."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from schema.engine.errors import DatabaseUnavailable
from schema.engine.sqlite.database_file import alone
from schema.migrations import commands, write_turns
from tests.server.test_database_failures import ROOT, environment, one, server, wait_until

pytestmark = pytest.mark.sqlite

TOY = '''"""A column more, and an index, in two steps of which the second may fail."""
from alembic import op
import sqlalchemy as sa

revision, down_revision = "{revision}", "{before}"


def upgrade():
    {deed}
'''
NICKNAME = 'op.add_column("user", sa.Column("nickname", sa.String()))'
INDEX = 'op.create_index("ix_user_nickname", "user", ["nickname"])'
REBUILD = """with op.batch_alter_table("membership", recreate="always") as batch:
        batch.add_column(sa.Column("note", sa.String()))"""
FAIL = 'op.execute("SELECT no_such_function()")'


@pytest.fixture
def room(tmp_path, monkeypatch):
    """The migrations' room, to which a test may add: a function that takes what each new migration does."""
    copy = shutil.copytree(commands.HERE, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(commands, "HERE", copy)
    newest = commands.newest()

    def add(*deeds):
        before = newest
        for number, deed in enumerate(deeds):
            revision = f"999{number}"
            text = TOY.format(revision=revision, before=before, deed=deed)
            (copy / "versions" / f"{revision}_toy.py").write_text(text)
            before = revision

    return add


def test_old_and_new_run_side_by_side_under_load(database, room):
    """The old version's server writes and reads all the while; then rows of before and after are all there."""
    room(NICKNAME, INDEX, REBUILD)
    statuses: list[int] = []
    ended = threading.Event()

    def call(base: str) -> None:
        with httpx2.Client(base_url=base, trust_env=False, timeout=30) as http_client:
            while not ended.is_set():
                made = http_client.post("/users", json={"first_name": "P", "age": 1})
                statuses.append(made.status_code)
                if made.status_code == 201:
                    statuses.append(http_client.get(made.headers["location"]).status_code)
                    changed = http_client.patch(made.headers["location"], json={"age": 2})
                    statuses.append(changed.status_code)

    with server(database) as (_, http_client):
        threads = [threading.Thread(target=call, args=(str(http_client.base_url),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) > 10)
        before = len(statuses)
        newest = commands.migrate(str(database))
        during = len(statuses)
        wait_until(lambda: len(statuses) > during + 10)
        ended.set()
        for thread in threads:
            thread.join()
        again = commands.migrate(str(database))

    assert newest == again == "9992"
    assert 0 < before <= during < len(statuses)
    assert set(statuses) == {200, 201}
    assert one(database, "SELECT count(*) FROM user WHERE age = 2") == statuses.count(201)
    assert one(database, "SELECT count(*) FROM pragma_table_info('user') WHERE name = 'nickname'") == 1
    assert one(database, "PRAGMA integrity_check") == "ok"


def test_who_migrates_waits_for_who_writes_and_says_so(database, room, monkeypatch):
    room(NICKNAME)
    monkeypatch.setattr(write_turns, "TOLD_AFTER", 0.1)
    said: list[str] = []
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
        timer.start()

        newest = commands.migrate(str(database), said.append)

        timer.join()
    assert newest == "9990"
    assert said == ["Another process is writing to the database: waiting for it."]


def test_the_wait_has_an_end_and_changes_nothing(database, room):
    room(NICKNAME)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(DatabaseUnavailable, match="nothing is migrated; try again"):
            commands.migrate(str(database), patience=0.3)

    assert commands.migrate(str(database)) == "9990"


def test_one_runner_at_a_time(database):
    taken = pytest.raises(DatabaseUnavailable, match=r"is in other hands: process \d+ is migrating it")
    with alone(str(database), "migrating"), taken:
        commands.migrate(str(database), patience=0.2)

    assert commands.migrate(str(database)) == commands.newest()


def test_what_stopped_in_the_middle_goes_on_where_it_was(database, room):
    room(NICKNAME, f"{INDEX}; {FAIL}")
    with pytest.raises(OperationalError, match="no such function"):
        commands.migrate(str(database))
    assert one(database, "SELECT version_num FROM alembic_version") == "9990"
    assert one(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'ix_user_nickname'") == 0

    room(NICKNAME, INDEX)

    assert commands.migrate(str(database)) == "9991"
    assert one(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'ix_user_nickname'") == 1


SLOW = """
import sys
from pathlib import Path
from schema.migrations import commands
commands.HERE = Path(sys.argv[2])
commands.migrate(sys.argv[1])
"""


def test_a_runner_that_is_killed_in_the_middle_leaves_nothing_and_is_repeated(database, room):
    forever = 'op.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n")'
    room(NICKNAME, f"{INDEX}; {forever}")
    command = [sys.executable, "-c", SLOW, str(database), str(commands.HERE)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(database))
    until = time.monotonic() + 30
    while one(database, "SELECT version_num FROM alembic_version") != "9990":
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.2)
    process.kill()
    process.wait(30)

    room(NICKNAME, INDEX)

    assert commands.migrate(str(database)) == "9991"
    assert one(database, "PRAGMA integrity_check") == "ok"
