"""Fixtures for backup and doctor: the command line, and a database with damaged pages."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

from api.__main__ import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command in development, with tandem.db in the working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **environment):
        usual = {"TANDEM_ENV": "development", "DATABASE_URL": "sqlite:///tandem.db"}
        return CliRunner().invoke(app, arguments, env={**usual, **environment})

    return run


@pytest.fixture
def damaged_database(database):
    with closing(sqlite3.connect(database)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'user'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xde\xad\xbe\xef" * (size // 4))
    return database
