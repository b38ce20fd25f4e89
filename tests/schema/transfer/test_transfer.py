"""An export imported again is restored exactly; an import is stored whole or not at all, and reports every bad row."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from schema.engine.errors import DatabaseUnavailable, DirectoryError
from schema.engine.model.resource import resource_of
from schema.models import MODELS
from schema.transfer.csv_schema import csv_schemas_of
from schema.transfer.exporter import export_file, export_folder, export_zip, open_snapshot
from schema.transfer.importer import ImportOptions, ImportReport, RowCounts, import_files
from schema.transfer.source import find_sources, kind_of_file
from tests.fixtures import postgres

CSV_SCHEMAS = csv_schemas_of(resource_of(model) for model in MODELS)
ImportFiles = Callable[..., ImportReport]

ADA = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"
BOB = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d22"
ENGINE = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d33"
TIME = "2026-11-22T09:30:00.000001Z"
DIRECTORY = {
    "groups.csv": "id,name,description,active,created_at,updated_at,version\n"
    f'{ENGINE},"=Engine, ""the"" first; 🎉",+1 description,false,{TIME},{TIME},7\n',
    "users.csv": "id,first_name,last_name,age,email,external_id,active,created_at,updated_at,version\n"
    f'{ADA},Ada-Zoë 王 🎉,"O\'Brien, ""Countess""",36,Ada@Example.COM, x ,true,{TIME},{TIME},3\n'
    f"{BOB},-Bob\\N,,0,,,false,{TIME},2026-12-01T00:00:00.000000Z,2147483647\n",
    "memberships.csv": f"group_id,user_id,role,created_at\n{ENGINE},{ADA},owner,{TIME}\n{ENGINE},{BOB},member,{TIME}\n",
}
PEOPLE = "external_id,first_name,age,email\na,Ada,36,ada@example.com\nb,Bob,41,bob@example.com\n"


@pytest.fixture
def import_csv(database: Path, tmp_path: Path) -> ImportFiles:
    """Import files by their names and contents."""

    def import_csv(files: dict[str, str | bytes], on_progress: Any = lambda *_: None, **options: Any) -> ImportReport:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        sources = find_sources([str(tmp_path / name) for name in files], io.BytesIO())
        return import_files(str(database), CSV_SCHEMAS, sources, ImportOptions(**options), on_progress)

    return import_csv


def exported(database: Path) -> dict[str, str]:
    """The whole directory as CSV."""
    files = {}
    with open_snapshot(str(database), lambda activity, share: None) as snapshot:
        for name, csv_schema in CSV_SCHEMAS.items():
            snapshot.write(csv_schema, file := io.BytesIO())
            files[f"{name}.csv"] = file.getvalue().decode()
    return files


def query(database: Path | str, sql: str) -> list[tuple[Any, ...]]:
    """Query the database directly."""
    if isinstance(database, str):
        return [tuple(row) for row in postgres.run(database, sql)]
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def people(database: Path | str, *columns: str) -> list[tuple[Any, ...]]:
    return query(database, f'SELECT {", ".join(columns)} FROM "user" ORDER BY first_name, id')


def memberships(database: Path | str) -> list[tuple[str, str]]:
    """The names of groups and of their members."""
    return query(
        database,
        'SELECT name, first_name FROM membership JOIN "group" ON "group".id = group_id '
        'JOIN "user" ON "user".id = user_id ORDER BY name, first_name',
    )


def messages(report: ImportReport) -> list[str]:
    """The row errors, without the folder of the file."""
    return [str(error).replace(f"{Path(error.file).parent}/", "") for error in report.row_errors]


def test_an_export_imported_again_is_restored_exactly(database, import_csv):
    import_csv(DIRECTORY)

    assert exported(database) == DIRECTORY


@pytest.mark.slow
def test_importing_the_same_files_twice_changes_nothing(database, import_csv):
    import_csv(DIRECTORY)

    report = import_csv(DIRECTORY)

    assert report.counts == {
        "groups": RowCounts(unchanged=1), "users": RowCounts(unchanged=2), "memberships": RowCounts(unchanged=2),
    }  # fmt: skip
    assert exported(database) == DIRECTORY


@pytest.mark.slow
def test_an_update_ignores_the_times_and_version_of_the_file(database, import_csv):
    import_csv(DIRECTORY)

    report = import_csv({"users.csv": f"id,age,created_at,updated_at,version\n{ADA},37,{TIME},{TIME},99\n"})

    assert report.counts == {"users": RowCounts(changed=1)}
    [(age, created, updated, version), _] = people(database, "age", "created_at", "updated_at", "version")[::-1]
    assert (age, created, version) == (37, TIME, 4)
    assert updated > TIME


@pytest.mark.parametrize(
    "text, expected",
    [
        (f"id,first_name,age\n{ADA},Ada,1\n", (ADA, "Ada", 1, "ada@example.com", "a")),
        ("external_id,age\na,1\n", (ADA, "Ada", 1, "ada@example.com", "a")),
        ("email,age\nADA@EXAMPLE.COM,1\n", (ADA, "Ada", 1, "ADA@EXAMPLE.COM", "a")),
        ("external_id,email,age\na,new@example.com,1\n", (ADA, "Ada", 1, "new@example.com", "a")),
        (f"id,external_id,age\n{ADA},z,1\n", (ADA, "Ada", 1, "ada@example.com", "z")),
        (f"id,external_id,age\n,a,1\n{BOB},b,2\n", (ADA, "Ada", 1, "ada@example.com", "a")),
    ],
)
def test_a_user_is_matched_by_id_external_id_or_email(database, import_csv, text, expected):
    import_csv({"users.csv": f"id,first_name,age,email,external_id\n{ADA},Ada,36,ada@example.com,a\n{BOB},Bob,41,,\n"})

    import_csv({"more.csv": text}, kind="users")

    assert people(database, "id", "first_name", "age", "email", "external_id")[0] == expected


@pytest.mark.slow
def test_a_match_by_email_sets_a_missing_external_id(database, import_csv):
    import_csv({"users.csv": "first_name,age,email\nAda,36,ada@example.com\n"})

    report = import_csv({"users.csv": "external_id,email\na,ada@example.com\n"})

    assert report.counts == {"users": RowCounts(changed=1)}
    assert people(database, "external_id", "version") == [("a", 2)]


def test_an_email_does_not_match_when_external_ids_differ(import_csv):
    import_csv({"users.csv": PEOPLE})

    report = import_csv({"users.csv": "external_id,first_name,age,email\nz,Zoe,36,ada@example.com\n"})

    assert not report.stored
    assert [line.rpartition(" ")[0] for line in messages(report)] == ["users.csv:2: email: already used by the user"]


@pytest.mark.parametrize(
    "header, row",
    [
        ("group_id,user_id", f"{ENGINE},{ADA}"),
        ("group,email", "Engine,ADA@example.com"),
        ("group_name,user_email", "Engine,ada@example.com"),
        ("name,external_id", "Engine,a"),
        ("user_external_id;group", "a;Engine"),
        ("group\tuser_external_id\tuser_email", "Engine\t\tada@example.com"),
        ("group_id,group,user_id,user_email,user_external_id", f"{ENGINE},Engine,{ADA},ada@example.com,a"),
    ],
)
@pytest.mark.slow
def test_a_membership_refers_to_group_and_user_by_any_unique_field(database, import_csv, header, row):
    import_csv({
        "groups.csv": f"id,name\n{ENGINE},Engine\n",
        "users.csv": f"id,first_name,age,email,external_id\n{ADA},Ada,36,ada@example.com,a\n",
    })  # fmt: skip

    report = import_csv({"memberships.csv": f"{header}\n{row}\n"})

    assert report.counts == {"memberships": RowCounts(created=1)}
    assert exported(database)["memberships.csv"].splitlines()[1].startswith(f"{ENGINE},{ADA},member,")


def test_records_are_imported_before_links_in_any_order_of_files(database, import_csv):
    report = import_csv({
        "memberships.csv": "group,email,role\nEngine,ada@example.com,owner\n",
        "users.csv": PEOPLE,
        "groups.csv": "name\nEngine\n",
    })  # fmt: skip

    assert report.stored
    assert list(report.counts) == ["groups", "users", "memberships"]


def test_an_empty_cell_is_null_or_the_default_or_the_stored_value(database, import_csv):
    import_csv({"users.csv": "external_id,first_name,last_name,age,active\na,Ada,Lovelace,36,false\n"})

    import_csv({"users.csv": "external_id,first_name,last_name,age,active\na,Ada,,36,\nb,Bob,,41,\n"})

    assert people(database, "last_name", "active") == [(None, 0), (None, 1)]


@pytest.mark.slow
def test_changing_a_role_changes_no_other_record(database, import_csv):
    import_csv(DIRECTORY)

    report = import_csv({"memberships.csv": f"group_id,user_id,role\n{ENGINE},{BOB},owner\n{ENGINE},{ADA},\n"})

    assert report.counts == {"memberships": RowCounts(changed=1, unchanged=1)}
    assert exported(database) == {
        **DIRECTORY, "memberships.csv": DIRECTORY["memberships.csv"].replace("member,", "owner,")
    }  # fmt: skip


@pytest.mark.parametrize(
    "text, message",
    [
        ("first_name,age\n,36\n", "2: first_name: is required"),
        ("first_name\nAda\n", "2: age: is required for a new user"),
        ("first_name,age\nAda,36.5\n", "2: age: must be an integer"),
        ("first_name,age\nAda,151\n", "2: age: must be at most 150, got 151"),
        ("first_name,age,active\nAda,36,yes\n", "2: active: must be true or false"),
        ("first_name,age,email\nAda,36,ada\n", "2: email: must be an address like name@example.com"),
        ('first_name,age\n"A\nda",36\n', "2: first_name: must not be blank or contain control characters"),
        (f"first_name,age\n{'a' * 101},36\n", "2: first_name: must have at most 100 characters, got 101"),
        ("id,first_name,age\n7,Ada,36\n", "2: id: must be a UUID"),
        ("first_name,age,version\nAda,36,0\n", "2: version: must be at least 1, got 0"),
        ("first_name,age,created_at\nAda,36,today\n", "2: created_at: must be an RFC 3339 time like"),
        ("first_name,age\nAda\n", "2: expected 2 cells as in the header, got 1"),
        ('first_name,age\n"Ada,36\n', "2: a quoted cell is not closed"),
        ('first_name,age\n\n"A\nB",1,2\n\nBob\n', "3: expected 2 cells as in the header, got 3"),
        ("first_name,age,email\nA,1,a@b.c\nB,2,A@B.C\n", "3: email: duplicate value, first in users.csv:2"),
        ("external_id,age\na,1\na,2\n", "3: duplicate user, first in users.csv:2"),
        (f"id,first_name,age,email\n{ADA},A,1,bob@example.com\n", f"2: email: already used by the user '{BOB}'"),
    ],
)  # fmt: skip
def test_a_bad_row_is_reported_with_line_column_and_reason(database, import_csv, text, message):
    import_csv({"users.csv": f"id,first_name,age,email,external_id\n{BOB},Bob,41,bob@example.com,a\n"})
    before = exported(database)

    report = import_csv({"users.csv": text})

    assert messages(report)[0].startswith(f"users.csv:{message}")
    assert not report.stored
    assert exported(database) == before


@pytest.mark.parametrize(
    "text, message",
    [
        ("group,email\nNowhere,ada@example.com\n", "2: group: no such group: 'Nowhere'"),
        ("group,email\nEngine,nobody@example.com\n", "2: email: no such user: 'nobody@example.com'"),
        ("group,email\nEngine,\n", "2: email: is required for a new membership"),
        ("group,email,role\nEngine,ada@example.com,boss\n", "2: role: must be 'member' or 'owner'"),
        (f"group,user_id\nEngine,{BOB}\n", f"2: user_id: no such user: '{BOB}'"),
        (
            f"group,user_id,email\nEngine,{ADA},b@example.com\n",
            "2: email: refers to another user than the column before",
        ),
        (
            "group,email\nEngine,b@example.com\nEngine,B@example.com\n",
            "3: duplicate membership, first in memberships.csv:2",
        ),
    ],
)
def test_a_bad_membership_is_reported_with_line_column_and_reason(import_csv, text, message):
    import_csv({
        "groups.csv": "name\nEngine\n",
        "users.csv": f"id,first_name,age,email\n{ADA},Ada,36,ada@example.com\n,Bea,2,b@example.com\n",
    })  # fmt: skip

    report = import_csv({"memberships.csv": text})

    assert len(report.row_errors) == 1
    assert messages(report)[0].startswith(f"memberships.csv:{message}")


def test_a_row_that_refers_to_a_bad_row_has_no_error_of_its_own(import_csv):
    files = {"users.csv": "external_id,first_name,age\na,Ada,200\n", "groups.csv": "name\nEngine\n"}

    report = import_csv({**files, "memberships.csv": "group,external_id\nEngine,a\n"})

    assert messages(report) == ["users.csv:2: age: must be at most 150, got 200"]


@pytest.mark.slow
def test_rows_that_depend_on_a_skipped_row_are_skipped(database, import_csv):
    import_csv({"users.csv": PEOPLE})

    report = import_csv(
        {
            "groups.csv": "name\nEngine\n",
            # Bea cannot have Bob's address, because the row that gives it up is bad. Cid can have Ada's.
            "users.csv": "external_id,first_name,age,email\nb,Bob,200,new@example.com\nbea,Bea,3,bob@example.com\n"
            "a,Ada,36,\ncid,Cid,4,ada@example.com\n",
            "memberships.csv": "group,external_id\nEngine,b\nEngine,bea\nEngine,cid\n",
        },
        skip_bad=True,
    )

    assert report.counts == {
        "groups": RowCounts(created=1),
        "users": RowCounts(created=1, changed=1, bad=2),
        "memberships": RowCounts(created=2, bad=1),
    }
    assert people(database, "first_name", "age", "email") == [
        ("Ada", 36, None), ("Bob", 41, "bob@example.com"), ("Cid", 4, "ada@example.com"),
    ]  # fmt: skip
    assert messages(report)[-1] == "memberships.csv:3: external_id: the row of that user is skipped"


@pytest.mark.slow
def test_an_email_in_a_skipped_row_still_matches_its_owner(database, import_csv):
    import_csv({"users.csv": PEOPLE, "groups.csv": "name\nEngine\nMotor\n"})

    report = import_csv(
        {
            # Ada claims Bob's address, and gives up her own, in a row that is bad by itself.
            "users.csv": "external_id,age,email\na,200,bob@example.com\n",
            "memberships.csv": "group,email\nEngine,bob@example.com\nMotor,ada@example.com\n",
        },
        skip_bad=True,
    )

    assert report.counts["memberships"] == RowCounts(created=2)
    assert memberships(database) == [("Engine", "Bob"), ("Motor", "Ada")]


@pytest.mark.slow
def test_a_reference_by_a_value_of_a_skipped_row_is_skipped(database, import_csv):
    import_csv({"users.csv": PEOPLE, "groups.csv": "name\nEngine\n"})

    report = import_csv(
        {
            "users.csv": "external_id,email\na,bob@example.com\n",
            "memberships.csv": "group,email\nEngine,bob@example.com\n",
        },
        skip_bad=True,
    )

    assert messages(report)[1:] == ["memberships.csv:2: email: the row of that user is skipped"]
    assert memberships(database) == []


def test_a_dry_run_reports_the_outcome_and_changes_nothing(database, import_csv):
    import_csv({"users.csv": PEOPLE})
    before = exported(database)

    report = import_csv({"users.csv": PEOPLE.replace("36", "37") + "c,Cid,4,\n"}, dry_run=True)

    assert not report.stored
    assert report.counts == {"users": RowCounts(created=1, changed=1, unchanged=1)}
    assert exported(database) == before


@pytest.mark.parametrize(
    "files",
    [
        {"users.csv": "external_id,email\na,bob@example.com\nb,ada@example.com\n"},
        {"users.csv": "external_id,email\nb,x@example.com\na,bob@example.com\n"},
        {"users.csv": "external_id,email\na,bob@example.com\nb,\n"},
        {"groups.csv": f"id,name\n{ADA},Two\n{BOB},One\n"},
    ],
)
def test_unique_values_can_move_between_records(import_csv, files):
    import_csv({"users.csv": PEOPLE, "groups.csv": f"id,name\n{ADA},One\n{BOB},Two\n"})

    report = import_csv(files)

    assert [counts.changed for counts in report.counts.values()] == [2]


def test_only_max_errors_are_reported_and_all_are_counted(import_csv):
    report = import_csv({"users.csv": "first_name,age\n" + "Ada,200\n" * 30}, max_errors=3)

    assert (len(report.row_errors), report.error_count, report.bad) == (3, 30, 30)


@pytest.mark.parametrize(
    "content",
    [
        "\ufefffirst_name,age\nJosé,3\n",
        "First_Name , AGE\r\nJosé,3\r\n",
        "first_name;age\rJosé;3\r",
        'age\tfirst_name\n\n3\t"José"',
    ],
)
def test_encodings_delimiters_and_line_endings_are_detected(database, import_csv, content):
    import_csv({"people.csv": content})

    assert people(database, "first_name", "age") == [("José", 3)]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("users.csv", "first_name,age\nJosé,3\n".encode("latin-1"), "is not UTF-8 (byte 0xe9 in or after line 1)"),
        ("users.csv", "first_name,age\nAda,3\n".encode("utf-16"), "is not UTF-8"),
        ("users.csv", "", "is empty"),
        ("users.csv", "first_name,nick\n", "unknown column 'nick'; columns of users: id, first_name"),
        ("users.csv", "age,age\n", "the columns age and age have the same meaning"),
        ("memberships.csv", "group,group_name,email\n", "the columns group and group_name have the same meaning"),
        (
            "memberships.csv",
            "group,role\n",
            "no column identifies the user: add one of user_id, user_external_id",
        ),
        (
            "some.csv",
            "id,active\n",
            "neither the name nor the columns say what the file holds; give --kind: groups, users",
        ),
        ("some.zip", "PK", "cannot be read"),
        ("users.csv", "first_name,age\n" + "a" * 2**20, "the line is too long"),
    ],
)
def test_an_unreadable_file_is_reported(import_csv, name, content, sentence):
    with pytest.raises(DirectoryError) as caught:
        import_csv({name: content})

    assert sentence in caught.value.detail


def test_a_missing_file_is_reported(database):
    with pytest.raises(DirectoryError, match=r"users\.csv cannot be read: No such file"):
        import_files(
            str(database), CSV_SCHEMAS, find_sources(["no/users.csv"], io.BytesIO()), ImportOptions(), lambda *_: None
        )


@pytest.mark.parametrize(
    "name, kind",
    [
        ("users.csv", "users"),
        ("x/User-2026.CSV", "users"),
        ("groups 2.csv", "groups"),
        ("usersgroups.csv", None),
        ("-", None),
    ],
)
def test_the_kind_is_derived_from_the_file_name(name, kind):
    assert kind_of_file(name, CSV_SCHEMAS) == kind


@pytest.mark.sqlite
@pytest.mark.parametrize("way", ["folder", "zip", "stdin"])
@pytest.mark.slow
def test_files_are_read_from_folders_archives_and_standard_input(database, import_csv, tmp_path, way):
    import_csv(DIRECTORY)
    place = tmp_path / ("all.zip" if way == "zip" else "all")
    with open_snapshot(str(database), lambda *_: None) as snapshot:
        (export_zip if way == "zip" else export_folder)(snapshot, list(CSV_SCHEMAS.values()), place)
    (tmp_path / "empty.db").write_bytes(database.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript('PRAGMA foreign_keys=ON; DELETE FROM user; DELETE FROM "group"')
    paths = ["-", str(place / "groups.csv"), str(place / "memberships.csv")] if way == "stdin" else [str(place)]

    sources = find_sources(paths, io.BytesIO(DIRECTORY["users.csv"].encode()))
    import_files(str(database), CSV_SCHEMAS, sources, ImportOptions(), lambda *_: None)

    assert exported(database) == DIRECTORY


def test_a_damaged_archive_is_reported(database, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("users.csv", "first_name,age\n" + "Ada,36\n" * 1000)
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[60:70] = b"\xff" * 10
    (tmp_path / "all.zip").write_bytes(content)

    with pytest.raises(DirectoryError, match="is damaged"):
        import_files(
            str(database),
            CSV_SCHEMAS,
            find_sources([str(tmp_path / "all.zip")], io.BytesIO()),
            ImportOptions(),
            lambda *_: None,
        )


def test_an_interrupted_import_stores_nothing(database, import_csv):
    def interrupt(activity: str, share: float | None) -> None:
        if activity == "Storing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_csv({"users.csv": PEOPLE}, on_progress=interrupt)

    assert people(database, "id") == []


def test_readers_are_not_blocked_while_an_import_stores(database, import_csv):
    seen = []

    import_csv(
        {"users.csv": PEOPLE}, on_progress=lambda activity, share: seen.append((activity, len(people(database, "id"))))
    )

    assert ("Storing", 0) in seen
    assert len(people(database, "id")) == 2


@pytest.mark.sqlite
def test_an_import_fails_when_the_write_lock_is_held_too_long(database, import_csv):
    with closing(sqlite3.connect(database, isolation_level=None)) as lock_holder:
        lock_holder.execute("BEGIN IMMEDIATE")

        with pytest.raises(DatabaseUnavailable, match="locked"):
            import_csv({"users.csv": PEOPLE}, lock_timeout=1)
        dry_run_report = import_csv({"users.csv": PEOPLE}, dry_run=True)

    assert dry_run_report.counts == {"users": RowCounts(created=2)}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_size_of_the_file(import_csv):
    def peak(rows: int) -> int:
        text = "external_id,first_name,age,email\n" + "".join(f"{n},Ada,36,{n}@example.com\n" for n in range(rows))
        tracemalloc.start()
        import_csv({"users.csv": text}, dry_run=True)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory - 2 * len(text)

    small, large = peak(6_000), peak(30_000)

    assert large - small < 1_000_000


@pytest.mark.slow
def test_an_export_is_one_snapshot(database, import_csv):
    import_csv(DIRECTORY)

    def insert_user(activity: str, share: float | None) -> None:
        import_csv({"users.csv": f"first_name,age\n{activity},1\n"})

    with open_snapshot(str(database), insert_user, batch_size=1) as snapshot:
        snapshot.write(CSV_SCHEMAS["groups"], io.BytesIO())
        snapshot.write(CSV_SCHEMAS["users"], file := io.BytesIO())

    assert file.getvalue().decode() == DIRECTORY["users.csv"]
    assert len(people(database, "id")) == 5


def test_a_failed_export_keeps_the_existing_file(database, import_csv, tmp_path):
    def fail(activity: str, share: float | None) -> None:
        raise KeyboardInterrupt

    import_csv(DIRECTORY)
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "users.csv"
    old.write_text("old")

    with pytest.raises(KeyboardInterrupt), open_snapshot(str(database), fail) as snapshot:
        export_file(snapshot, CSV_SCHEMAS["users"], old)

    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("path", ["missing/users.csv", "/dev/null"])
def test_an_unwritable_path_is_reported(database, tmp_path, path):
    with (
        pytest.raises(DirectoryError, match=r"cannot be written|is not a regular file"),
        open_snapshot(str(database), lambda *_: None) as snapshot,
    ):
        export_file(snapshot, CSV_SCHEMAS["users"], tmp_path / path)


def test_formulas_are_escaped_only_for_spreadsheets(database, import_csv):
    import_csv(DIRECTORY)

    with open_snapshot(str(database), lambda *_: None, for_spreadsheets=True) as snapshot:
        snapshot.write(CSV_SCHEMAS["groups"], file := io.BytesIO())

    assert file.getvalue().startswith(b"\xef\xbb\xbfid,name,")
    assert '"\'=Engine, ""the"" first; 🎉",\'+1 description,false' in file.getvalue().decode()


@pytest.mark.slow
def test_a_new_model_can_be_imported_with_references_by_unique_field(tmp_path):
    """In a process of its own: a declared model stays registered."""
    (tmp_path / "team.py").write_text(TEAM)
    (tmp_path / "use.py").write_text(USE)

    done = subprocess.run(
        [sys.executable, tmp_path / "use.py"], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip

    assert done.stdout.splitlines() == [
        "name,motto,lead_id,deputy_id",
        "Blue,,ada,ada",
        "Red,Go,bob,",
        "teams.csv:2: lead_email: no such user: 'nobody@example.com'",
        "teams.csv:2: name: already used by the team 'Red'",
    ], done.stderr


TEAM = """
from typing import ClassVar
from sqlmodel import Field, Relationship
from schema.engine.model.policy import Rules, role
from schema.engine.model.record import Record
from schema.models import User

class Team(Record, table=True):
    "People who work together."
    rules: ClassVar[Rules] = Rules(role("reader"), role("admin"), role("admin"), role("admin"))
    name: str = Field(unique=True, max_length=8)
    motto: str | None = Field(default=None, unique=True, max_length=80)
    lead_id: str = Field(foreign_key="user.id")
    deputy_id: str | None = Field(default=None, foreign_key="user.id", unique=True)
    lead: User = Relationship(sa_relationship_kwargs={"foreign_keys": "Team.lead_id"})
"""

USE = """
import os, sqlite3, tempfile
from sqlalchemy import create_engine
from sqlmodel import SQLModel
from team import Team
from schema.engine.model.resource import resource_of
from schema.models import MODELS
from schema.transfer.csv_schema import csv_schemas_of
from schema.transfer.importer import ImportOptions, import_files
from schema.transfer.source import find_sources

os.chdir(tempfile.mkdtemp())
SQLModel.metadata.create_all(create_engine("sqlite:///toy.db"))
csv_schemas = csv_schemas_of(resource_of(model) for model in (Team, *MODELS))

def import_csv(**files):
    for name, text in files.items():
        open(f"{name}.csv", "w").write(text)
    sources = find_sources([f"{name}.csv" for name in files], None)
    return import_files("toy.db", csv_schemas, sources, ImportOptions(), lambda *_: None)

import_csv(
    users="external_id,first_name,age,email\\nada,Ada,36,ada@example.com\\nbob,Bob,41,bob@example.com\\n",
    teams="name,motto,lead_email,deputy_external_id\\nRed,Go,ADA@example.com,ada\\nBlue,,bob@example.com,\\n",
)
# The deputy moves from one team to the other, and the leads are swapped.
import_csv(teams="name,lead_external_id,deputy_email\\nBlue,ada,ada@example.com\\nRed,bob,\\n")
print("name,motto,lead_id,deputy_id")
for row in sqlite3.connect("toy.db").execute(
    "SELECT name, coalesce(motto, ''), lead.external_id, coalesce(deputy.external_id, '') FROM team "
    "JOIN user lead ON lead.id = lead_id LEFT JOIN user deputy ON deputy.id = deputy_id ORDER BY name"
):
    print(*row, sep=",")
red = sqlite3.connect("toy.db").execute("SELECT id FROM team WHERE name = 'Red'").fetchone()[0]
report = import_csv(teams="id,name,lead_email\\n019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11,Red,nobody@example.com\\n")
for row_error in report.row_errors:
    print(str(row_error).replace(red, "Red"))
"""
