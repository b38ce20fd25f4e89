"""Mutations run one after another, each in a transaction of its own, and their payloads show the result."""

from __future__ import annotations

import pytest

from tests.fixtures.clients import ApiError

UNKNOWN = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"


def test_mutations_run_in_document_order(graphql):
    group = graphql.create("group", name="Engine")
    fields = [
        f'm{number}: updateGroup(input: {{id: "{group["id"]}", name: "N{number}"}}) {{ group {{ name version }} }}'
        for number in range(9)
    ]

    data = graphql.execute(f"mutation {{ {' '.join(fields)} }}")

    assert data == {f"m{number}": {"group": {"name": f"N{number}", "version": number + 2}} for number in range(9)}


def test_a_failed_mutation_changes_nothing_and_is_the_last(graphql):
    """A payload is never null, so an error makes `data` null and ends the operation; earlier mutations stay."""
    query = """mutation {
        a: createUser(input: {firstName: "A", age: 1, email: "a@example.com"}) { user { firstName } }
        b: createUser(input: {firstName: "B", age: 1, email: "A@example.com"}) { user { firstName } }
        c: createUser(input: {firstName: "C", age: 1}) { user { firstName } } }"""

    response = graphql.response(query)

    (error,) = response["errors"]
    assert (response["data"], error["path"], error["extensions"]["code"]) == (None, ["b"], "CONFLICT")
    assert [field_error["pointer"] for field_error in error["extensions"]["errors"]] == ["/input/email"]
    assert [row["first_name"] for row in graphql.find("user").items] == ["A"]


def test_a_payload_is_selected_like_any_record(graphql):
    query = """mutation($input: CreateUserInput!) { created: createUser(input: $input) {
        __typename one: user { ...F } user { name: firstName groups { totalCount nodes { id } } } } }
        fragment F on User { __typename id years: age }"""

    data = graphql.execute(query, input={"firstName": "Ada", "age": 36})["created"]

    id = data["one"].pop("id")
    assert data == {
        "__typename": "CreateUserPayload",
        "one": {"__typename": "User", "years": 36},
        "user": {"name": "Ada", "groups": {"totalCount": 0, "nodes": []}},
    }
    assert graphql.get("user", id)["first_name"] == "Ada"


@pytest.mark.parametrize("skip", [True, False])
def test_a_skipped_mutation_does_not_run(graphql, skip):
    query = 'mutation($skip: Boolean!) { createGroup(input: {name: "A"}) @skip(if: $skip) { group { id } } __typename }'

    data = graphql.execute(query, skip=skip)

    assert ("createGroup" in data) == (not skip)
    assert graphql.find("group", count="exact").total == (0 if skip else 1)


def test_omitted_and_null_differ(graphql):
    user = graphql.create("user", first_name="Ada", last_name="Lovelace", age=36, email="ada@example.com")
    query = """mutation($id: ID!, $last: String, $mail: String) {
        updateUser(input: {id: $id, lastName: $last, email: $mail}) { user { lastName email } } }"""

    user = graphql.execute(query, id=user["id"], mail=None)["updateUser"]["user"]

    assert user == {"lastName": "Lovelace", "email": None}


@pytest.mark.parametrize(
    "field",
    [
        f'updateUser(input: {{id: "{UNKNOWN}", age: 1}}) {{ user {{ id }} }}',
        f'deleteUser(input: {{id: "{UNKNOWN}"}}) {{ deletedId }}',
        'deleteUser(input: {id: "no-uuid"}) { deletedId }',
        f'deactivateUser(input: {{id: "{UNKNOWN}"}}) {{ user {{ id }} }}',
        f'addGroupMember(input: {{groupId: "{UNKNOWN}", userId: "{UNKNOWN}"}}) {{ role }}',
        f'removeGroupMember(input: {{groupId: "{UNKNOWN}", userId: "x"}}) {{ role }}',
    ],
)
def test_unknown_ids_are_not_found(graphql, field):
    with pytest.raises(ApiError, match="NOT_FOUND"):
        graphql.execute(f"mutation {{ {field} }}")


@pytest.mark.parametrize("version, code", [(1, "VERSION_MISMATCH"), (2, None), (None, None)])
def test_if_version_guards_every_change(graphql, version, code):
    user = graphql.create("user", first_name="Ada", age=36)
    graphql.update("user", user["id"], age=37)
    query = "mutation($id: ID!, $v: Int) { deleteUser(input: {id: $id, ifVersion: $v}) { deletedId } }"

    response = graphql.response(query, id=user["id"], v=version)

    assert [error["extensions"]["code"] for error in response.get("errors", [])] == ([code] if code else [])
