"""A GraphQL document over a limit is refused before validation, with its fragments expanded."""

from __future__ import annotations

import time

import pytest
from starlette.testclient import TestClient

from tests.conftest import BASE_URL, CLIENT_ADDRESS, settings_for
from tests.fixtures.in_process import in_process_app

ALIASES = " ".join(f"a{n}: id" for n in range(31))
DOUBLING = "{ users { nodes { ...F0 } } } " + " ".join(
    f"fragment F{n} on User {{ ...F{n + 1} ...F{n + 1} }}" for n in range(60)
)
SPREAD = "{ users { nodes { " + " ".join(f"...F{n}" for n in range(101)) + " } } } "
SPREAD += " ".join(f"fragment F{n} on User {{ id }}" for n in range(101))


@pytest.mark.parametrize(
    "query, message",
    [
        (f"{{ users {{ nodes {{ {ALIASES} }} }} }}", "at most 30 aliases, got 31"),
        (f"{{ users {{ nodes {{ ...F }} }} }} fragment F on User {{ {ALIASES} }}", "at most 30 aliases, got 31"),
        ("{ " + " ".join(f"a{n}: __typename" for n in range(21)) + " }", "at most 20 root fields, got 21"),
        (
            "{ users " + "{ nodes { groups { nodes { members " * 4 + "{ __typename" + " }" * 18,
            "at most 15 levels, got 18",
        ),
        ("{ __typename" + " @include(if: true)" * 51 + " }", "at most 50 directives, got 51"),
        ("{ __typename" + " __typename" * 2000 + " }", "2000 tokens"),
        ("{ users(first: " + "9" * 5000 + ") { totalCount } }", "a number must have at most 400 digits, got 5000"),
        ("{ users(first: 1." + "9" * 5000 + ") { totalCount } }", "at most 400 digits, got 5002"),
        ("{ users { nodes {" + " id" * 32 + " } } }", "at most 30 repeated fields, got 31"),
        ("{ users { nodes { ...F } } } fragment F on User {" + " id" * 32 + " }", "30 repeated fields, got 31"),
        ("{ a " * 650 + "}" * 650, "nested too deeply"),
        (
            "{ users { nodes { " + "... { groups { nodes { id } } } " * 150 + "} } }",
            "at most 5000 selections and pairs",
        ),
        ("{ users { nodes { " + "... { id } " * 101 + "} } }", "at most 5000 selections and pairs"),
        (SPREAD, "at most 5000 selections and pairs"),
        ("\n" * 4000 + "{ __typename }", "at most 4000 lines, got 4001"),
        ("\r" * 4000 + "{ __typename }", "at most 4000 lines, got 4001"),
        (DOUBLING + " fragment F60 on User { a: id }", "at most 30 aliases, got more than 999999"),
        (
            "{ users(first: 100) { nodes { groups(first: 100) { nodes { id } } } } }",
            "at most 10000 records, could return 10100",
        ),
    ],
)
def test_a_document_over_a_limit_is_refused_with_its_count(http_client, query, message):
    response = http_client.post("/graphql", json={"query": query}).json()

    assert "data" not in response
    assert [error["extensions"]["code"] for error in response["errors"]] == ["QUERY_TOO_COMPLEX"]
    assert message in response["errors"][0]["message"]


@pytest.mark.parametrize(
    "query",
    [
        "{ users(first: 99) { nodes { groups(first: 100) { nodes { id } } } } }",
        "{ " + " ".join(f"a{n}: __typename" for n in range(20)) + " }",
        "{ users { nodes {" + " id" * 31 + " } } }",
        "{ __typename } #" + " a" * 3000,
        "\n" * 3999 + "{ __typename }",
        "{ users { nodes { " + "... { id } " * 90 + "} } }",
        "{ users { nodes { " + "...F " * 300 + "} } } fragment F on User { id groups { nodes { id } } }",
        "{ users { nodes { ...F0 } } } "
        + " ".join(f"fragment F{n} on User {{ id __typename ...F{n + 1} }}" for n in range(40))
        + " fragment F40 on User { id }",
        '{ users(filter: {firstName: {eq: "' + "a " * 3000 + '"}}) { totalCount } }',
        '{ users(filter: {firstName: {eq: """' + 'a "" ' * 3000 + '"""}}) { totalCount } }',
    ],
)
def test_a_document_at_the_limit_is_accepted(http_client, query):
    assert "data" in http_client.post("/graphql", json={"query": query}).json()


def test_a_page_size_in_a_variable_counts_with_its_value(http_client):
    query = "query($n: Int) { users(first: $n) { nodes { groups(first: $n) { nodes { id } } } } }"

    few = http_client.post("/graphql", json={"query": query, "variables": {"n": 10}}).json()
    many = http_client.post("/graphql", json={"query": query, "variables": {"n": 100}}).json()

    assert "data" in few
    assert "at most 10000 records, could return 10100" in many["errors"][0]["message"]


def test_values_are_counted_before_they_are_parsed(http_client):
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"

    many = http_client.post("/graphql", json={"query": query, "variables": {"ids": ["x"] * 2501}})
    text = http_client.post("/graphql", json={"query": "{ __typename } #" + "," * 3000})

    assert many.status_code == 400
    assert many.json()["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    assert "data" in text.json()


@pytest.mark.parametrize(
    "name, value, query",
    [
        ("TANDEM_GRAPHQL_DEPTH", "2", "{ users { nodes { id } } }"),
        ("TANDEM_GRAPHQL_RECORDS", "19", "{ users { nodes { id } } }"),
    ],
)
def test_depth_and_records_are_settings(template, name, value, query):
    with TestClient(
        in_process_app(settings_for(template, **{name: value})), base_url=BASE_URL, client=CLIENT_ADDRESS
    ) as http_client:
        response = http_client.post("/graphql", json={"query": query}).json()

    assert response["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"


def test_a_payload_over_the_limit_changes_nothing(http_client):
    payload = "user { groups(first: 100) { nodes { members(first: 100) { nodes { id } } } } }"
    query = f'mutation {{ createUser(input: {{firstName: "Ada", age: 36}}) {{ {payload} }} }}'

    response = http_client.post("/graphql", json={"query": query}).json()

    assert response["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    assert http_client.get("/users").json()["items"] == []


def test_recursive_fragments_fail_validation(http_client):
    query = "{ users { nodes { ...A } } } fragment A on User { id ...B } fragment B on User { ...A }"

    response = http_client.post("/graphql", json={"query": query}).json()

    assert response["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


def test_exponential_fragments_are_refused_quickly(http_client):
    started = time.process_time()

    http_client.post("/graphql", json={"query": DOUBLING + " fragment F60 on User { a: id }"})

    # Expanded, this is 2**60 fields, and would never end.
    assert time.process_time() - started < 60
