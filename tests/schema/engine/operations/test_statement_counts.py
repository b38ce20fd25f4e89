"""The number of statements: a read is one statement, however much it returns; a write is one transaction."""

from __future__ import annotations

import asyncio

import pytest

from schema.engine.operations import records
from schema.engine.query.selection import Scalar, Selection
from tests.fixtures.clients import ADMIN, RESOURCES, USER, ApiError, user_actor
from tests.fixtures.people import GROUPS, PEOPLE

WHOLE = Selection((("id", Scalar("id")),))


ADA, BOB = PEOPLE[:2]

pytestmark = pytest.mark.usefixtures("populated_database")


def words(statements):
    """The first word of each statement. A WITH belongs to a SELECT."""
    return [statement.split()[0].replace("WITH", "SELECT") for statement in statements]


def words_of_ours(statements):
    """The same without settings, and without what triggers do: that is reported under what set them off."""
    ours = [sql for sql in statements if not sql.startswith(("--", "PRAGMA")) and "'main'." not in sql]
    return words([sql for index, sql in enumerate(ours) if index == 0 or sql != ours[index - 1]])


READS = {
    "one": lambda client, user: client.get("user", user["id"]),
    "a list of 50": lambda client, user: client.find("user", size=50),
    "a counted one": lambda client, user: client.find("user", size=50, count="exact"),
    "a filtered, sorted one": lambda client, user: client.find(
        "user", sort="-age", age__gte=3, first_name__startswith="p"
    ),
    "a later page": lambda client, user: client.find(
        "user", sort="-age", after=client.find("user", sort="-age", size=5).next
    ),
    "a list below": lambda client, user: client.find("user", ("groups", user["id"]), size=50, count="exact"),
    "me": lambda client, user: client.as_actor(user_actor(user)).me(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_is_one_statement(client, statements, read):
    read(client, ADA)
    statements.clear()

    read(client, BOB)

    assert words(statements) in (["SELECT"], ["SELECT", "SELECT"] if read is READS["a later page"] else [])


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_nested_lists_are_still_one_statement(graphql, statements, depth):
    below = "id"
    for level in reversed(range(depth)):
        relation = "groups" if level % 2 == 0 else "members"
        below = f"id {relation}(first: 2) {{ totalCount pageInfo {{ hasNextPage }} nodes {{ {below} }} }}"
    query = f"{{ users(first: 50) {{ nodes {{ {below} }} }} }}"
    statements.clear()

    page = graphql.execute(query)["users"]["nodes"]

    assert len(page) == len(PEOPLE)
    assert words(statements) == ["SELECT"]


def test_nesting_is_limited(graphql):
    below = "id"
    for level in reversed(range(14)):
        below = f"{'groups' if level % 2 == 0 else 'members'}(first: 1) {{ nodes {{ {below} }} }}"

    with pytest.raises(ApiError, match="QUERY_TOO_COMPLEX"):
        graphql.execute(f"{{ users(first: 1) {{ nodes {{ {below} }} }} }}")


@pytest.mark.sqlite
def test_several_root_fields_are_one_statement_each_in_one_snapshot(graphql, statements):
    query = """query($id: ID!) {
        a: users { nodes { id } } user(id: $id) { id } b: groups { totalCount } nodes(ids: [$id]) { id } }"""
    statements.clear()

    graphql.execute(query, id=ADA["id"])

    assert words(statements) == ["BEGIN", *["SELECT"] * (3 + len(RESOURCES)), "ROLLBACK"]


@pytest.mark.sqlite
def test_a_node_of_any_model_is_one_statement_a_model(graphql, statements):
    statements.clear()

    graphql.execute("query($id: ID!) { node(id: $id) { id } }", id=ADA["id"])

    assert words(statements) == ["BEGIN", *["SELECT"] * len(RESOURCES), "ROLLBACK"]


def test_unselected_fields_are_not_read(graphql, statements):
    graphql.create("user", first_name="Ada", age=36, email="ada@example.com")
    statements.clear()

    graphql.execute("{ users { nodes { firstName } } }")

    (statement,) = statements
    assert "first_name" in statement
    assert not [name for name in ("email", "last_name", "age", "version", "count(") if name in statement]


OPEN, CLOSE = ["BEGIN", "SAVEPOINT"], ["RELEASE", "COMMIT"]
WRITES = {
    "create": (lambda client, user: client.create("user", first_name="Ada", age=1), ["INSERT", "SELECT"]),
    "update": (lambda client, user: client.update("user", user["id"], age=99), ["UPDATE", "SELECT"]),
    "update nothing": (lambda client, user: client.update("user", user["id"]), ["UPDATE", "SELECT", "SELECT"]),
    "call": (lambda client, user: client.call("deactivate", "user", user["id"]), ["UPDATE", "SELECT"]),
    "delete": (lambda client, user: client.delete("user", user["id"]), ["DELETE"]),
}


@pytest.mark.sqlite
@pytest.mark.parametrize("operation, inside", WRITES.values(), ids=WRITES)
def test_a_write_is_one_transaction(client, statements, operation, inside):
    statements.clear()

    operation(client, BOB)

    assert words_of_ours(statements) == [*OPEN, *inside, *CLOSE]


@pytest.mark.sqlite
@pytest.mark.parametrize("operation", ["update", "call", "delete"])
def test_sqlite_counts_the_changed_rows_without_returning_them(client, statements, operation):
    statements.clear()

    WRITES[operation][0](client, BOB)

    assert not [statement for statement in statements if "RETURNING" in statement]


@pytest.mark.sqlite
@pytest.mark.parametrize("operation", ["link", "unlink"])
def test_linking_and_unlinking_is_one_transaction(client, statements, operation):
    statements.clear()

    getattr(client, operation)("group", GROUPS[0]["id"], "members", BOB["id"])

    executed = words(statements)
    assert (executed[:2], executed[-2:]) == (OPEN, CLOSE)
    assert (executed.count("BEGIN"), executed.count("COMMIT")) == (1, 1)
    assert executed.count({"link": "INSERT", "unlink": "DELETE"}[operation]) == 1


@pytest.mark.sqlite
def test_a_refused_write_leaves_its_savepoint_empty(client, statements):
    client.create("user", first_name="Ada", age=1, email="ada@example.com")
    statements.clear()

    with pytest.raises(ApiError, match="CONFLICT"):
        client.create("user", first_name="Ada", age=1, email="ada@example.com")

    assert words_of_ours(statements) == [*OPEN, "INSERT", "ROLLBACK", *CLOSE]


def test_a_forbidden_write_is_refused_without_a_query(client, statements):
    nobody = client.as_actor(user_actor("nobody"))
    statements.clear()

    with pytest.raises(ApiError, match="FORBIDDEN"):
        nobody.create("user", first_name="Ada", age=1)

    assert statements == []


@pytest.mark.sqlite
def test_writes_that_wait_together_share_one_commit(http_client, statements):
    async def create_many():
        works = (http_client.app.state.directory.unit_of_work(ADMIN) for _ in range(100))
        return await asyncio.gather(
            *(
                records.create(unit_of_work, USER, {"first_name": "P", "age": number}, WHOLE)
                for number, unit_of_work in enumerate(works)
            )
        )

    statements.clear()
    created = http_client.portal.call(create_many)

    assert len({id for id, _ in created}) == 100
    assert words(statements).count("COMMIT") == words(statements).count("BEGIN") == 1
    assert words(statements).count("SAVEPOINT") == 100


def test_mutations_of_one_request_are_one_transaction_each(graphql, statements):
    statements.clear()

    graphql.execute(
        """mutation { a: createGroup(input: {name: "A"}) { group { id } }
                      b: createGroup(input: {name: "B"}) { group { id } } }"""
    )

    assert words(statements).count("BEGIN") == words(statements).count("COMMIT") == 2
