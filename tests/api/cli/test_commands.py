"""Commands report what they did; their errors are one sentence and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.__main__ import app
from api.server.startup import local_url
from schema.migrations.commands import newest
from tests.fixtures.raw_http import free_port

ROOT = Path(__file__).parents[3]
COUNTS = """\
             created  changed  unchanged  bad
groups             1        0          0    0
users              2        0          0    0
memberships        2        0          0    0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a small directory as CSV in `data/`."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "users.csv").write_text("first_name,age,email\nAda,36,ada@example.com\nBob,41,bob@example.com\n")
    (data / "groups.csv").write_text("name\nEngine\n")
    (data / "memberships.csv").write_text("group,email\nEngine,ada@example.com\nEngine,bob@example.com\n")
    return tmp_path


@pytest.fixture
def run(folder):
    """Run a command, in development by default."""

    def run(*arguments: str, input: bytes = b"", **environment: str | None) -> Result:
        usual = {"TANDEM_ENV": "development", "DATABASE_URL": "sqlite:///tandem.db", "PORT": None, "HOST": None}
        return CliRunner().invoke(app, arguments, input=input, env={**usual, **environment})

    return run


@pytest.mark.slow
def test_an_import_can_be_exported_and_imported_again(run, folder):
    first = run("import", "data")
    out = run("export", "out/")
    again = run("import", "out", DATABASE_URL="sqlite:///other.db")
    run("export", "again.zip", DATABASE_URL="sqlite:///other.db")
    run("export", "users.csv", DATABASE_URL="sqlite:///other.db")

    assert re.fullmatch(r"Imported in \d\.\d s\.\n(?s:.*)", first.stdout)
    assert COUNTS in first.stdout
    assert COUNTS in again.stdout
    assert re.fullmatch(r"Exported 1 groups, 2 users, 2 memberships in \d\.\d s\.\n", out.stderr)
    assert (folder / "users.csv").read_bytes() == (folder / "out" / "users.csv").read_bytes()
    assert {path.name for path in (folder / "out").iterdir()} == {"users.csv", "groups.csv", "memberships.csv"}


@pytest.mark.slow
def test_one_invalid_row_stops_an_import(run, folder):
    (folder / "data" / "users.csv").write_text("first_name,age\nAda,36\nBob,200\n")

    refused = run("import", "data/users.csv")
    trial = run("import", "data/users.csv", "--dry-run", "--skip-bad")
    skipped = run("import", "data/users.csv", "--skip-bad")

    field_error = "data/users.csv:3: age: must be at most 150, got 200\n"
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == f"{field_error}1 row is invalid; nothing was imported. --skip-bad leaves such rows out.\n"
    assert (trial.exit_code, trial.stderr) == (0, field_error)
    assert trial.stdout.startswith("Dry run, nothing was changed: checked in ")
    assert (skipped.exit_code, skipped.stderr) == (0, field_error)
    assert "created  changed  unchanged  skipped\nusers        1        0          0        1\n" in skipped.stdout
    assert run("export", "-", "--kind", "users").stdout.count("\n") == 2


@pytest.mark.slow
def test_the_list_of_errors_is_truncated(run, folder):
    (folder / "data" / "users.csv").write_text("first_name,age\n" + "Ada,200\n" * 2000)

    result = run("import", "data/users.csv", "--show", "2")

    assert result.stderr.splitlines()[2:] == [
        "… and 1,998 more errors; --show sets how many are shown.",
        "2,000 rows are invalid; nothing was imported. --skip-bad leaves such rows out.",
    ]


@pytest.mark.slow
def test_import_and_export_through_pipes(run):
    into = run("import", "-", input="first_name;age\nZoë;3\n".encode())
    out = run("export", "-", "--kind", "users", "--for-spreadsheets")

    assert into.exit_code == 0
    assert out.stdout_bytes.startswith(b"\xef\xbb\xbfid,first_name,")
    assert "Zoë" in out.stdout
    assert out.stderr.startswith("Exported 1 users")


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (["import", "nowhere.csv"], 1, "nowhere.csv cannot be read: No such file or directory"),
        (["import", "."], 1, "no .csv files in ."),
        (["import", "data", "--kind", "people"], 2, "must be one of"),
        (["export", "people.csv"], 2, "people.csv: unknown content; name the file users.csv"),
        (["export", "-"], 2, "-: unknown content; name the file users.csv"),
        (["export", "no/users.csv"], 1, "users.csv cannot be written: No such file or directory"),
        (["openapi", "--output", "no/file"], 1, "no/file cannot be written"),
        (["serve", "--port", "0"], 2, "Invalid value"),
        (["prosper"], 2, "No such command"),
    ],
)
def test_an_error_is_one_sentence(run, arguments, code, sentence):
    result = run(*arguments)

    assert result.exit_code == code
    assert sentence in result.stderr.replace("│\n│ ", "")


@pytest.mark.parametrize(
    "command", [["serve"], ["migrate"], ["migrate", "--check"], ["import", "data"], ["export", "o/"]]
)
def test_an_invalid_setting_stops_every_command_that_needs_it(run, command):
    result = run(*command, TANDEM_ENV=None, DATABASE_URL=None)

    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr == "DATABASE_URL must be set to sqlite:///path, with a fourth slash for an absolute path,"
        " or postgresql://…\n"
    )


@pytest.mark.parametrize("command", [["serve"], ["import", "data"], ["export", "out/"]])
def test_production_never_migrates_implicitly(run, folder, command):
    result = run(*command, TANDEM_ENV="production")

    assert result.exit_code == 1
    assert result.stderr == "There is no database at tandem.db. Run `python -m api migrate`.\n"
    assert not (folder / "tandem.db").exists()


def test_migrate_reports_the_migrations(run, folder):
    before = run("migrate", "--check")
    first, second = run("migrate"), run("migrate")
    after = run("migrate", "--check")

    assert (before.exit_code, before.stderr) == (1, "There is no database at tandem.db.\n")
    assert first.stdout == f"tandem.db is now at {newest()}; it was missing or empty.\n"
    assert second.stdout == f"tandem.db was up to date ({newest()}).\n"
    assert (after.exit_code, after.stdout) == (0, "tandem.db is up to date.\n")


def test_a_database_of_an_unknown_version_is_an_error(run, folder):
    run("migrate")
    with closing(sqlite3.connect("tandem.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    check, upgrade = run("migrate", "--check"), run("migrate")

    assert (check.exit_code, check.stderr) == (1, f"tandem.db is at migration 9999; the newest is {newest()}.\n")
    assert upgrade.exit_code == 1
    assert upgrade.stderr.startswith("tandem.db cannot be migrated by this version of Tandem: ")


def test_a_file_that_is_no_database_is_an_error(run, folder):
    (folder / "tandem.db").write_text("Dear diary, " * 100)

    result = run("migrate")

    assert (result.exit_code, result.stderr) == (1, "tandem.db cannot be migrated: file is not a database\n")


def test_no_migration_is_written_without_changes(run):
    result = run("migrate", "--new", "nothing", TANDEM_ENV=None, DATABASE_URL=None)

    assert result.exit_code == 0
    assert result.stdout == "The models match the migrations: nothing to write.\n"


def test_settings_are_listed_and_checked(run):
    right = run("settings", DATABASE_URL="sqlite://secret@/tandem.db", PORT="8080")
    wrong = run("settings", PORT="many")

    assert re.search(r"^PORT +8080 +The port to listen on\. *$", right.stdout, re.MULTILINE)
    assert "secret" not in right.output
    assert "PORT" in wrong.stdout
    assert (wrong.exit_code, wrong.stderr) == (2, "PORT must be a port, 1 to 65535, got 'many'\n")


@pytest.mark.parametrize("environment", ["production", "development"])
@pytest.mark.slow
def test_the_documents_need_no_database(run, folder, environment):
    document = run("openapi", TANDEM_ENV=environment, DATABASE_URL=None)
    run("openapi", "--output", "openapi.json", TANDEM_ENV=environment, DATABASE_URL=None)
    sdl = run("sdl", TANDEM_ENV=environment, DATABASE_URL=None)

    assert environment in json.loads(document.stdout)["servers"][0]["description"]
    assert (folder / "openapi.json").read_text() == document.stdout
    assert "type User implements Node {" in sdl.stdout
    assert list(folder.glob("*.db")) == []


@pytest.mark.parametrize(
    "host, expected", [("127.0.0.1", "http://127.0.0.1:1/"), ("::", "http://localhost:1/"), ("::1", "http://[::1]:1/")]
)
def test_the_url_of_the_front_page(host, expected):
    assert local_url(host, 1) == expected


@pytest.mark.slow
def test_serve_migrates_serves_and_exits(folder):
    port = free_port()
    environment = {
        **os.environ,
        "TANDEM_ENV": "development",
        "DATABASE_URL": "sqlite:///tandem.db",
        "PYTHONPATH": str(ROOT),
    }

    with subprocess.Popen(
        [sys.executable, "-m", "api", "serve", "--port", str(port)], env=environment, cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        message = process.stdout.readline()
        next(line for line in process.stderr if "running on" in line)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/users") as response:
            body = json.load(response)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()

    assert message == f"Tandem's front page is http://127.0.0.1:{port}/\n"
    assert body["items"] == []
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_terminal_shows_a_progress_bar(folder):
    pty = pytest.importorskip("pty", exc_type=ImportError)
    environment = {**os.environ, "TANDEM_ENV": "development", "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    mine, theirs = pty.openpty()

    done = subprocess.run(
        [sys.executable, "-m", "api", "import", "data"], env=environment, cwd=folder, stdout=subprocess.PIPE,
        stderr=theirs, text=True, check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(mine, 2**16).decode()
    os.close(mine)

    assert "Storing" in shown
    assert COUNTS in done.stdout
