"""`explain`: the selection, the SQL and the plan of a request, the same SQL as the server's."""

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
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, USER
from tests.fixtures.people import PEOPLE, insert_records

pytestmark = pytest.mark.usefixtures("without_replay")

ID = PEOPLE[0]["id"]


@pytest.fixture
def database(database):
    """In vacuumed tables: PostgreSQL would plan for dead rows as well."""
    if isinstance(database, str):
        postgres.run(database, postgres.truncating(list(SQLModel.metadata.tables)))
    return database


@pytest.fixture
def explain(database):
    """Run the command in production, over an empty database; return its output and exit code."""
    return explaining(database if isinstance(database, str) else f"sqlite:///{database}")


@pytest.fixture
def url(migrated):
    """An empty PostgreSQL."""
    postgres.run(migrated, 'TRUNCATE membership, "user", "group"')
    return migrated


def explaining(url):
    """Return a function that runs the command over a database."""

    def explain(*arguments, **environment):
        usual = {"TANDEM_ENV": "production", "DATABASE_URL": url, "COLUMNS": "200"}
        result = CliRunner().invoke(app, ["explain", *arguments], env={**usual, **environment})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.output, result.exit_code

    return explain


def line(text, name):
    """Return the text after a title at the start of a line."""
    match = re.search(rf"^{name} +(.*)$", text, re.MULTILINE)
    assert match, text
    return match[1]


def sql_of(text):
    """Return the statements shown, with single spaces."""
    return [" ".join(part.split()) for part in re.findall(r"^  SQL\n((?:    .*\n?)+)", text, re.MULTILINE)]


# A new record is inserted and read: on PostgreSQL by one statement.
NEW = ("1, with 2 statements", "1, with 1 statement")
REQUESTS = {
    "a list": (["/users?sort=-age&limit=50"], "listUsers", "a cached plan", "1, with 1 statement"),
    "a record": ([f"/users/{ID}"], "getUser", "a cached plan", "1, with 1 statement"),
    "a URL": ([f"http://localhost:8000/users/{ID}#here"], "getUser", "a cached plan", "1, with 1 statement"),
    "a template": (["/groups/{id}/members?count=exact"], "listGroupMembers", "a cached plan", "1, with 1 statement"),
    "a creation": (["POST /users"], "createUser", "a cached plan", NEW),
    "a creation with a body": (["/groups", "--body", '{"name": "New"}'], "createGroup", "a cached plan", NEW),
    "a change": (["PATCH /users/{id}"], "updateUser", "a cached plan", "1, with 2 statements"),
    "a deletion": (["/groups/{id}", "--method", "delete"], "deleteGroup", "a cached plan", "1, with 1 statement"),
    "the actor's own user": (["/me", "--as", "person"], "getMe", "a cached plan", "1, with 1 statement"),
    "a query": (
        ["{ users { nodes { id groups { totalCount } } } a: groups { totalCount } }"],
        "compiledQuery", "compiled", "1, with 2 statements",
    ),
    "a query with variables": (
        ["query($n: Int!) { users(first: $n) { nodes { id } } }", "--variables", '{"n": 7}'],
        "compiledQuery", "compiled", "1, with 1 statement",
    ),
    "introspection": (
        ["{ __schema { queryType { name } } users { totalCount } }"],
        "interpretedQuery", "interpreted: introspection", "1, with 1 statement",
    ),
    "a mutation": (
        ['mutation { createGroup(input: {name: "New"}) { group { id } } }'],
        "mutation", "interpreted: the fields run one after the other", "1, with 2 statements",
    ),
}  # fmt: skip


@pytest.mark.parametrize("arguments, operation, execution, statements", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.slow
def test_a_request_is_explained_with_its_number_of_statements(
    explain, database_type, arguments, operation, execution, statements
):
    text, code = explain(*arguments)

    assert code == 0, text
    assert line(text, "operation") == operation
    assert line(text, "execution").startswith(execution)
    statements = NEW[database_type == "postgres"] if statements is NEW else statements
    assert line(text, "round trips") == statements
    assert len(sql_of(text)) == int(statements.split()[2])
    assert text.count("  plan of ") == len(sql_of(text))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "path", ["/users?sort=-age&limit=50", "/users?age__gte=3&active=true&count=exact", f"/users/{ID}/groups"]
)
@pytest.mark.slow
def test_the_sql_is_that_of_the_service(explain, populated_database, http_client, statements, path):
    http_client.get(path).raise_for_status()
    read = [statement for statement in statements if statement.startswith(("SELECT", "WITH"))]

    text, _ = explain(path)

    # The service's are shown with their values in place of the question marks.
    (shown,) = sql_of(text)
    pattern = re.escape(shown.replace("( ", "(").replace(" )", ")")).replace(r"\?", "(?:'[^']*'|[0-9]+)")
    (ran,) = (" ".join(sql.split()).replace("( ", "(").replace(" )", ")") for sql in read)
    assert re.fullmatch(pattern, ran)


@pytest.mark.postgres
def test_the_sql_is_that_of_postgresql_on_postgresql(url):
    text, code = explaining(url)("/users?sort=-age&limit=50")

    (shown,) = sql_of(text)
    assert code == 0
    assert "LIMIT $1::INTEGER + 1" in shown
    assert f"plan of {display_name(url)}\n" in text
    assert "cost=" in text


@pytest.mark.slow
def test_parameters_are_shown_with_names_and_values(explain):
    text, _ = explain("/users?age__gte=33&limit=7", "--as", "person")

    assert "no permission to filter users by age" in text

    text, _ = explain("/users?age__gte=33&limit=7")

    assert re.search(r"^    age__gte = 33$", text, re.MULTILINE)
    assert re.search(r"^    limit = 7$", text, re.MULTILINE)


@pytest.mark.slow
def test_the_selection_is_shown(explain):
    text, _ = explain(
        '{ groups(first: 2, filter: {not: {name: {startswith: "x"}}}) { nodes { id members { nodes { age } } } } }'
    )

    section = text[text.index("  selection\n") : text.index("  SQL\n")]
    assert "Junction(operator='not'" in section
    assert re.search(r"Compare\(field='name', operator='startswith', value='\w+'\)", section)
    assert re.search(r"^    groups: ListSelection\(.*order=Order", section, re.MULTILINE) is None
    assert re.search(r"^        members: ListSelection\(page=.*, relation='members'\)$", section, re.MULTILINE)
    assert "age: Scalar(field='age'" in section


@pytest.mark.slow
def test_a_request_is_explained_for_a_role(explain):
    admin, _ = explain("/users")
    reader, _ = explain("/users", "--as", "reader")
    person, _ = explain("/users", "--as", "person")

    assert len({" ".join(sql_of(text)) for text in (admin, reader, person)}) == 3
    assert "actor = the actor's own id" in person
    assert "actor" not in "".join(sql_of(admin))


WARNINGS = {
    "/users": [],
    "/users?sort=-age": [],
    "/users?active=true": [],
    "/users/{id}/groups?count=exact": [],
    "/users?count=exact": ["scans user"],
    "/users?active=true&sort=-age": ["has two alternatives"],
    "/users?first_name__startswith=a&sort=first_name": [],
    "/groups/{id}/members?sort=age": ["sorts without an index"],
    "{ users { nodes { groups { totalCount } } } }": [],
    "{ users(filter: {not: {age: {eq: 3}}}) { nodes { id } } }": ["scans user"],
}


@pytest.mark.parametrize("request_, expected", WARNINGS.items())
@pytest.mark.slow
def test_full_scans_and_sorts_without_an_index_cause_a_warning(explain, database_type, request_, expected):
    text, _ = explain(request_)

    warnings = re.findall(r"^  ! (.*)$", text, re.MULTILINE)
    if database_type == "postgres" and "active=true&sort" in request_:
        expected = ["scans user"]  # in the order of age, for those that are active
    if database_type == "postgres" and "startswith" in request_:
        expected = ["sorts without an index"]
    assert len(warnings) == len(expected), text
    assert all(warning.startswith(start) for warning, start in zip(warnings, expected, strict=True))


REFUSED = {
    "an unknown parameter": (["/users?color=red"], "VALIDATION_FAILED"),
    "a forbidden filter": (["/users?email=a", "--as", "reader"], "FORBIDDEN"),
    "nobody": (["/users", "--as", "nobody"], "UNAUTHENTICATED"),
    "an unknown path": (["/nothing"], "NOT_FOUND"),
    "a wrong method": (["DELETE /users"], "METHOD_NOT_ALLOWED"),
    "an invalid body": (["/users", "--body", '{"age": -1}'], "VALIDATION_FAILED"),
    "a forbidden creation": (["POST /users", "--as", "reader"], "FORBIDDEN"),
    "a forbidden change": (["PATCH /users/{id}", "--as", "reader"], "FORBIDDEN"),
    "an invalid query": (["{ nobody }"], "GRAPHQL_VALIDATION_FAILED"),
    "a missing variable": (["query($n: Int!) { users(first: $n) { nodes { id } } }"], "GRAPHQL_VALIDATION"),
}


@pytest.mark.parametrize("arguments, code", REFUSED.values(), ids=REFUSED)
@pytest.mark.slow
def test_an_error_response_is_shown(explain, arguments, code):
    text, exit_code = explain(*arguments)

    assert exit_code == 1
    assert code in text[text.index("response ") :]


@pytest.mark.postgres
def test_a_trial_changes_nothing_on_postgresql(url):
    insert_records(url, PEOPLE)
    counting = 'SELECT id, version, xmin::text FROM "user" ORDER BY id'
    before = postgres.run(url, counting)

    for request in ("POST /users", f"PATCH /users/{ID}", f"DELETE /users/{ID}", "/users?sort=-age"):
        assert explaining(url)(request)[1] == 0, request

    assert postgres.run(url, counting) == before
    assert postgres.run(url, "SELECT 1 FROM pg_class WHERE relpersistence = 't'") == []


@pytest.mark.postgres
async def test_a_trial_that_loses_its_session_cannot_write(url):
    async with Directory(explain_postgres.read_only_url(url), pool=1) as directory:
        await explain_postgres.create_trial_tables(directory, [USER], [ID])
        await delete(directory.unit_of_work(ADMIN), USER, ID)
        insert_records(url, PEOPLE)
        postgres.run(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'tandem' AND datname = current_database()",
        )

        with pytest.raises(DatabaseUnavailable):
            await delete(directory.unit_of_work(ADMIN), USER, ID)

    assert postgres.run(url, 'SELECT count(*) FROM "user"')[0][0] == len(PEOPLE)


@pytest.mark.postgres
def test_a_trial_requires_a_direct_session_and_migrated_tables(url, postgres_server):
    pooled = explaining(url)("/users", DATABASE_URL=f"{url}&pgbouncer=true")
    empty = explaining(url)("/users", DATABASE_URL=postgres_server)

    assert pooled == ("a trial needs a session of its own: name the server itself, without pgbouncer=true\n", 1)
    assert empty[0].startswith("a trial needs the tables of a migrated database")
    assert empty[1] == 1


@pytest.mark.sqlite
@pytest.mark.slow
def test_no_database_is_changed_or_needed(explain, tmp_path, template):
    path = shutil.copy(template, tmp_path / "there.db")

    for where in (path, tmp_path / "none.db"):
        text, code = explain("POST /users", DATABASE_URL=f"sqlite:///{where}")
        assert code == 0
        assert ("as there is none yet" in text) == (where != path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM user").fetchone() == (0,)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("arguments", [["users"], ["SELECT 1"], ["{ me { id } }", "--variables", "{"], [""]])
def test_an_invalid_request_is_an_error(explain, arguments):
    assert explain(*arguments)[1] == 2
