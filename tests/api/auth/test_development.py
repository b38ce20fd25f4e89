"""Without a credential, development accepts requests of this machine only, and none of other sites; production none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.auth.development.access import LocalAccess
from schema.engine.errors import Forbidden
from tests.conftest import BASE_URL, CLIENT_ADDRESS, settings_for
from tests.fixtures.in_process import in_process_app, no_peer_check

SMALLEST = {"first_name": "Ada", "age": 36}
LIST_USERS = [
    pytest.param(lambda http_client, **more: http_client.get("/users", **more), id="rest"),
    pytest.param(
        lambda http_client, **more: http_client.post("/graphql", json={"query": "{ users { totalCount } }"}, **more),
        id="graphql",
    ),
]


@pytest.fixture(scope="module")
def local(template, tmp_path_factory):
    """The service in development, called from this machine."""
    database = Path(shutil.copy(template, tmp_path_factory.mktemp("development") / "tandem.db"))
    with TestClient(in_process_app(settings_for(database)), base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        yield http_client


def code_of(response):
    """Return the error code of a REST or GraphQL response; None if it has none."""
    body = response.json()
    if "errors" in body and "status" not in body:
        return body["errors"][0]["extensions"]["code"]
    return body.get("code")


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost"},
        {"host": "localhost:8000"},
        {"host": "LOCALHOST:8000"},
        {"host": "127.0.0.1"},
        {"host": "[::1]:8000"},
        {"origin": BASE_URL},
        {"host": "localhost:8000", "origin": "http://localhost:8000"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin", "origin": BASE_URL},
    ],
    ids=str,
)
def test_this_machine_is_the_administrator(local, list_users, headers):
    response = list_users(local, headers=headers)

    assert (response.status_code, code_of(response)) == (200, None)


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "example.com"},
        {"host": "example.com:8000"},
        {"host": "127.0.0.1.example.com"},
        {"host": "localhost.example.com"},
        {"host": "0.0.0.0:8000"},
        {"host": "192.168.0.7"},
        {"origin": "http://example.com"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": "http://localhost:8000"},
        {"origin": "https://127.0.0.1:8000"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "Cross-Site"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-host": "localhost"},
        {"x_forwarded_for": "127.0.0.1"},
        {"client-ip": "127.0.0.1"},
        {"fastly-client-ip": "127.0.0.1"},
        {"x-azure-clientip": "127.0.0.1"},
        {"x-forwarded-proto": "https"},
        {"x-forwarded-port": "443"},
        {"x-real-ip": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"x-original-host": "localhost"},
        {"x-envoy-internal": "true"},
        {"cf-connecting-ip": "127.0.0.1"},
        {"proxy-connection": "keep-alive"},
    ],
    ids=str,
)
def test_requests_of_other_sites_and_proxies_are_refused(local, list_users, headers):
    response = list_users(local, headers=headers)

    assert (response.status_code, code_of(response)) == (403, "FORBIDDEN")


REPEATED = [
    [("host", "localhost:8000"), ("host", "example.com")],
    [("host", "example.com"), ("host", "localhost:8000")],
    [("origin", "http://example.com"), ("origin", BASE_URL)],
    [("origin", BASE_URL), ("origin", "http://example.com")],
    [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")],
    [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
]


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize("headers", REPEATED, ids=str)
def test_repeated_headers_are_refused(local, list_users, headers):
    response = list_users(local, headers=headers)

    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("headers", REPEATED, ids=str)
async def test_all_values_of_a_header_are_checked(headers):
    """By `LocalAccess` itself, which does not rely on the check for repeated headers."""
    host = [] if headers[0][0] == "host" else [(b"host", b"127.0.0.1:8000")]
    raw_headers = [*host, *((name.encode(), value.encode()) for name, value in headers)]

    with pytest.raises(Forbidden):
        await LocalAccess(check_peer=no_peer_check)(
            {"scheme": "http", "client": CLIENT_ADDRESS, "headers": raw_headers}
        )


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize(
    "host", ["", "example.com@localhost", "[::1].example.com", "[::::]", "localhost:99999", "localhost:65536", "a b"]
)
def test_a_request_without_a_host_is_a_bad_request(local, list_users, host):
    response = list_users(local, headers={"host": host})

    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize(
    "address, status",
    [
        ("127.0.0.1", 200), ("127.8.8.8", 200), ("::1", 200), ("::ffff:127.0.0.1", 200),
        ("192.168.0.7", 403), ("8.8.8.8", 403), ("::2", 403),
        ("testclient", 403), ("", 403), ("localhost", 403),
    ],
)  # fmt: skip
def test_only_this_machine_has_access(settings, list_users, address, status):
    with TestClient(in_process_app(settings), base_url=BASE_URL, client=(address, 50000)) as http_client:
        assert list_users(http_client).status_code == status


@pytest.mark.parametrize("list_users", LIST_USERS)
@pytest.mark.parametrize("credential", ["Bearer x", "Bearer ", "Basic eDp5", ""])
def test_an_invalid_credential_is_refused_in_development(local, list_users, credential):
    response = list_users(local, headers={"authorization": credential})

    assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_writes_are_checked_like_reads(local):
    headers = {"origin": "http://example.com"}

    assert local.post("/users", json=SMALLEST, headers=headers).status_code == 403
    assert local.post("/graphql", json={"query": CREATE}, headers=headers).status_code == 403
    assert local.get("/users?count=exact").json()["total"] == 0


CREATE = 'mutation { createUser(input: {firstName: "Ada", age: 36}) { user { id } } }'


OPEN = [
    "/",
    "/docs",
    "/redoc",
    "/problems",
    "/problems/not-found",
    "/openapi.json",
    "/health",
    "/health/live",
    "/health/ready",
]


@pytest.mark.parametrize("path", OPEN)
def test_documents_and_health_are_public(production, path):
    assert production.get(path).status_code == 200


def test_the_graphiql_page_is_public(production):
    assert production.get("/graphql", headers={"accept": "text/html"}).status_code == 200


def test_every_operation_is_refused_in_production(production):
    paths = production.get("/openapi.json").json()["paths"]
    operations = [(method, path) for path, item in paths.items() for method in item]

    assert len(operations) > 15
    for method, path in operations:
        url = path.replace("{id}", "x").replace("{user_id}", "y")
        response = production.request(method, url, headers={"content-type": "application/json"}, content=b"{}")
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer"), (method, path)
        assert code_of(response) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "query",
    ["{ users { totalCount } }", "{ __typename }", "{ __schema { types { name } } }", CREATE, "{ nonsense"],
)
@pytest.mark.parametrize("media", ["application/json", "application/graphql-response+json"])
def test_every_query_is_refused_in_production(production, query, media):
    response = production.post("/graphql", json={"query": query}, headers={"accept": media})

    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.headers["content-type"].startswith(media)
    assert code_of(response) == "UNAUTHENTICATED"
    assert "data" not in response.json()


@pytest.mark.parametrize("path", ["/users/x/y/z", "/nothing", "/users/", "/graphql/", "/.env"])
def test_unknown_paths_are_not_found_in_production(production, path):
    assert production.get(path).status_code == 404


@pytest.mark.parametrize("credential", ["Bearer tdm_1_2", "Bearer a.b.c", "bearer x"])
def test_an_invalid_credential_is_refused_in_production(production, credential):
    response = production.get("/users", headers={"authorization": credential})

    assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')


@pytest.mark.parametrize(
    "headers", [{"host": "localhost"}, {"x-actor": "admin"}, {"x-forwarded-for": "127.0.0.1"}], ids=str
)
def test_local_requests_need_a_credential_in_production(production, headers):
    assert production.get("/users", headers=headers).status_code == 401
