"""`node` and `nodes` find records by id; an unknown id is null without an error."""

from __future__ import annotations

import pytest

from tests.fixtures.people import GROUPS, PEOPLE

pytestmark = pytest.mark.usefixtures("populated_database")

USER, GROUP = PEOPLE[0], GROUPS[0]
UNKNOWN = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"
WORDS = "__typename id ... on User { firstName } ... on Group { name }"


def test_node_finds_records_of_every_type(graphql):
    query = f"query($user: ID!, $group: ID!) {{ a: node(id: $user) {{ {WORDS} }} b: node(id: $group) {{ {WORDS} }} }}"

    data = graphql.execute(query, user=USER["id"], group=GROUP["id"])

    assert data == {
        "a": {"__typename": "User", "id": USER["id"], "firstName": USER["first_name"]},
        "b": {"__typename": "Group", "id": GROUP["id"], "name": GROUP["name"]},
    }


def test_nodes_keep_the_order_of_ids_with_gaps_and_repeats(graphql):
    ids = [GROUP["id"], UNKNOWN, USER["id"], "no-uuid", GROUP["id"], USER["id"].upper(), ""]

    data = graphql.execute(f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ {WORDS} }} }}", ids=ids)["nodes"]

    types = [node and node["__typename"] for node in data]
    assert types == ["Group", None, "User", None, "Group", "User", None]
    assert data[5]["id"] == USER["id"]


@pytest.mark.parametrize(
    "id", [UNKNOWN, "no-uuid", "", "x" * 1000, "1", USER["id"][:-1], f" {USER['id']}"], ids=lambda id: id[:12]
)
def test_an_unknown_id_is_null_without_an_error(graphql, id):
    query = (
        "query($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } user(id: $id) { id } group(id: $id) { id } }"
    )

    response = graphql.response(query, id=id)

    assert response == {"data": {"node": None, "nodes": [None], "user": None, "group": None}}


def test_an_id_of_another_model_is_unknown(graphql):
    query = "query($user: ID!, $group: ID!) { user(id: $group) { id } group(id: $user) { id } }"

    assert graphql.execute(query, user=USER["id"], group=GROUP["id"]) == {"user": None, "group": None}


@pytest.mark.parametrize("count, code", [(0, None), (250, None), (251, "VALIDATION_FAILED")])
def test_at_most_250_ids_are_allowed(graphql, count, code):
    response = graphql.response("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[UNKNOWN] * count)

    if code is None:
        assert response == {"data": {"nodes": [None] * count}}
    else:
        assert response["errors"][0]["extensions"]["code"] == code


def test_a_numeric_id_is_unknown(graphql):
    assert graphql.execute("{ user(id: 7) { id } }") == {"user": None}


def test_interpreted_nodes_have_types_without_typename(graphql):
    query = 'query($id: ID!) { __schema { queryType { name } } node(id: $id) { id } nodes(ids: [$id, "x"]) { i: id } }'

    data = graphql.execute(query, id=GROUP["id"])

    assert data["node"] == {"id": GROUP["id"]}
    assert data["nodes"] == [{"i": GROUP["id"]}, None]
