"""With any umask new files are readable by their owner only; existing files keep their mode."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import create
from schema.engine.query.selection import Scalar, Selection
from schema.engine.sqlite.database_file import exclusive_lock
from schema.maintenance.backup import back_up
from schema.maintenance.doctor.sqlite import run_checks
from schema.migrations.commands import migrate
from schema.models import MODELS
from schema.transfer.csv_schema import csv_schemas_of
from schema.transfer.exporter import export_file, export_folder, export_zip, open_snapshot
from tests.fixtures import access_table
from tests.fixtures.clients import ADMIN, USER

pytestmark = [pytest.mark.sqlite, pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")]

ROOT = Path(__file__).parents[2]
RESOURCES = [resource_of(model) for model in MODELS]
CSV_SCHEMAS = csv_schemas_of(RESOURCES)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    return {path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def is_private(folder):
    by_name = modes(folder)
    return by_name and all(mode == (0o700 if (folder / name).is_dir() else 0o600) for name, mode in by_name.items())


async def test_a_new_database_and_its_log_are_private(umask, tmp_path):
    path = tmp_path / "var" / "lib" / "tandem.db"
    migrate(str(path))

    with exclusive_lock(str(path), "serving"):
        async with Directory(str(path)) as directory:
            selection = Selection((("id", Scalar("id")),))
            await create(directory.unit_of_work(ADMIN), USER, {"first_name": "Ada", "age": 36}, selection)
            assert {f"var/lib/tandem.db{end}" for end in ("", "-wal", "-shm", "-serving", "-migrating")} <= set(
                modes(tmp_path)
            )
            assert is_private(tmp_path), modes(tmp_path)


def test_a_new_database_is_private_at_every_moment(tmp_path):
    """Another process tries to open the file all the time: once opened, it stays readable."""
    script = (
        "import os, sys; os.umask(0); from schema.migrations.commands import migrate; from pathlib import Path\n"
        "seen = set()\n"
        "def look(name, arguments):\n"
        "    if name in ('sqlite3.connect', 'open', 'os.rename'):\n"
        "        for path in Path(sys.argv[1]).rglob('*'):\n"
        "            seen.add((path.suffix, oct(path.stat().st_mode & 0o777)))\n"
        "sys.addaudithook(look)\n"
        "migrate(sys.argv[1] + '/new/tandem.db')\n"
        "print({mode for _, mode in seen})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() in ("{'0o600', '0o700'}", "{'0o700', '0o600'}"), done.stdout
    assert is_private(tmp_path)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o600])
def test_an_existing_file_keeps_its_mode(umask, database, mode):
    database.chmod(mode)

    migrate(str(database))

    assert stat.S_IMODE(database.stat().st_mode) == mode


def test_a_backup_is_private(umask, database, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir(0o700)
    (folder / "old.db").write_bytes(b"")
    (folder / "old.db").chmod(0o644)

    back_up(str(database), folder / "new.db")
    back_up(str(database), folder / "old.db", force=True)

    assert is_private(folder), modes(folder)


def test_exports_are_private_also_while_they_are_written(umask, database, tmp_path):
    access_table.populate(database)
    out = tmp_path / "out"
    out.mkdir(0o700)
    written = []

    with open_snapshot(str(database), lambda activity, share: written.append(is_private(out))) as snapshot:
        export_file(snapshot, CSV_SCHEMAS["users"], out / "users.csv")
        export_folder(snapshot, list(CSV_SCHEMAS.values()), out / "deep" / "er")
        export_zip(snapshot, list(CSV_SCHEMAS.values()), out / "all.zip")

    assert is_private(out), modes(out)
    assert written == [True] * 7
    assert len(modes(out)) == 7


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_an_export_keeps_the_mode_of_the_file_that_it_replaces(umask, database, tmp_path, mode):
    path = tmp_path / "users.csv"
    path.write_text("old")
    path.chmod(mode)

    with open_snapshot(str(database), lambda activity, share: None) as snapshot:
        export_file(snapshot, CSV_SCHEMAS["users"], path)

    assert path.read_text() != "old"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_mode_of_another_users_file_is_not_copied(database, tmp_path):
    path = tmp_path / "users.csv"
    path.write_text("")
    path.chmod(0o666)
    os.chown(path, 65534, 65534)

    with open_snapshot(str(database), lambda activity, share: None) as snapshot:
        export_file(snapshot, CSV_SCHEMAS["users"], path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_of_another_user_is_not_followed(database, tmp_path):
    """A link under the name of the temporary file of an export."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / f".users.csv.{os.getpid()}.part").symlink_to(elsewhere)

    with open_snapshot(str(database), lambda activity, share: None) as snapshot:
        export_file(snapshot, CSV_SCHEMAS["users"], tmp_path / "users.csv")

    assert elsewhere.read_text() == "mine"
    assert not (tmp_path / "users.csv").is_symlink()


@pytest.mark.parametrize("mode, amiss", [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_the_doctor_reports_a_database_that_any_user_may_open(database, mode, amiss):
    database.chmod(mode)

    (access,) = (finding for finding in run_checks(str(database), RESOURCES) if finding.check == "access")

    assert bool(access.problem) == amiss
    if amiss:
        assert f"{mode:04o}" in access.problem
        assert access.advice.startswith(f"chmod 600 {database}")
