"""What is exported comes back the same; what is imported is all there or not at all, and every bad row is told."""

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
from schema.transfer import session
from schema.transfer.exporter import export_file, export_folder, export_zip, snapshot
from schema.transfer.importer import Counts, ImportOptions, Report, import_files
from schema.transfer.sheet import sheets_of
from schema.transfer.source import kind_named, sources_of
from tests.fixtures import postgres

SHEETS = sheets_of(resource_of(model) for model in MODELS)
Bring = Callable[..., Report]

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
def bring(database: Path, tmp_path: Path) -> Bring:
    """Imports files, given as their names and contents."""

    def bring(files: dict[str, str | bytes], tell: Any = lambda what, share: None, **wish: Any) -> Report:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        sources = sources_of([str(tmp_path / name) for name in files], io.BytesIO())
        return import_files(str(database), SHEETS, sources, ImportOptions(**wish), tell)

    return bring


def taken(database: Path) -> dict[str, str]:
    """The whole directory as CSV."""
    files = {}
    with snapshot(str(database), lambda what, share: None) as now:
        for name, sheet in SHEETS.items():
            now.write(sheet, file := io.BytesIO())
            files[f"{name}.csv"] = file.getvalue().decode()
    return files


def ask(database: Path | str, sql: str) -> list[tuple[Any, ...]]:
    """What a database holds, asked behind the service's back."""
    if isinstance(database, str):
        return [tuple(row) for row in postgres.run(database, sql)]
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def people(database: Path | str, *columns: str) -> list[tuple[Any, ...]]:
    return ask(database, f'SELECT {", ".join(columns)} FROM "user" ORDER BY first_name, id')


def joined(database: Path | str) -> list[tuple[str, str]]:
    """Who is in which group."""
    return ask(
        database,
        'SELECT name, first_name FROM membership JOIN "group" ON "group".id = group_id '
        'JOIN "user" ON "user".id = user_id ORDER BY name, first_name',
    )


def told(report: Report) -> list[str]:
    """The row_errores, without the folder."""
    return [str(it).replace(f"{Path(it.file).parent}/", "") for it in report.row_errors]


def test_what_was_exported_comes_back_the_same(database, bring):
    bring(DIRECTORY)

    assert taken(database) == DIRECTORY


def test_what_is_imported_again_is_no_change(database, bring):
    bring(DIRECTORY)

    report = bring(DIRECTORY)

    assert report.counts == {
        "groups": Counts(unchanged=1), "users": Counts(unchanged=2), "memberships": Counts(unchanged=2),
    }  # fmt: skip
    assert taken(database) == DIRECTORY


def test_what_is_known_keeps_its_own_books(database, bring):
    bring(DIRECTORY)

    report = bring({"users.csv": f"id,age,created_at,updated_at,version\n{ADA},37,{TIME},{TIME},99\n"})

    assert report.counts == {"users": Counts(changed=1)}
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
def test_a_person_is_known_by_id_or_external_id_or_email(database, bring, text, expected):
    bring({"users.csv": f"id,first_name,age,email,external_id\n{ADA},Ada,36,ada@example.com,a\n{BOB},Bob,41,,\n"})

    bring({"more.csv": text}, kind="users")

    assert people(database, "id", "first_name", "age", "email", "external_id")[0] == expected


def test_an_email_gives_a_person_an_external_id_that_they_lack(database, bring):
    bring({"users.csv": "first_name,age,email\nAda,36,ada@example.com\n"})

    report = bring({"users.csv": "external_id,email\na,ada@example.com\n"})

    assert report.counts == {"users": Counts(changed=1)}
    assert people(database, "external_id", "version") == [("a", 2)]


def test_an_email_does_not_outweigh_another_external_id(bring):
    bring({"users.csv": PEOPLE})

    report = bring({"users.csv": "external_id,first_name,age,email\nz,Zoe,36,ada@example.com\n"})

    assert not report.stored
    assert [line.rpartition(" ")[0] for line in told(report)] == ["users.csv:2: email: it belongs to the user"]


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
def test_a_membership_names_its_ends_in_many_ways(database, bring, header, row):
    bring({
        "groups.csv": f"id,name\n{ENGINE},Engine\n",
        "users.csv": f"id,first_name,age,email,external_id\n{ADA},Ada,36,ada@example.com,a\n",
    })  # fmt: skip

    report = bring({"memberships.csv": f"{header}\n{row}\n"})

    assert report.counts == {"memberships": Counts(created=1)}
    assert taken(database)["memberships.csv"].splitlines()[1].startswith(f"{ENGINE},{ADA},member,")


def test_records_come_before_what_joins_them_whatever_the_order_of_the_files(database, bring):
    report = bring({
        "memberships.csv": "group,email,role\nEngine,ada@example.com,owner\n",
        "users.csv": PEOPLE,
        "groups.csv": "name\nEngine\n",
    })  # fmt: skip

    assert report.stored
    assert list(report.counts) == ["groups", "users", "memberships"]


def test_an_empty_cell_is_null_or_the_default_or_what_is_there_already(database, bring):
    bring({"users.csv": "external_id,first_name,last_name,age,active\na,Ada,Lovelace,36,false\n"})

    bring({"users.csv": "external_id,first_name,last_name,age,active\na,Ada,,36,\nb,Bob,,41,\n"})

    assert people(database, "last_name", "active") == [(None, 0), (None, 1)]


def test_a_role_changes_and_nobody_else_does(database, bring):
    bring(DIRECTORY)

    report = bring({"memberships.csv": f"group_id,user_id,role\n{ENGINE},{BOB},owner\n{ENGINE},{ADA},\n"})

    assert report.counts == {"memberships": Counts(changed=1, unchanged=1)}
    assert taken(database) == {
        **DIRECTORY, "memberships.csv": DIRECTORY["memberships.csv"].replace("member,", "owner,")
    }  # fmt: skip


@pytest.mark.parametrize(
    "text, fault",
    [
        ("first_name,age\n,36\n", "2: first_name: it is required"),
        ("first_name\nAda\n", "2: age: a new user needs it"),
        ("first_name,age\nAda,36.5\n", "2: age: input should be a valid integer"),
        ("first_name,age\nAda,151\n", "2: age: input should be less than or equal to 150"),
        ("first_name,age,active\nAda,36,yes\n", "2: active: input should be a valid boolean"),
        ("first_name,age,email\nAda,36,ada\n", "2: email: it has to look like name@example.com"),
        ('first_name,age\n"A\nda",36\n', "2: first_name: it may not be blank, nor hold control characters"),
        (f"first_name,age\n{'a' * 101},36\n", "2: first_name: string should have at most 100 characters"),
        ("id,first_name,age\n7,Ada,36\n", "2: id: it has to be a UUID"),
        ("first_name,age,version\nAda,36,0\n", "2: version: input should be greater than or equal to 1"),
        ("first_name,age,created_at\nAda,36,today\n", "2: created_at: a time is written as in"),
        ("first_name,age\nAda\n", "2: it has 1 cells, and the first line names 2 columns"),
        ('first_name,age\n"Ada,36\n', "2: a cell is opened with a quotation mark and never closed"),
        ('first_name,age\n\n"A\nB",1,2\n\nBob\n', "3: it has 3 cells, and the first line names 2 columns"),
        ("first_name,age,email\nA,1,a@b.c\nB,2,A@B.C\n", "3: email: it is the same as in users.csv:2"),
        ("external_id,age\na,1\na,2\n", "3: it is about the same user as users.csv:2"),
        (f"id,first_name,age,email\n{ADA},A,1,bob@example.com\n", f"2: email: it belongs to the user '{BOB}'"),
    ],
)  # fmt: skip
def test_a_bad_row_is_told_with_its_place_and_reason(database, bring, text, fault):
    bring({"users.csv": f"id,first_name,age,email,external_id\n{BOB},Bob,41,bob@example.com,a\n"})
    before = taken(database)

    report = bring({"users.csv": text})

    assert told(report)[0].startswith(f"users.csv:{fault}")
    assert not report.stored
    assert taken(database) == before


@pytest.mark.parametrize(
    "text, fault",
    [
        ("group,email\nNowhere,ada@example.com\n", "2: group: there is no group 'Nowhere'"),
        ("group,email\nEngine,nobody@example.com\n", "2: email: there is no user 'nobody@example.com'"),
        ("group,email\nEngine,\n", "2: email: a new membership needs it"),
        ("group,email,role\nEngine,ada@example.com,boss\n", "2: role: input should be 'member' or 'owner'"),
        (f"group,user_id\nEngine,{BOB}\n", f"2: user_id: there is no user '{BOB}'"),
        (f"group,user_id,email\nEngine,{ADA},b@example.com\n", "2: email: it is not that of the user named before"),
        (
            "group,email\nEngine,b@example.com\nEngine,B@example.com\n",
            "3: it is about the same membership as memberships.csv:2",
        ),
    ],
)
def test_a_bad_membership_is_told_with_its_place_and_reason(bring, text, fault):
    bring({
        "groups.csv": "name\nEngine\n",
        "users.csv": f"id,first_name,age,email\n{ADA},Ada,36,ada@example.com\n,Bea,2,b@example.com\n",
    })  # fmt: skip

    report = bring({"memberships.csv": text})

    assert len(report.row_errors) == 1
    assert told(report)[0].startswith(f"memberships.csv:{fault}")


def test_nobody_is_blamed_for_the_faults_of_others(bring):
    files = {"users.csv": "external_id,first_name,age\na,Ada,200\n", "groups.csv": "name\nEngine\n"}

    report = bring({**files, "memberships.csv": "group,external_id\nEngine,a\n"})

    assert told(report) == ["users.csv:2: age: input should be less than or equal to 150"]


def test_what_leans_on_a_skipped_row_is_skipped_too(database, bring):
    bring({"users.csv": PEOPLE})

    report = bring(
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
        "groups": Counts(created=1),
        "users": Counts(created=1, changed=1, bad=2),
        "memberships": Counts(created=2, bad=1),
    }
    assert people(database, "first_name", "age", "email") == [
        ("Ada", 36, None), ("Bob", 41, "bob@example.com"), ("Cid", 4, "ada@example.com"),
    ]  # fmt: skip
    assert told(report)[-1] == "memberships.csv:3: external_id: the row of that user is skipped"


def test_an_address_that_a_skipped_row_claims_is_still_its_owners(database, bring):
    bring({"users.csv": PEOPLE, "groups.csv": "name\nEngine\nMotor\n"})

    report = bring(
        {
            # Ada claims Bob's address, and gives up her own, in a row that is bad by itself.
            "users.csv": "external_id,age,email\na,200,bob@example.com\n",
            "memberships.csv": "group,email\nEngine,bob@example.com\nMotor,ada@example.com\n",
        },
        skip_bad=True,
    )

    assert report.counts["memberships"] == Counts(created=2)
    assert joined(database) == [("Engine", "Bob"), ("Motor", "Ada")]


def test_whoever_is_named_by_what_a_skipped_row_claims_is_not_mistaken(database, bring):
    bring({"users.csv": PEOPLE, "groups.csv": "name\nEngine\n"})

    report = bring(
        {
            "users.csv": "external_id,email\na,bob@example.com\n",
            "memberships.csv": "group,email\nEngine,bob@example.com\n",
        },
        skip_bad=True,
    )

    assert told(report)[1:] == ["memberships.csv:2: email: the row of that user is skipped"]
    assert joined(database) == []


def test_a_trial_says_what_would_be_done_and_does_nothing(database, bring):
    bring({"users.csv": PEOPLE})
    before = taken(database)

    report = bring({"users.csv": PEOPLE.replace("36", "37") + "c,Cid,4,\n"}, dry_run=True)

    assert not report.stored
    assert report.counts == {"users": Counts(created=1, changed=1, unchanged=1)}
    assert taken(database) == before


@pytest.mark.parametrize(
    "files",
    [
        {"users.csv": "external_id,email\na,bob@example.com\nb,ada@example.com\n"},
        {"users.csv": "external_id,email\nb,x@example.com\na,bob@example.com\n"},
        {"users.csv": "external_id,email\na,bob@example.com\nb,\n"},
        {"groups.csv": f"id,name\n{ADA},Two\n{BOB},One\n"},
    ],
)
def test_what_is_unique_can_pass_from_one_to_another(bring, files):
    bring({"users.csv": PEOPLE, "groups.csv": f"id,name\n{ADA},One\n{BOB},Two\n"})

    report = bring(files)

    assert [counts.changed for counts in report.counts.values()] == [2]


def test_only_so_many_faults_are_told_and_all_are_counted(bring):
    report = bring({"users.csv": "first_name,age\n" + "Ada,200\n" * 30}, most_told=3)

    assert (len(report.row_errors), report.found, report.bad) == (3, 30, 30)


@pytest.mark.parametrize(
    "content",
    [
        "\ufefffirst_name,age\nJosé,3\n",
        "First_Name , AGE\r\nJosé,3\r\n",
        "first_name;age\rJosé;3\r",
        'age\tfirst_name\n\n3\t"José"',
    ],
)
def test_a_file_is_read_however_it_was_saved(database, bring, content):
    bring({"people.csv": content})

    assert people(database, "first_name", "age") == [("José", 3)]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("users.csv", "first_name,age\nJosé,3\n".encode("latin-1"), "is not UTF-8 (the byte 0xe9, in line 1 or soon"),
        ("users.csv", "first_name,age\nAda,3\n".encode("utf-16"), "is not UTF-8"),
        ("users.csv", "", "is empty"),
        ("users.csv", "first_name,nick\n", "there is no column 'nick'; users have id, first_name"),
        ("users.csv", "age,age\n", "the columns age and age say the same"),
        ("memberships.csv", "group,group_name,email\n", "the columns group and group_name say the same"),
        (
            "memberships.csv",
            "group,role\n",
            "does not say which user: add one of the columns user_id, user_external_id",
        ),
        (
            "some.csv",
            "id,active\n",
            "neither its name nor its columns say what it holds; say it with --kind: groups, users",
        ),
        ("some.zip", "PK", "cannot be read"),
        ("users.csv", "first_name,age\n" + "a" * 2**20, "the line is too long"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_so(bring, name, content, sentence):
    with pytest.raises(DirectoryError) as caught:
        bring({name: content})

    assert sentence in caught.value.detail


def test_a_file_that_is_not_there_is_told_so(database):
    with pytest.raises(DirectoryError, match=r"users\.csv cannot be read: No such file"):
        import_files(
            str(database), SHEETS, sources_of(["no/users.csv"], io.BytesIO()), ImportOptions(), lambda *_: None
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
def test_a_files_name_says_what_it_holds(name, kind):
    assert kind_named(name, SHEETS) == kind


@pytest.mark.sqlite
@pytest.mark.parametrize("way", ["folder", "zip", "stdin"])
def test_files_come_from_folders_and_archives_and_standard_input(database, bring, tmp_path, way):
    bring(DIRECTORY)
    place = tmp_path / ("all.zip" if way == "zip" else "all")
    with snapshot(str(database), lambda *_: None) as now:
        (export_zip if way == "zip" else export_folder)(now, list(SHEETS.values()), place)
    (tmp_path / "empty.db").write_bytes(database.read_bytes())
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript('PRAGMA foreign_keys=ON; DELETE FROM user; DELETE FROM "group"')
    paths = ["-", str(place / "groups.csv"), str(place / "memberships.csv")] if way == "stdin" else [str(place)]

    sources = sources_of(paths, io.BytesIO(DIRECTORY["users.csv"].encode()))
    import_files(str(database), SHEETS, sources, ImportOptions(), lambda *_: None)

    assert taken(database) == DIRECTORY


def test_a_damaged_archive_is_told_so(database, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("users.csv", "first_name,age\n" + "Ada,36\n" * 1000)
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[60:70] = b"\xff" * 10
    (tmp_path / "all.zip").write_bytes(content)

    with pytest.raises(DirectoryError, match="is damaged"):
        import_files(
            str(database),
            SHEETS,
            sources_of([str(tmp_path / "all.zip")], io.BytesIO()),
            ImportOptions(),
            lambda *_: None,
        )


def test_an_import_that_is_interrupted_leaves_nothing(database, bring):
    def interrupt(what: str, share: float | None) -> None:
        if what == "Storing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring({"users.csv": PEOPLE}, tell=interrupt)

    assert people(database, "id") == []


def test_others_read_on_while_an_import_stores(database, bring):
    seen = []

    bring({"users.csv": PEOPLE}, tell=lambda what, share: seen.append((what, len(people(database, "id")))))

    assert ("Storing", 0) in seen
    assert len(people(database, "id")) == 2


@pytest.mark.sqlite
def test_an_import_that_gets_no_turn_to_write_says_so(database, bring, monkeypatch):
    monkeypatch.setattr(session, "PATIENCE", 1)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(DatabaseUnavailable, match="locked"):
            bring({"users.csv": PEOPLE})
        trial = bring({"users.csv": PEOPLE}, dry_run=True)

    assert trial.counts == {"users": Counts(created=2)}


def test_memory_does_not_grow_with_the_file(bring):
    def peak(rows: int) -> int:
        text = "external_id,first_name,age,email\n" + "".join(f"{n},Ada,36,{n}@example.com\n" for n in range(rows))
        tracemalloc.start()
        bring({"users.csv": text}, dry_run=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found - 2 * len(text)

    small, large = peak(6_000), peak(30_000)

    assert large - small < 1_000_000


def test_an_export_is_of_one_moment(database, bring, monkeypatch):
    monkeypatch.setattr(session, "FETCHED", 1)
    bring(DIRECTORY)

    def meddle(what: str, share: float | None) -> None:
        bring({"users.csv": f"first_name,age\n{what},1\n"})

    with snapshot(str(database), meddle) as now:
        now.write(SHEETS["groups"], io.BytesIO())
        now.write(SHEETS["users"], file := io.BytesIO())

    assert file.getvalue().decode() == DIRECTORY["users.csv"]
    assert len(people(database, "id")) == 5


def test_an_export_that_fails_leaves_what_was_there(database, bring, tmp_path):
    def fail(what: str, share: float | None) -> None:
        raise KeyboardInterrupt

    bring(DIRECTORY)
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "users.csv"
    old.write_text("old")

    with pytest.raises(KeyboardInterrupt), snapshot(str(database), fail) as now:
        export_file(now, SHEETS["users"], old)

    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("path", ["missing/users.csv", "/dev/null"])
def test_what_cannot_be_written_is_told(database, tmp_path, path):
    with (
        pytest.raises(DirectoryError, match=r"cannot be written|is no file"),
        snapshot(str(database), lambda *_: None) as now,
    ):
        export_file(now, SHEETS["users"], tmp_path / path)


def test_formulas_are_disarmed_for_spreadsheets_alone(database, bring):
    bring(DIRECTORY)

    with snapshot(str(database), lambda *_: None, for_spreadsheets=True) as now:
        now.write(SHEETS["groups"], file := io.BytesIO())

    assert file.getvalue().startswith(b"\xef\xbb\xbfid,name,")
    assert '"\'=Engine, ""the"" first; 🎉",\'+1 description,false' in file.getvalue().decode()


def test_a_new_model_has_a_sheet_and_its_foreign_keys_are_named_like_any(tmp_path):
    """In a process of its own: a model, once declared, is there for good."""
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
        "teams.csv:2: lead_email: there is no user 'nobody@example.com'",
        "teams.csv:2: name: it belongs to the team 'Red'",
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
from schema.transfer.importer import ImportOptions, import_files
from schema.transfer.sheet import sheets_of
from schema.transfer.source import sources_of

os.chdir(tempfile.mkdtemp())
SQLModel.metadata.create_all(create_engine("sqlite:///toy.db"))
sheets = sheets_of(resource_of(model) for model in (Team, *MODELS))

def bring(**files):
    for name, text in files.items():
        open(f"{name}.csv", "w").write(text)
    sources = sources_of([f"{name}.csv" for name in files], None)
    return import_files("toy.db", sheets, sources, ImportOptions(), lambda *_: None)

bring(
    users="external_id,first_name,age,email\\nada,Ada,36,ada@example.com\\nbob,Bob,41,bob@example.com\\n",
    teams="name,motto,lead_email,deputy_external_id\\nRed,Go,ADA@example.com,ada\\nBlue,,bob@example.com,\\n",
)
# The deputy passes from one team to another, and the leads change places.
bring(teams="name,lead_external_id,deputy_email\\nBlue,ada,ada@example.com\\nRed,bob,\\n")
print("name,motto,lead_id,deputy_id")
for row in sqlite3.connect("toy.db").execute(
    "SELECT name, coalesce(motto, ''), lead.external_id, coalesce(deputy.external_id, '') FROM team "
    "JOIN user lead ON lead.id = lead_id LEFT JOIN user deputy ON deputy.id = deputy_id ORDER BY name"
):
    print(*row, sep=",")
red = sqlite3.connect("toy.db").execute("SELECT id FROM team WHERE name = 'Red'").fetchone()[0]
report = bring(teams="id,name,lead_email\\n019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11,Red,nobody@example.com\\n")
for row_error in report.row_errors:
    print(str(row_error).replace(red, "Red"))
"""
