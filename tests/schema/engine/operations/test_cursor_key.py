"""Cursors are signed with a secret of the database's own, and what a signed one holds is checked all the same."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from schema.engine.errors import BadRequest, DatabaseUnavailable
from schema.engine.model.field import NULL_INTEGER_SORT_KEY
from schema.engine.model.resource import resource_of
from schema.engine.operations.cursor_key import CursorKey
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import find
from schema.engine.query import cursors
from schema.engine.query.cursors import NO_SIGNER, Signer
from schema.engine.query.selection import Compare, Items, ListSelection, NextCursor, Order, Page, Scalar, Selection
from schema.engine.sql.dialect import SQLITE
from schema.engine.sqlite.connection import connect
from schema.maintenance.backup import back_up
from schema.models import Key
from tests.conftest import insert_people
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER, ApiError
from tests.fixtures.people import GROUPS, PEOPLE

ID = PEOPLE[0]["id"]
OTHERS: list[object] = [None, True, 1.5, [], {}, [ID]]
TEXTS = ["\x00", "a\x00b", "a\nb", "x" * 101, *OTHERS, 1]
FORGED = {
    "age": [2**63, -(2**63) - 1, 2**200, 2**31, 151, -1, NULL_INTEGER_SORT_KEY, "36", *OTHERS],
    "first_name": ["", *TEXTS],
    "last_name": TEXTS,
    "created_at": ["", "x", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z\n", *OTHERS, 1],
    "email": [f"{'x' * 255}", *TEXTS[:3], *OTHERS],
}
CASES = [(sort, key) for sort, keys in FORGED.items() for key in keys]
BAD_IDS = ["", "x", f"{ID}\n", ID.replace("-", ""), 1, *OTHERS]
LIST = ListSelection((("items", Items(Selection((("id", Scalar("id")),)))), ("next", NextCursor())), Page("size"))
LATER = replace(LIST, page=Page("size", after="after"))


def signed(signer, keys, relation=None, order=Order(), where=None, values=None):  # noqa: B008  it is frozen
    """A cursor over any keys at all, signed as the service signs its own."""
    seal = signer.list_hash("User", relation, order, where, values or {})
    return cursors.encode_cursor(json.dumps(keys, separators=(",", ":"), ensure_ascii=False).encode(), seal).decode()


@pytest.fixture
def signer(populated_database, http_client):
    return http_client.app.state.directory.cursor_key.current


@pytest.mark.parametrize("way", ["after", "before"])
@pytest.mark.parametrize("sort, key", CASES, ids=ascii)
def test_a_key_that_its_field_cannot_hold_is_refused(signer, client, sort, key, way):
    cursor = signed(signer, [key, ID], order=Order((sort,)))
    if len(cursor) > cursors.MAX_LENGTH:
        pytest.skip("no cursor is that long")

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", sort=sort, **{way: cursor})


@pytest.mark.parametrize("id", BAD_IDS, ids=ascii)
def test_a_malformed_id_is_refused(signer, client, id):
    group = GROUPS[0]["id"]

    for below, cursor in ((None, signed(signer, [id])), (("members", group), signed(signer, [id], "members"))):
        with pytest.raises(ApiError, match="BAD_REQUEST"):
            client.find("group" if below else "user", below, after=cursor)


@pytest.mark.parametrize("key", [2**63, 151, "x", None])
def test_a_key_of_a_related_list_is_checked(signer, client, key):
    cursor = signed(signer, [key, ID], "members", Order(("age",)))

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("group", ("members", GROUPS[0]["id"]), sort="age", after=cursor)


@pytest.mark.parametrize("key", ["a" * 201, "\x00", None, 1])
def test_a_lower_case_key_is_checked(signer, client, key):
    where = Compare("first_name", "startswith", "begun")
    cursor = signed(signer, [key, ID], None, Order(("first_name",), folded=True), where, {"begun": "a"})

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", first_name__startswith="a", after=cursor)


@pytest.mark.parametrize("keys", [[], [36], [36, ID, ID], {"0": 36}, "36", None])
def test_a_wrong_number_of_keys_is_refused(signer, client, keys):
    if keys in ("36", None):
        keys = [keys]

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", sort="age", after=signed(signer, keys, order=Order(("age",))))


def test_valid_keys_are_accepted(signer, client):
    for sort, key in (("age", 0), ("age", 150), ("last_name", ""), ("last_name", "\U0010ffff" * 100), ("email", "")):
        cursor = signed(signer, [key, ID], order=Order((sort,)))
        assert client.find("user", sort=sort, after=cursor)
    where = Compare("first_name", "startswith", "begun")
    longest = signed(signer, ["i̇" * 100, ID], None, Order(("first_name",), folded=True), where, {"begun": "a"})
    assert client.find("user", first_name__startswith="a", after=longest)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "name, key, good",
    [
        ("role", "admin", True),
        ("role", "ADMIN", False),
        ("role", "", False),
        ("active", True, True),
        ("active", 1, True),
        ("active", 0, True),
        ("active", 2, False),
        ("active", "true", False),
        ("active", None, False),
        ("rate", NULL_INTEGER_SORT_KEY, True),
        ("rate", NULL_INTEGER_SORT_KEY - 1, False),
        ("rate", 0, False),
        ("rate", 1, True),
        ("expires_at", "", True),
        ("expires_at", "2026-01-01T00:00:00.000000Z", True),
        ("expires_at", "٢٠٢٦-01-01T00:00:00.000000Z", False),
    ],
)
def test_each_kind_of_field_has_its_own_keys(name, key, good):
    seal = Signer(b"s").list_hash("Key", None, Order((name,)), None, {})
    cursor = cursors.encode_cursor(json.dumps([key, ID], separators=(",", ":")).encode(), seal).decode()
    fields = [resource_of(Key).fields[field] for field in (name, "id")]

    if good:
        assert cursors.decode_cursor(cursor, seal, fields) == [key, ID]
    else:
        with pytest.raises(BadRequest):
            cursors.decode_cursor(cursor, seal, fields)


def test_a_checksum_is_not_a_signature(client, populated_database):
    """Cursors once ended with a CRC-32, which anybody can compute."""
    keys, order = f'["{ID}"]'.encode(), Order()
    sum = crc32(f"User.None{order.fields}{order.descending}{order.folded}".encode())
    for size in (4, 8):
        forged = base64.urlsafe_b64encode(keys + crc32(keys, sum).to_bytes(size, "big")).rstrip(b"=").decode()
        with pytest.raises(ApiError, match="BAD_REQUEST"):
            client.find("user", after=forged)


@pytest.mark.parametrize("secret", [b"", b"\0" * 32, b"x" * 32, b"tandem"])
def test_a_signature_with_another_secret_is_refused(signer, client, secret):
    foreign_signer = Signer(secret or bytes(1))

    assert client.find("user", after=signed(signer, [ID]))
    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", after=signed(foreign_signer, [ID]))


# Where the secret is kept


def execute(database, sql):
    if isinstance(database, str):
        return [tuple(row) for row in postgres.run(database, sql)]
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(sql).fetchall()


async def first(directory, after=None):
    """The page after a cursor, or the first."""
    if after is None:
        page = await find(directory.unit_of_work(ADMIN), USER, LIST, {"size": 1})
    else:
        values = {"size": 1}
        signer = await directory.cursor_key.signer()
        values |= cursors.cursor_values(after, "after", USER, None, Order(), None, values, signer)
        page = await find(directory.unit_of_work(ADMIN), USER, LATER, values)
    return json.loads(page.json)


async def test_all_processes_of_a_database_use_the_same_key(populated_database):
    async with Directory(str(populated_database)) as left, Directory(str(populated_database)) as right:
        assert (await first(right, (await first(left))["next"]))["items"]


@pytest.mark.sqlite
async def test_a_backup_contains_the_secret_and_another_database_has_its_own(populated_database, tmp_path):
    from schema.migrations.commands import migrate

    back_up(str(populated_database), tmp_path / "copy.db")
    migrate(str(tmp_path / "new.db"))
    async with Directory(str(populated_database)) as directory:
        cursor = (await first(directory))["next"]

    async with Directory(str(tmp_path / "copy.db")) as copy, Directory(str(tmp_path / "new.db")) as new:
        assert (await first(copy, cursor))["items"]
        with pytest.raises(BadRequest):
            await first(new, cursor)


def test_there_is_one_random_secret(database):
    ((id, secret),) = execute(database, "SELECT id, secret FROM cursor_key")

    assert (id, len(secret)) == (1, 32)
    assert len(set(secret)) > 16


async def test_without_the_table_lists_are_503_and_recover_without_a_restart(populated_database):
    execute(populated_database, "ALTER TABLE cursor_key RENAME TO away")
    try:
        async with Directory(str(populated_database)) as directory:
            assert directory.cursor_key.current is NO_SIGNER
            for after in (None, "WyJhIl0", signed(Signer(b"x"), [ID])):
                with pytest.raises(DatabaseUnavailable):
                    await first(directory, after)
            execute(populated_database, "ALTER TABLE away RENAME TO cursor_key")
            assert (await first(directory, (await first(directory))["next"]))["items"]
            execute(populated_database, "ALTER TABLE cursor_key RENAME TO away")
            assert (await first(directory))["items"]
    finally:
        execute(populated_database, "ALTER TABLE away RENAME TO cursor_key")


def test_without_the_table_both_apis_return_503(client, populated_database, http_client):
    execute(populated_database, "ALTER TABLE cursor_key RENAME TO away")
    directory = http_client.app.state.directory
    usual, directory.cursor_key = directory.cursor_key, CursorKey(directory.driver, SQLITE)
    try:
        for parameters in ({}, {"after": signed(Signer(b"x"), [ID])}):
            with pytest.raises(ApiError, match="DB_UNAVAILABLE"):
                client.find("user", **parameters)
        assert http_client.get("/health/ready").status_code == 503
    finally:
        directory.cursor_key = usual
        execute(populated_database, "ALTER TABLE away RENAME TO cursor_key")


async def test_a_deleted_row_is_created_once(populated_database):
    async with Directory(str(populated_database)) as before:
        cursor = (await first(before))["next"]
    execute(populated_database, "DELETE FROM cursor_key")

    directories = [Directory(str(populated_database)) for _ in range(4)]
    await asyncio.gather(*(directory.open() for directory in directories))
    record = {(await first(directory))["next"] for directory in directories}

    with pytest.raises(BadRequest):
        await first(directories[0], cursor)
    for directory in directories:
        await directory.close()
    assert len(record) == 1
    assert execute(populated_database, "SELECT count(*) FROM cursor_key") == [(1,)]


async def until_other(directory, than):
    """The first page's cursor, once it is another."""
    for _ in range(500):
        if (cursor := (await first(directory))["next"]) != than:
            return cursor
        await asyncio.sleep(0.02)
    raise AssertionError("it stays the same")


@pytest.mark.sqlite
@pytest.mark.slow
async def test_a_replaced_file_brings_its_own_secret(populated_database, tmp_path):
    replacement = Path(shutil.copy(populated_database, tmp_path / "other.db"))
    execute(replacement, "UPDATE cursor_key SET secret = randomblob(32)")
    with closing(connect(str(replacement))) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")

    async with Directory(str(populated_database)) as directory:
        old = (await first(directory))["next"]
        os.replace(replacement, populated_database)
        new = await until_other(directory, old)

        with pytest.raises(BadRequest):
            await first(directory, old)
        assert (await first(directory, new))["items"]
        os.unlink(populated_database)
        with pytest.raises(DatabaseUnavailable):
            await until_other(directory, new)


@pytest.mark.postgres
async def test_another_database_under_the_same_url_brings_its_own_secret(migrated):
    postgres.empty(migrated, ["membership", "user", "group"])
    insert_people(migrated)
    async with Directory(migrated) as directory:
        old = (await first(directory))["next"]
        execute(migrated, "UPDATE cursor_key SET secret = decode(md5('x') || md5('y'), 'hex')")
        execute(
            migrated,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'tandem'",
        )

        assert await until_other(directory, old) != old


def test_neither_api_nor_an_export_shows_the_secret(http_client, database, monkeypatch):
    from api.cli.import_export import CSV_SCHEMAS

    assert http_client.get("/cursor_keys").status_code == http_client.get("/cursor_key").status_code == 404
    assert "cursor_key" not in http_client.get("/openapi.json").text.lower()
    schema = http_client.post("/graphql", json={"query": "{ __schema { types { name fields { name } } } }"}).text
    assert "cursorkey" not in schema.lower()
    assert "cursor_keys" not in CSV_SCHEMAS
    assert all(csv_schema.table.name != "cursor_key" for csv_schema in CSV_SCHEMAS.values())
