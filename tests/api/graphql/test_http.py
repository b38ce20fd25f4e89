"""GraphQL over HTTP follows the draft specification: media types, statuses, methods, and request bodies.

https://graphql.github.io/graphql-over-http/draft/
"""

from __future__ import annotations

import json

import pytest

JSON, RESPONSE = "application/json", "application/graphql-response+json"
HELLO = '{ greeting(name: "Ada") }'
HELLO_ADA = {"data": {"greeting": "Hello, Ada!"}}
CREATE_GROUP = 'mutation { createGroup(input: {name: "Engine"}) { group { name } } }'


def post(http_client, body, **headers):
    """Send a body; bytes are sent as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http_client.post("/graphql", content=content, headers={"content-type": JSON, **headers})


def media_type(response):
    return response.headers["content-type"].partition(";")[0]


@pytest.mark.parametrize(
    "accept, media",
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (RESPONSE, RESPONSE),
        (f"{RESPONSE}, {JSON};q=0.9", RESPONSE),
        (f"{RESPONSE};q=0.9, {JSON}", JSON),
        (f"{RESPONSE}; charset=utf-8, {JSON}; charset=utf-8", RESPONSE),
        (f"{JSON}, {RESPONSE}", JSON),
        (f"{RESPONSE}, {JSON}", RESPONSE),
        ("text/html, */*;q=0.1", JSON),
        (f"text/html, {RESPONSE};q=0.5", RESPONSE),
        (f"{JSON};q=0, {RESPONSE}", RESPONSE),
    ],
)
def test_the_response_has_the_preferred_media_type(http_client, accept, media):
    headers = {} if accept is None else {"accept": accept}

    response = post(http_client, {"query": HELLO}, **headers)

    assert (response.status_code, media_type(response), response.json()) == (200, media, HELLO_ADA)
    assert response.headers["content-type"].endswith("; charset=utf-8")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", f"{JSON};q=0", "image/*"])
def test_an_unavailable_media_type_is_406(http_client, accept):
    assert post(http_client, {"query": HELLO}, accept=accept).status_code == 406


UNREADABLE = {
    "null": b"null",
    "a list": b"[]",
    "a batch": b'[{"query": "{ __typename }"}]',
    "a string": b'"{ __typename }"',
    "a number": b"1",
    "true": b"true",
    "nothing": b"",
    "blank": b"  ",
    "no JSON": b"{",
    "a trailing comma": b'{"query": "{ __typename }",}',
    "graphql": b"{ __typename }",
    "no query": b"{}",
    "query null": b'{"query": null}',
    "query a number": b'{"query": 1}',
    "query a list": b'{"query": ["{ __typename }"]}',
    "variables a list": b'{"query": "{ __typename }", "variables": []}',
    "variables a string": b'{"query": "{ __typename }", "variables": "{}"}',
    "operationName a number": b'{"query": "{ __typename }", "operationName": 1}',
    "extensions a list": b'{"query": "{ __typename }", "extensions": []}',
    "not UTF-8": b'{"query": "\xff"}',
    "UTF-16": '{"query": "{ __typename }"}'.encode("utf-16"),
    "a lone surrogate": b'{"query": "\\ud800"}',
    "NaN": b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    "twice the same key": b'{"query": "{ __typename }", "query": "{ __typename }"}',
    "100,000 levels": b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "100,000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "5,000 digits": b'{"query": "{ __typename }", "variables": {"a": ' + b"9" * 5000 + b"}}",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("media", [JSON, RESPONSE], ids=["json", "response"])
def test_an_unreadable_body_is_400_with_a_message(http_client, body, media):
    response = post(http_client, body, accept=media)

    assert (response.status_code, media_type(response)) == (413 if len(body) > 128 * 1024 else 400, media)
    (error,) = response.json()["errors"]
    assert error["message"]
    assert error["extensions"]["code"] == ("PAYLOAD_TOO_LARGE" if response.status_code == 413 else "BAD_REQUEST")
    assert "data" not in response.json()


REQUEST_ERRORS = {
    "syntax": ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    "nothing": ({"query": ""}, "GRAPHQL_PARSE_FAILED"),
    "a comment": ({"query": "# nothing"}, "GRAPHQL_PARSE_FAILED"),
    "no such field": ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    "no selection": ({"query": "{ users }"}, "GRAPHQL_VALIDATION_FAILED"),
    "no such argument": ({"query": "{ users(limit: 1) { totalCount } }"}, "GRAPHQL_VALIDATION_FAILED"),
    "a fragment alone": ({"query": "fragment F on User { id }"}, "GRAPHQL_VALIDATION_FAILED"),
    "a variable too few": ({"query": "query($id: ID!) { user(id: $id) { id } }"}, "GRAPHQL_VALIDATION_FAILED"),
    "a variable of another type": (
        {"query": "query($n: Int) { users(first: $n) { totalCount } }", "variables": {"n": "x"}},
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "a variable with an unknown member": (
        {"query": "query($f: UserFilter) { users(filter: $f) { totalCount } }", "variables": {"f": {"x": 1}}},
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "no such operation": ({"query": "query A { __typename }", "operationName": "B"}, "GRAPHQL_VALIDATION_FAILED"),
    "which operation": ({"query": "query A { __typename } query B { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
    "a subscription": ({"query": "subscription { users }"}, "GRAPHQL_VALIDATION_FAILED"),
}


@pytest.mark.parametrize("request_body, code", REQUEST_ERRORS.values(), ids=REQUEST_ERRORS)
@pytest.mark.parametrize("media, status", [(JSON, 200), (RESPONSE, 400)], ids=["json", "response"])
def test_a_request_error_has_errors_and_no_data(http_client, request_body, code, media, status):
    response = post(http_client, request_body, accept=media)

    assert (response.status_code, media_type(response)) == (status, media)
    assert "data" not in response.json()
    assert {error["extensions"]["code"] for error in response.json()["errors"]} == {code}
    assert all(error["message"] for error in response.json()["errors"])


@pytest.mark.parametrize("media", [JSON, RESPONSE], ids=["json", "response"])
@pytest.mark.parametrize(
    "query, data",
    [
        ("{ users(first: 101) { totalCount } }", None),
        ("{ a: greeting(name: \"A\") me { id } }", {"a": "Hello, A!", "me": None}),
        ('mutation { deleteUser(input: {id: "x"}) { deletedId } }', None),
    ],
)  # fmt: skip
def test_an_executed_operation_is_200_even_with_errors(http_client, query, data, media):
    response = post(http_client, {"query": query}, accept=media)

    assert (response.status_code, response.json()["data"]) == (200, data)
    assert ("errors" in response.json()) == (data is None)


def test_an_error_has_its_path_location_and_code(http_client):
    query = '{\n  ok: greeting(name: "A")\n  bad: users(first: 101) { totalCount }\n}'

    (error,) = post(http_client, {"query": query}).json()["errors"]

    assert error["path"] == ["bad"]
    assert error["locations"] == [{"line": 3, "column": 3}]
    assert error["extensions"]["code"] == "VALIDATION_FAILED"
    assert [field_error["pointer"] for field_error in error["extensions"]["errors"]] == ["/first"]


def test_get_runs_queries(http_client):
    params = {"query": "query Q($n: String!) { greeting(name: $n) }", "variables": '{"n": "Ada"}', "operationName": "Q"}

    assert http_client.get("/graphql", params=params).json() == HELLO_ADA
    assert http_client.get("/graphql", params={"query": HELLO}, headers={"accept": "text/html"}).status_code == 406
    head = http_client.head("/graphql", params={"query": HELLO})
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("media", [JSON, RESPONSE], ids=["json", "response"])
def test_get_changes_nothing(http_client, media):
    response = http_client.get("/graphql", params={"query": CREATE_GROUP}, headers={"accept": media})

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    assert http_client.get("/groups?count=exact").json()["total"] == 0


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"variables": "{}"},
        {"query": HELLO, "variables": "["},
        {"query": HELLO, "variables": "[]"},
        {"query": HELLO, "variables": '{"a": 1, "a": 2}'},
        {"query": [HELLO, HELLO]},
        {"query": HELLO, "operationName": ["A", "B"]},
    ],
    ids=str,
)
def test_an_invalid_query_string_is_400(http_client, params):
    response = http_client.get("/graphql", params=params, headers={"accept": RESPONSE})

    assert (response.status_code, media_type(response)) == (400, RESPONSE)


@pytest.mark.parametrize(
    "members",
    [{"operationName": None}, {"variables": None}, {"extensions": None}, {"extensions": {"a": 1}}, {"id": "x"}],
    ids=str,
)
def test_optional_members_may_be_null_and_others_are_ignored(http_client, members):
    assert post(http_client, {"query": HELLO, **members}).json() == HELLO_ADA


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/graphql",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        f"{JSON}; charset=latin-1",
        "",
    ],
)
def test_a_body_of_another_type_is_415(http_client, media):
    """This also prevents forms of other sites from sending requests."""
    response = http_client.post(
        "/graphql", content=json.dumps({"query": CREATE_GROUP}), headers={"content-type": media}
    )

    assert (response.status_code, response.headers["accept-post"]) == (415, JSON)
    assert http_client.get("/groups?count=exact").json()["total"] == 0


@pytest.mark.parametrize("media", [JSON, "Application/JSON", f"{JSON}; charset=utf-8", f'{JSON};charset="UTF-8"'])
def test_json_content_types_ignore_case_and_allow_utf_8(http_client, media):
    assert (
        http_client.post("/graphql", content=json.dumps({"query": HELLO}), headers={"content-type": media}).json()
        == HELLO_ADA
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_are_405(http_client, method):
    response = http_client.request(method, "/graphql")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


def test_options_lists_the_methods(http_client):
    response = http_client.options("/graphql")

    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize(
    "accept, page",
    [
        ("text/html", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        (f"text/html, {JSON};q=0.9", True),
        (f"{JSON}, text/html;q=0.9", False),
        (f"text/html;q=0.5, {JSON};q=0.5", False),
        ("*/*", False),
    ],
)
def test_the_page_is_sent_only_if_html_outranks_json(http_client, accept, page):
    response = http_client.get("/graphql", headers={"accept": accept})

    assert (media_type(response) == "text/html") == page
    assert response.status_code == (200 if page else 400)
    assert post(http_client, {"query": HELLO}, accept=f"{accept}, {JSON};q=0.1").json() == HELLO_ADA


def test_an_internal_error_hides_its_cause(http_client, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("secret/path")

    monkeypatch.setattr("schema.graphql.execution.mutation.records.create", fail)

    response = post(http_client, {"query": CREATE_GROUP})

    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "INTERNAL"
    assert "secret" not in response.text
    assert "secret/path" in caplog.text


def test_responses_are_private_and_vary_by_accept_and_authorization(http_client):
    response = post(http_client, {"query": HELLO})

    assert "private" in response.headers["cache-control"]
    assert response.headers["vary"] == "Accept, Authorization"
    assert response.headers["x-request-id"]
