"""Hostile documents and bodies are refused without a 500, without revealing names, and without delaying others.

Messages have a bounded length, and the event loop is not blocked.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from contextlib import ExitStack

import pytest
from graphql import GraphQLError
from starlette.testclient import TestClient

from api.app import create_app
from schema.engine.model.policy import Actor
from schema.engine.model.resource import resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution import documents
from schema.graphql.execution.errors import MAX_MESSAGE_LENGTH, GraphQLRequestError
from schema.graphql.execution.executor import Executor, GraphQLRequest
from schema.graphql.schema import make_schema
from schema.models import MODELS, User
from tests.conftest import BASE_URL
from tests.fixtures.credentials import bearer, key, production

ROLES = ("reader", "admin")
F = "$f: UserFilter"


def posted(query: str, variables: object = None) -> bytes:
    return json.dumps({"query": query, "variables": variables}).encode()


def doubled(times: int) -> str:
    """Fragments that each spread the next one twice."""
    chain = "".join(f" fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(times))
    return f"{{ ...F0 }}{chain} fragment F{times} on Query {{ __typename }}"


NESTED = "{ users { nodes " + "{ groups { nodes { members { nodes " * 10 + "{ id }" + " } } } }" * 10 + " } }"
HOSTILE: dict[str, bytes] = {
    "many aliases": posted("{" + " ".join(f"a{n}: __typename" for n in range(900)) + "}"),
    "the same field": posted("{" + "__typename " * 1900 + "}"),
    "the same field below": posted("{ users { nodes {" + "id " * 1900 + "} } }"),
    "doubling fragments": posted(doubled(60)),
    "a fragment in itself": posted("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }"),
    "a fragment in itself, below": posted(
        "{ users { nodes { ...A } } } fragment A on User { groups { nodes { members { nodes { ...A } } } } }"
    ),
    "many fragments": posted("{ __typename }" + "".join(f" fragment U{n} on User {{ id }}" for n in range(250))),
    "many directives": posted("{ __typename " + "@skip(if: false) " * 250 + "}"),
    "unknown directives": posted("{ __typename " + "@aa " * 40 + "}"),
    "many operations": posted(" ".join(f"query A{n} {{ __typename }}" for n in range(400))),
    "records in records": posted(NESTED),
    "braces without end": posted("{" * 60_000),
    "brackets without end": b'{"query": "{ __typename }", "variables": {"f": ' + b"[" * 60_000,
    "deep variables": posted(f"query({F}) {{ users(filter: $f) {{ totalCount }} }}", {"f": [[[[[[[[[]]]]]]]]]}),
    "a filter of filters": posted("{ users(filter: " + "{not: " * 60 + "{}" + "}" * 60 + ") { totalCount } }"),
    "many filters": posted(
        f"query({F}) {{ users(filter: $f) {{ totalCount }} }}", {"f": {"or": [{"age": {"eq": 1}}] * 1000}}
    ),
    "many ids": posted("query($i: [ID!]!) { nodes(ids: $i) { id } }", {"i": ["x"] * 2000}),
    "many variables": posted("query(" + ",".join(f"$v{n}: Int" for n in range(600)) + ") { __typename }"),
    "a long name": posted("{" + "a" * 100_000 + "}"),
    "a long number": posted("{ users(first: " + "9" * 50_000 + ") { totalCount } }"),
    "a long number beside it": b'{"query": "{ __typename }", "variables": {"a": ' + b"9" * 50_000 + b"}}",
    "infinity": b'{"query": "{ __typename }", "variables": {"a": 1e9999}}',
    "no number": b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    "half a character": b'{"query": "query($i: ID!) { user(id: $i) { id } }", "variables": {"i": "\\ud800"}}',
    "no character": b'{"query": "\xff\xfe"}',
    "nothing": posted('query { users(filter: {firstName: {eq: "\\u0000"}}) { totalCount } }'),
    "a schema": posted("type A { b: C }"),
    "a batch": b'[{"query": "{ __typename }"}]',
    "a persisted query": b'{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0"}}}',
    "many unknown arguments": posted("{ users(" + ",".join(f"a{n}: 1" for n in range(600)) + ") { totalCount } }"),
    "no cursor": posted('{ users(after: "' + "A" * 50_000 + '") { totalCount } }'),
    "an introspection in itself": posted(
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }"
    ),
}


@pytest.fixture(scope="module")
def database_file(template, tmp_path_factory):
    return shutil.copy(template, tmp_path_factory.mktemp("documents") / "tandem.db")


@pytest.fixture(scope="module")
def http_client(database_file):
    with ExitStack() as stack:
        yield stack.enter_context(TestClient(create_app(production(database_file)), base_url=BASE_URL))


@pytest.fixture(scope="module")
def keys(database_file):
    return {role: bearer(key(database_file, role)) for role in ROLES}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.slow
def test_hostile_documents_get_an_orderly_response(http_client, keys, name):
    for role in (*ROLES, None):
        response = http_client.post(
            "/graphql", content=HOSTILE[name], headers={"content-type": "application/json", **keys.get(role, {})}
        )

        assert response.status_code in ((200, 400, 413) if role else (401,))
        assert len(response.content) < 65_536
        assert "INTERNAL" not in response.text
        assert "Traceback" not in response.text


FILTERED = "{ users(filter: $f) { totalCount } }"
ONE = {"firstName": {"eq": "x"}}
CONDITIONS: dict[str, tuple[str, object, bool]] = {
    "as many as there may be": (FILTERED, {"or": [ONE] * 99}, True),
    "one more": (FILTERED, {"or": [ONE] * 100}, False),
    "some that ask nothing": (FILTERED, {"and": [{}] * 100}, False),
    "some in each other": (FILTERED, {"and": [{"or": [ONE] * 10}] * 10}, False),
    "half of them in each of two fields": (
        f"{{ a: users(filter: $f) {{ totalCount }} {FILTERED[1:]}",
        {"or": [ONE] * 49},
        True,
    ),
    "more in one than in the other": (
        f"{{ a: users(filter: $f) {{ totalCount }} {FILTERED[1:]}",
        {"or": [ONE] * 50},
        False,
    ),
    "below": (
        f"{{ groups {{ nodes {{ members(filter: $f) {{ totalCount }} }} }} {FILTERED[1:]}",
        {"or": [ONE] * 50},
        False,
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_filter_conditions_are_limited(http_client, keys, name):
    query, conditions, allowed = CONDITIONS[name]
    body = {"query": f"query({F}) {query}", "variables": {"f": conditions}}

    # The third time uses a cached plan: conditions must not be counted twice.
    responses = [http_client.post("/graphql", json=body, headers=keys["reader"]).json() for _ in range(3)]

    for response in responses:
        assert ("data" in response) == allowed
        assert allowed or response["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"


def test_conditions_of_a_new_filter_are_counted_once(http_client, keys):
    query = f"query({F}) {FILTERED}"

    for parts in ([ONE], [ONE] * 2, [ONE] * 98, [ONE] * 99):
        body = {"query": query, "variables": {"f": {"or": parts}}}
        assert "errors" not in http_client.post("/graphql", json=body, headers=keys["reader"]).json()


@pytest.mark.parametrize(
    "query, variables",
    [
        ("{ users(filter: {firstNam: {eq: 1}}) { totalCount } }", None),
        ("query($f: UserFilter) { users(filter: $f) { totalCount } }", {"f": {"firstNam": {}}}),
        ("{ users(sort: [{field: FIRST_NAM}]) { totalCount } }", None),
        ("{ ...A } fragment A on Usr { id }", None),
        ("{ __typename @skp(if: true) }", None),
    ],
)
def test_messages_suggest_no_names(http_client, keys, query, variables):
    responses = [
        http_client.post("/graphql", content=posted(query, variables), headers=JSON | keys[role]) for role in ROLES
    ]

    assert all("errors" in response.json() for response in responses)
    assert "ou mean" not in responses[0].text


def test_equal_errors_are_merged_with_their_locations(http_client, keys):
    response = http_client.post(
        "/graphql", content=posted("{ __typename @aa @aa @aa }"), headers=JSON | keys["reader"]
    ).json()

    assert [error["message"] for error in response["errors"]] == ["Unknown directive '@aa'."]
    assert len(response["errors"][0]["locations"]) == 3


def test_a_long_message_is_truncated(http_client, keys):
    response = http_client.post(
        "/graphql", content=posted("{" + "a" * 9000 + "}"), headers=JSON | keys["reader"]
    ).json()

    assert len(response["errors"][0]["message"]) == MAX_MESSAGE_LENGTH + 1


JSON = {"content-type": "application/json"}


@pytest.mark.usefixtures("without_replay")
@pytest.mark.slow
async def test_a_long_document_does_not_block_the_event_loop(directory: Directory, monkeypatch):
    """Documents are parsed in a thread, one at a time."""
    executor = Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))
    validated_in: list[int] = []

    def validate(*arguments):
        validated_in.append(threading.get_ident())
        time.sleep(0.01)
        return []

    monkeypatch.setattr(documents, "validate", validate)

    async def ask(number: int, blanks: int) -> None:
        await executor.run(GraphQLRequest(f"{{ a{number}: __typename {' ' * blanks}}}", {}), directory, Actor())

    await asyncio.gather(*(ask(number, documents.SHORT) for number in range(5)))
    threads = set(validated_in)
    await ask(0, 0)

    assert (len(validated_in), len(threads)) == (6, 1)
    assert threading.get_ident() not in threads
    assert validated_in[-1] == threading.get_ident()


async def test_a_long_document_gets_the_same_errors_as_a_short_one(directory: Directory):
    executor = Executor(make_schema([resource_of(model) for model in MODELS], resource_of(User)))

    for blanks in (0, documents.SHORT):
        with pytest.raises(GraphQLRequestError, match="Cannot query field 'x'"):
            await executor.run(GraphQLRequest("{ x " + " " * blanks + "}", {}), directory, Actor())


@pytest.mark.parametrize(
    "message, left",
    [
        ("No 'a'. Did you mean 'b'? Found c.", "No 'a'. Found c."),
        ("No 'a'. Did you mean 'b'? Did you mean 'c'?", "No 'a'."),
        ("x" * 980 + " Did you mean 'secret_name'?", "x" * 980),
    ],
)
def test_suggestions_are_removed_from_truncated_messages(message, left):
    refused = GraphQLRequestError([GraphQLError(message)], "GRAPHQL_VALIDATION_FAILED").without_suggestions()

    assert [error["message"] for error in refused.errors] == [left]
