"""The smallest request works on a fresh start, and what one API creates the other shows in the next call."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures.in_process import in_process_app

SMALLEST = {"first_name": "Ada", "age": 36}


@pytest.fixture
def fresh(settings):
    """The service as `dev.py run` starts it: its own access rules, an empty directory."""
    with TestClient(in_process_app(settings), base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        yield http_client


def test_a_user_created_in_rest_is_visible_in_graphql_at_once(fresh):
    created = fresh.post("/users", json=SMALLEST)
    shown = fresh.post("/graphql", json={"query": "{ users { nodes { id firstName age version } } }"})

    assert created.status_code == 201
    assert created.headers["location"] == f"/users/{created.json()['id']}"
    assert shown.json() == {
        "data": {"users": {"nodes": [{"id": created.json()["id"], "firstName": "Ada", "age": 36, "version": 1}]}}
    }


def test_a_user_created_in_graphql_is_visible_in_rest_at_once(fresh):
    query = 'mutation { createUser(input: {firstName: "Ada", age: 36}) { user { id } } }'

    created = fresh.post("/graphql", json={"query": query}).json()["data"]["createUser"]["user"]
    shown = fresh.get(f"/users/{created['id']}")

    assert shown.status_code == 200
    assert {**shown.json(), **SMALLEST, "version": 1} == shown.json()


def test_the_first_response_is_complete(fresh):
    row = fresh.post("/users", json=SMALLEST).json()

    assert list(row) == [
        "id", "first_name", "last_name", "age", "email", "external_id", "active", "created_at", "updated_at", "version",
    ]  # fmt: skip
    assert [row[name] for name in ("last_name", "email", "external_id", "active")] == [None, None, None, True]
    assert row["created_at"] == row["updated_at"]
