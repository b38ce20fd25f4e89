"""`explain` says what a request takes: which way, which selection and SQL, and what the database makes of it.

What it shows is what the service does: the same statements, counted in the service itself.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlmodel import SQLModel
from typer.testing import CliRunner

from api.__main__ import app
from schema.engine.database_url import display_name
from schema.engine.errors import DatabaseUnavailable
from schema.engine.operations.directory import Directory
from schema.engine.operations.records import delete
from schema.explain import postgres as explain_postgres
from schema.explain.layout import laid_out
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.people import PEOPLE, fill

pytestmark = pytest.mark.usefixtures("once")

ID = PEOPLE[0]["id"]


@pytest.fixture
def database(database):
    """In tables without anything dead, which PostgreSQL would plan for as if it lived."""
    if isinstance(database, str):
        postgres.run(database, postgres.truncating(list(SQLModel.metadata.tables)))
    return database


@pytest.fixture
def explain(database):
    """Runs the command in production, over an empty directory, and gives what it prints and its exit code."""
    return explaining(database if isinstance(database, str) else f"sqlite:///{database}")


@pytest.fixture
def url(migrated):
    """An empty PostgreSQL."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    return migrated


def explaining(place):
    """What runs the command over a database."""

    def explain(*arguments, **environment):
        usual = {"TANDEM_ENV": "production", "DATABASE_URL": place, "COLUMNS": "200"}
        result = CliRunner().invoke(app, ["explain", *arguments], env={**usual, **environment})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.output, result.exit_code

    return explain


def line(text, name):
    """What stands behind a name at the beginning of a line."""
    found = re.search(rf"^{name} +(.*)$", text, re.MULTILINE)
    assert found, text
    return found[1]


def sql_of(text):
    """The statements shown, with one space between their words."""
    return [" ".join(part.split()) for part in re.findall(r"^  SQL\n((?:    .*\n?)+)", text, re.MULTILINE)]


# A new record is written and shown: on PostgreSQL by one statement.
NEW = ("1, with 2 statements", "1, with 1 statement")
ASKED = {
    "a list": (["/users?sort=-age&limit=50"], "listUsers", "REST: compiled", "1, with 1 statement"),
    "a record": ([f"/users/{ID}"], "getUser", "REST: compiled", "1, with 1 statement"),
    "a URL of a server": ([f"http://localhost:8000/users/{ID}#here"], "getUser", "REST", "1, with 1 statement"),
    "a path as documented": (["/groups/{id}/members?count=exact"], "listGroupMembers", "REST", "1, with 1 statement"),
    "a creation": (["POST /users"], "createUser", "REST", NEW),
    "one with a body": (["/groups", "--body", '{"name": "New"}'], "createGroup", "REST", NEW),
    "a change": (["PATCH /users/{id}"], "updateUser", "REST", "1, with 2 statements"),
    "a deletion": (["/groups/{id}", "--method", "delete"], "deleteGroup", "REST", "1, with 1 statement"),
    "me": (["/me", "--as", "person"], "getMe", "REST", "1, with 1 statement"),
    "a query": (
        ["{ users { nodes { id groups { totalCount } } } a: groups { totalCount } }"],
        "compiledQuery", "compiled", "1, with 2 statements",
    ),
    "with variables": (
        ["query($n: Int!) { users(first: $n) { nodes { id } } }", "--variables", '{"n": 7}'],
        "compiledQuery", "compiled", "1, with 1 statement",
    ),
    "introspection": (
        ["{ __schema { queryType { name } } users { totalCount } }"],
        "interpretedQuery", "interpreted: __schema is answered from the schema", "1, with 1 statement",
    ),
    "a mutation": (
        ['mutation { createGroup(input: {name: "New"}) { group { id } } }'],
        "mutation", "interpreted: its fields run one after the other", "1, with 2 statements",
    ),
}  # fmt: skip


@pytest.mark.parametrize("arguments, operation, way, trips", ASKED.values(), ids=ASKED)
def test_it_says_which_way_a_request_takes_and_how_often_it_goes(explain, store, arguments, operation, way, trips):
    text, code = explain(*arguments)

    assert code == 0, text
    assert line(text, "operation") == operation
    assert line(text, "way").startswith(way)
    trips = NEW[store == "postgres"] if trips is NEW else trips
    assert line(text, "trips") == trips
    assert len(sql_of(text)) == int(trips.split()[2])
    assert text.count("  plan of ") == len(sql_of(text))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "path", ["/users?sort=-age&limit=50", "/users?age__gte=3&active=true&count=exact", f"/users/{ID}/groups"]
)
def test_the_sql_is_the_services_own(explain, crowded, http_client, statements, path):
    http_client.get(path).raise_for_status()
    told = [statement for statement in statements if statement.startswith(("SELECT", "WITH"))]

    text, _ = explain(path)

    # The service's are shown with their values in place of the question marks.
    (shown,) = sql_of(text)
    pattern = re.escape(shown.replace("( ", "(").replace(" )", ")")).replace(r"\?", "(?:'[^']*'|[0-9]+)")
    (ran,) = (" ".join(it.split()).replace("( ", "(").replace(" )", ")") for it in told)
    assert re.fullmatch(pattern, ran)


@pytest.mark.postgres
def test_the_sql_is_postgresqls_own_where_that_is_the_database(url):
    text, code = explaining(url)("/users?sort=-age&limit=50")

    (shown,) = sql_of(text)
    assert code == 0
    assert "LIMIT $1::INTEGER + 1" in shown
    assert f"plan of {display_name(url)}\n" in text
    assert "cost=" in text


def test_binds_have_their_names_and_the_requests_values(explain):
    text, _ = explain("/users?age__gte=33&limit=7", "--as", "person")

    assert "you may not filter users by age" in text

    text, _ = explain("/users?age__gte=33&limit=7")

    assert re.search(r"^    age__gte = 33$", text, re.MULTILINE)
    assert re.search(r"^    limit = 7$", text, re.MULTILINE)


def test_the_selection_is_said_in_words(explain):
    text, _ = explain(
        '{ groups(first: 2, filter: {not: {name: {startswith: "x"}}}) { nodes { id members { nodes { age } } } } }'
    )

    assert re.search(
        r"^    groups: the first :\w+, where not \(name starts with :\w+\), sorted by id$", text, re.MULTILINE
    )
    assert re.search(r"^      the members: the first :\w+, sorted by the key of what joins them$", text, re.MULTILINE)
    assert re.search(r"^        age$", text, re.MULTILINE)


def test_it_is_explained_for_a_kind_of_actor(explain):
    admin, _ = explain("/users")
    reader, _ = explain("/users", "--as", "reader")
    person, _ = explain("/users", "--as", "person")

    assert len({" ".join(sql_of(text)) for text in (admin, reader, person)}) == 3
    assert "actor = the actor's own id" in person
    assert "actor" not in "".join(sql_of(admin))


WARNED = {
    "/users": [],
    "/users?sort=-age": [],
    "/users?active=true": [],
    "/users/{id}/groups?count=exact": [],
    "/users?count=exact": ["walks user"],
    "/users?active=true&sort=-age": ["goes one way or another"],
    "/users?first_name__startswith=a&sort=first_name": [],
    "/groups/{id}/members?sort=age": ["sorts without an index"],
    "{ users { nodes { groups { totalCount } } } }": [],
    "{ users(filter: {not: {age: {eq: 3}}}) { nodes { id } } }": ["walks user"],
}


@pytest.mark.parametrize("request_, warned", WARNED.items())
def test_it_warns_where_the_plan_walks_or_sorts(explain, store, request_, warned):
    text, _ = explain(request_)

    found = re.findall(r"^  ! (.*)$", text, re.MULTILINE)
    if store == "postgres" and "active=true&sort" in request_:
        warned = ["walks user"]  # in the order of age, for those that are active
    if store == "postgres" and "startswith" in request_:
        warned = ["sorts without an index"]
    assert len(found) == len(warned), text
    assert all(one.startswith(start) for one, start in zip(found, warned, strict=True))


REFUSED = {
    "an unknown parameter": (["/users?color=red"], "VALIDATION_FAILED"),
    "what this actor may not": (["/users?email=a", "--as", "reader"], "FORBIDDEN"),
    "nobody": (["/users", "--as", "nobody"], "UNAUTHENTICATED"),
    "a path that is not there": (["/nothing"], "NOT_FOUND"),
    "a method that is not there": (["DELETE /users"], "METHOD_NOT_ALLOWED"),
    "a body that is no good": (["/users", "--body", '{"age": -1}'], "VALIDATION_FAILED"),
    "a creation that this actor may not": (["POST /users", "--as", "reader"], "FORBIDDEN"),
    "a change that this actor may not": (["PATCH /users/{id}", "--as", "reader"], "FORBIDDEN"),
    "a query that is no good": (["{ nobody }"], "GRAPHQL_VALIDATION_FAILED"),
    "a variable that is missing": (["query($n: Int!) { users(first: $n) { nodes { id } } }"], "GRAPHQL_VALIDATION"),
}


@pytest.mark.parametrize("arguments, code", REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_shown_as_the_door_words_it(explain, arguments, code):
    text, exit_code = explain(*arguments)

    assert exit_code == 1
    assert code in text[text.index("refused ") :]


@pytest.mark.postgres
def test_nothing_of_a_postgresql_is_changed_by_what_it_is_tried_on(url):
    fill(url, PEOPLE)
    counting = 'SELECT id, version, xmin::text FROM "user" ORDER BY id'
    before = postgres.run(url, counting)

    for request in ("POST /users", f"PATCH /users/{ID}", f"DELETE /users/{ID}", "/users?sort=-age"):
        assert explaining(url)(request)[1] == 0, request

    assert postgres.run(url, counting) == before
    assert postgres.run(url, "SELECT 1 FROM pg_class WHERE relpersistence = 't'") == []


@pytest.mark.postgres
async def test_a_trial_whose_session_is_lost_can_write_to_nothing(url):
    async with Directory(explain_postgres.guarded(url), pool=1) as directory:
        await explain_postgres.furnish(directory, [USER], [ID])
        await delete(directory.unit_of_work(ADMIN), USER, ID)
        fill(url, PEOPLE)
        postgres.run(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tandem' AND datname = current_database()",
        )

        with pytest.raises(DatabaseUnavailable):
            await delete(directory.unit_of_work(ADMIN), USER, ID)

    assert postgres.run(url, 'SELECT count(*) FROM "user"')[0][0] == len(PEOPLE)


@pytest.mark.postgres
def test_what_a_trial_lacks_is_said_in_a_sentence(url, postgres_server):
    pooled = explaining(url)("/users", DATABASE_URL=f"{url}&pgbouncer=true")
    empty = explaining(url)("/users", DATABASE_URL=postgres_server)

    assert pooled == ("a trial needs a session of its own: name the server itself, without pgbouncer=true\n", 1)
    assert empty[0].startswith("a trial needs the tables of a migrated database")
    assert empty[1] == 1


@pytest.mark.sqlite
def test_nothing_is_changed_and_no_database_is_needed(explain, tmp_path, template):
    path = shutil.copy(template, tmp_path / "there.db")

    for where in (path, tmp_path / "none.db"):
        text, code = explain("POST /users", DATABASE_URL=f"sqlite:///{where}")
        assert code == 0
        assert ("as there is none yet" in text) == (where != path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM user").fetchone() == (0,)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("arguments", [["users"], ["SELECT 1"], ["{ me { id } }", "--variables", "{"], [""]])
def test_what_is_no_request_is_said_to_be_none(explain, arguments):
    assert explain(*arguments)[1] == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, 'it''s ( SELECT' AS b FROM (SELECT 1 AS a) AS q WHERE a IN (1, 2) AND b = \"AND\" LIMIT 3",
        "INSERT INTO t (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET a = excluded.a WHERE t.a < 3 RETURNING t.a",
        "SELECT " + ", ".join(f"column_{number} AS other_{number}" for number in range(40)) + " FROM t",
    ],
)
def test_laid_out_sql_is_the_same_sql(sql):
    lines = laid_out(sql)

    assert "".join(" ".join(lines).split()) == "".join(sql.split())
    assert max(len(line) for line in lines) <= 120
