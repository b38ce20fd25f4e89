"""`q` and `contains` find the records that contain the words, in any case and any script, and no others."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest

from schema.engine.model.trigram_index import BATCH_SIZE
from schema.engine.query import access_paths
from tests.conftest import new_plan_cache
from tests.fixtures import access_table
from tests.fixtures.access_table import ACTORS, ADA
from tests.fixtures.clients import READER, ApiError, user_actor
from tests.fixtures.people import (
    GROUPS,
    MEMBERS,
    NAMES,
    PEOPLE,
    has_words,
    in_order,
    insert_records,
    random_users,
    sort_parameters,
)

CROWD = random_users(300, seed=3)
SEARCHES = [
    "ada", "ADA", "aDa", "dam", "éva", "ÉVA", "ngstr", "istanbul", "i\u0307stan", "İSTANBUL", "ωme", "中村", "o'neil",
    "neil", "a_b", "a%b", "%%%", "___", "[x]", "👩 ada", "ada 👩", "ada a", "a ada", "ada eva", "ada ada", "  ada  ",
    "ada\u00a0eva", "zzz", '"""', "ada*", "ada OR eva", "ada AND", "NEAR(ada)", "first_name:ada", "{ada}", "^ada",
    "(ada", "ada)", "-ada", "+ada", "ada;", "\\\\\\", "sisyphos", "σίσυφ", "ΣΊΣΥΦΟΣ", "σίσυφος", "ß ada",
    "ﬁx", "\U0010ffff ada",
]  # fmt: skip
PLANS_FOR_MANY = {kind: new_plan_cache(kind) for kind in ("sqlite", "postgres")}


def is_valid(search):
    """Whether a search is valid: one of its words has three characters."""
    return max(map(len, search.split()), default=0) >= 3


@pytest.fixture(params=["few", "many"])
def hits(request, monkeypatch, http_client, database_type):
    """Few hits are sorted, many are met on a scan of the sort's index: each test takes both paths."""
    if request.param == "many":
        monkeypatch.setattr(access_paths, "FEW_ROWS", 0)
        http_client.app.state.directory.plans = PLANS_FOR_MANY[database_type]
        monkeypatch.setattr(access_paths, "SCAN_ROWS", 40)
    return request.param


@pytest.fixture
def crowd_of_names(database):
    """More users than the trigram index takes in one batch, and a rest that is not indexed yet."""
    insert_records(database, CROWD)
    assert len(CROWD) % BATCH_SIZE


@pytest.mark.usefixtures("crowd_of_names")
@pytest.mark.parametrize("search", [text for text in SEARCHES if is_valid(text)])
def test_q_finds_the_records_with_each_word(client, hits, search):
    expected = [row["id"] for row in in_order(CROWD, "id") if has_words(row, search)]

    page = client.find("user", q=search, size=100, count="exact")

    assert (page.ids, page.total) == (expected[:100], len(expected))


@pytest.mark.parametrize("search", [text for text in SEARCHES if not is_valid(text)] + ["a", "ab cd ef", "", "   "])
def test_a_search_without_a_word_of_three_characters_is_refused(client, search):
    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        client.find("user", q=search)

    assert refused.value.names == {"q"}
    assert "at least 3" in str(refused.value.field_errors)


@pytest.mark.parametrize("search", ["ada\n", "\x00ada", "a" * 101, "ada\u0085"])
def test_a_search_has_bounds(client, search):
    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        client.find("user", q=search)

    assert refused.value.names == {"q"}


@pytest.mark.parametrize("part", ["ad", "a", ""])
def test_contains_takes_three_characters(client, part):
    with pytest.raises(ApiError, match="VALIDATION_FAILED") as refused:
        client.find("user", first_name__contains=part)

    assert "3" in str(refused.value.field_errors)


@pytest.mark.usefixtures("crowd_of_names")
@pytest.mark.parametrize("sort", [*sort_parameters(), None])
def test_a_search_has_pages_in_every_order_both_ways(client, hits, sort):
    order = {"sort": sort} if sort else {}
    expected = [row["id"] for row in in_order(CROWD, sort or "id") if has_words(row, "ada")]

    forwards = [row["id"] for row in client.everything("user", q="ada", size=7, **order)]
    last = client.find("user", q="ada", size=100, **order)
    middle = client.find("user", q="ada", size=7, after=client.find("user", q="ada", size=20, **order).next, **order)
    back = client.find("user", q="ada", size=7, before=middle.previous, **order)

    assert forwards == expected
    assert last.ids == expected[:100]
    assert middle.ids == expected[20:27]
    assert back.ids == expected[13:20]


@pytest.mark.usefixtures("crowd_of_names")
def test_search_and_filters_are_joined_by_and(client, hits):
    for arguments, holds in (
        ({"q": "ada", "active": True}, lambda row: row["active"] and has_words(row, "ada")),
        ({"q": "ada", "first_name__contains": "dam"}, lambda row: "dam" in row["first_name"].lower()),
        ({"email__contains": "ADA.1"}, lambda row: "ada.1" in (row["email"] or "").lower()),
        ({"q": "ada", "age": 36, "last_name__isnull": True}, lambda row: row["age"] == 36 and row["last_name"] is None),
    ):
        rows = [row for row in in_order(CROWD, "id") if holds(row) and ("q" not in arguments or has_words(row, "ada"))]

        page = client.find("user", size=100, count="exact", **arguments)

        assert (page.ids, page.total) == ([row["id"] for row in rows][:100], len(rows))


@pytest.mark.usefixtures("crowd_of_names")
@pytest.mark.parametrize("sort", ["age", "-age", "id", "-id", "first_name"])
@pytest.mark.parametrize(
    "arguments, holds",
    [
        ({"age__gte": 30, "age__lt": 70}, lambda row: 30 <= row["age"] < 70),
        ({"age": 36}, lambda row: row["age"] == 36),
        ({"active": True}, lambda row: row["active"]),
        ({"first_name__startswith": "a"}, lambda row: row["first_name"].lower().startswith("a")),
    ],
    ids=["range", "equal", "active", "prefix"],
)
def test_a_search_beside_a_filter_has_pages_in_every_order(client, hits, arguments, holds, sort):
    expected = [row["id"] for row in in_order(CROWD, sort) if holds(row) and has_words(row, "ada")]

    ids = [row["id"] for row in client.everything("user", q="ada", size=7, sort=sort, **arguments)]

    assert ids == expected


@pytest.mark.usefixtures("crowd_of_names")
def test_a_cursor_belongs_to_its_search(client):
    cursor = client.find("user", q="ada", size=3).next

    with pytest.raises(ApiError, match="BAD_REQUEST"):
        client.find("user", q="adam", size=3, after=cursor)


@pytest.mark.usefixtures("populated_database")
def test_lists_below_a_record_can_be_searched(client):
    for group in GROUPS:
        members = [row["id"] for row in in_order(MEMBERS.get(group["id"], []), "id") if has_words(row, "ada")]

        page = client.find("group", ("members", group["id"]), q="ada", size=100, count="exact")

        assert (page.ids, page.total) == (members, len(members))
    assert client.find("user", ("groups", PEOPLE[0]["id"]), q="group 0").ids == [GROUPS[0]["id"]]


@pytest.mark.usefixtures("populated_database")
def test_each_list_of_a_query_has_a_search_of_its_own(graphql):
    query = """{ a: users(q: "ada", first: 100) { totalCount } b: users(q: "zzz") { totalCount }
        groups(q: "group") { nodes { name members(q: "eva", first: 50) { totalCount } } } }"""

    data = graphql.execute(query)

    assert data["a"]["totalCount"] == sum(has_words(row, "ada") for row in PEOPLE)
    assert data["b"]["totalCount"] == 0
    assert [group["members"]["totalCount"] for group in data["groups"]["nodes"]] == [
        sum(has_words(row, "eva") for row in MEMBERS.get(group["id"], [])) for group in GROUPS
    ]


def test_groups_are_found_by_their_description(client):
    engine = client.create("group", name="Engine", description="Builds the FIRST computer.")
    client.create("group", name="Choir", description="Sings.")

    assert client.find("group", q="engine first").ids == [engine["id"]]
    assert client.find("group", description__contains="computer").ids == [engine["id"]]
    assert client.find("group", name__contains="first").ids == []


def test_a_search_leaves_out_hidden_fields(client, database):
    access_table.populate(database)

    assert client.find("user", q="example.com").ids == []
    assert client.find("user", email__contains="ada@ex").ids == [ADA["id"]]
    for actor in (READER, user_actor(ADA)):
        assert client.as_actor(actor).find("user", q="ada").ids == [ADA["id"]]
        with pytest.raises(ApiError, match="FORBIDDEN") as refused:
            client.as_actor(actor).find("user", email__contains="ada@ex")
        assert refused.value.names == {"email"}
    with pytest.raises(ApiError, match="FORBIDDEN"):
        client.as_actor(ACTORS["nobody"]).find("user", q="ada")


@pytest.mark.slow
def test_a_search_finds_what_was_just_written(client):
    """In the batch that is not indexed yet, and in one that is."""
    people = [client.create("user", first_name=f"Person{number:03}", age=1)["id"] for number in range(BATCH_SIZE + 3)]

    for number, id in enumerate(people):
        assert client.find("user", q=f"person{number:03}").ids == [id]
    for number in (0, BATCH_SIZE - 1, BATCH_SIZE, BATCH_SIZE + 2):
        client.update("user", people[number], first_name=f"Somebody{number}", age=2)
        client.update("user", people[number], age=3)
        assert client.find("user", q=f"somebody{number}").ids == [people[number]]
        assert client.find("user", q=f"person{number:03}").ids == []
        client.delete("user", people[number])
        assert client.find("user", q=f"somebody{number}").ids == []
    for number in range(BATCH_SIZE):
        client.create("user", first_name=f"Late{number}", age=1)
    assert client.find("user", q="person", size=100, count="exact").total == BATCH_SIZE - 1
    assert client.find("user", q="late", count="exact").total == BATCH_SIZE


@pytest.mark.sqlite
@pytest.mark.slow
def test_the_index_equals_the_table_after_random_writes(database):
    """Many of the writes are rolled back."""
    chance, rows = random.Random(5), random_users(400, seed=9)
    insert_records(database, rows[:200])
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for row in rows[200:]:
            connection.execute("BEGIN")
            ids = [id for (id,) in connection.execute("SELECT id FROM user")]
            for _ in range(3):
                name, id = chance.choice(NAMES).lower(), chance.choice(ids)
                connection.execute("UPDATE user SET first_name_key = ?, age = 1 WHERE id = ?", (name, id))
            connection.execute("DELETE FROM user WHERE id = ?", (chance.choice(ids),))
            connection.execute(
                "INSERT INTO user (id, first_name, first_name_key, age, active, created_at, updated_at, version)"
                " VALUES (?, 'Ada', 'ada', 1, 1, '', '', 1)",
                (row["id"],),
            )
            connection.execute(chance.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
        ((indexed,),) = connection.execute(
            f"SELECT seq / {BATCH_SIZE} * {BATCH_SIZE} FROM sqlite_sequence WHERE name = 'user_searched'"
        )
        for word in ("ada", "stan", "istanbul"):
            indexed_rows = connection.execute("SELECT rowid FROM user_search WHERE user_search MATCH ?", (f'"{word}"',))
            matching_rows = connection.execute(
                "SELECT number FROM user_searched JOIN user USING (id) WHERE number <= ? AND (instr(first_name_key, ?)"
                " OR instr(coalesce(last_name_key, ''), ?) OR instr(coalesce(email_key, ''), ?)) ORDER BY number",
                (indexed, word, word, word),
            )
            assert indexed_rows.fetchall() == matching_rows.fetchall() != []
        numbers = connection.execute("SELECT count(*) FROM user_searched").fetchone()
        assert numbers == connection.execute("SELECT count(*) FROM user").fetchone()


def test_a_change_of_another_field_leaves_the_index_alone(client, statements):
    user = client.create("user", first_name="Ada", age=36)
    statements.clear()

    client.update("user", user["id"], age=37)
    assert not [sql for sql in statements if "user_search" in sql]

    client.update("user", user["id"], first_name="Ada", age=38)
    assert not [sql for sql in statements if "user_search" in sql]


def service_plans(client):
    return client.http_client.app.state.directory.plans


def test_words_are_bound_and_plans_are_shared(client, database_type):
    client.http_client.app.state.directory.plans = new_plan_cache(database_type)
    client.find("user", q="ada love", size=3)
    before = len(service_plans(client))

    client.find("user", q="some body", size=3)
    client.find("user", q='" OR1', size=3)

    assert len(service_plans(client)) == before


def test_a_migration_indexes_existing_records(tmp_path):
    from alembic import command

    from schema.migrations import commands

    path = tmp_path / "old.db"
    commands.run_on(str(path), lambda connection: command.upgrade(commands._config(connection), "0002"))
    with closing(sqlite3.connect(path)) as connection:
        for number in range(BATCH_SIZE * 2 + 5):
            connection.execute(
                'INSERT INTO "group" (id, name, name_key, description, active, created_at, updated_at, version)'
                " VALUES (?, ?, ?, 'Ärzte', 1, '', '', 1)",
                (f"{number:03}", f"G{number}", f"g{number}"),
            )
        connection.commit()

    commands.migrate(str(path))

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute('SELECT DISTINCT description_key FROM "group"').fetchall() == [("ärzte",)]
        indexed = connection.execute("SELECT count(*) FROM group_search WHERE group_search MATCH '\"rzt\"'").fetchone()
        assert indexed == (BATCH_SIZE * 2,)
        assert connection.execute("SELECT count(*) FROM group_searched").fetchone() == (BATCH_SIZE * 2 + 5,)
    assert commands.drift(str(path)) == []


@pytest.mark.sqlite
def test_a_missing_index_is_drift(database):
    from schema.migrations import commands

    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TRIGGER user_search_gone")

    assert "user_search_gone" in str(commands.drift(str(database)))
