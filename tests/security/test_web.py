"""Browsers, proxies and other sites gain nothing.

Security headers on every response, listed hosts and origins, client addresses from trusted hops only, no cookies, and
no change by another site's page.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import cache, partial
from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from api.app import create_app
from api.middleware.proxies import proxy_headers
from api.settings import read_settings
from tests.conftest import BASE_URL, CLIENT_ADDRESS, settings_for
from tests.fixtures.clients import ADMIN
from tests.fixtures.credentials import bearer, key
from tests.fixtures.in_process import in_process_app

pytestmark = pytest.mark.sqlite

APP = "https://app.example.org"
SECURITY_HEADERS = (
    "x-content-type-options",
    "referrer-policy",
    "content-security-policy",
    "cross-origin-resource-policy",
)


def open_service(stack, database, authenticate=None, *, production=True, base=BASE_URL, **more):
    """Start a service with these settings; every request is the administrator's."""
    env = {"TANDEM_ENV": "production" if production else "development", "DATABASE_URL": f"sqlite:///{database}"}

    async def as_admin(scope):
        return ADMIN

    app = create_app(read_settings({**env, "TANDEM_RATE": "0", **more}), authenticate or as_admin)
    return stack.enter_context(TestClient(app, base_url=base, client=CLIENT_ADDRESS))


@pytest.fixture
def start_service(database):
    """Start a service for one test."""
    with ExitStack() as stack:
        yield partial(open_service, stack, database)


@pytest.fixture(scope="module")
def shared(template):
    """Start a service for tests that change nothing; tests with the same settings share it."""
    with ExitStack() as stack:
        yield cache(partial(open_service, stack, template))


RESPONSES = [
    ("GET", "/", 200, {}),
    ("GET", "/docs", 200, {}),
    ("GET", "/redoc", 200, {}),
    ("GET", "/graphql", 200, {"accept": "text/html"}),
    ("GET", "/problems", 200, {}),
    ("GET", "/problems/conflict", 200, {}),
    ("GET", "/static/own/tandem.css", 200, {}),
    ("GET", "/favicon.ico", 200, {}),
    ("GET", "/openapi.json", 200, {}),
    ("GET", "/health", 200, {}),
    ("GET", "/health/live", 200, {}),
    ("GET", "/users", 200, {}),
    ("HEAD", "/users", 200, {}),
    ("OPTIONS", "/users", 204, {}),
    ("GET", "/graphql?query={__typename}", 200, {}),
    ("OPTIONS", "/graphql", 204, {}),
    ("GET", "/users/nobody", 404, {}),
    ("GET", "/nothing", 404, {}),
    ("GET", "/users/", 404, {}),
    ("POST", "/docs", 405, {}),
    ("PUT", "/users", 405, {}),
    ("PUT", "/graphql", 405, {}),
    ("GET", "/users", 406, {"accept": "text/csv"}),
    ("GET", "/graphql", 406, {"accept": "text/csv"}),
    ("POST", "/users", 415, {"content-type": "text/plain"}),
    ("POST", "/graphql", 415, {"content-type": "text/plain"}),
    ("GET", "/users?limit=0", 422, {}),
    ("GET", f"/users?q={'x' * 9000}", 414, {}),
    ("GET", f"/graphql?query={'x' * 9000}", 414, {}),
]


@pytest.mark.parametrize("method, path, status, headers", RESPONSES, ids=lambda value: str(value)[:30])
def test_every_response_has_the_security_headers(http_client, method, path, status, headers):
    response = http_client.request(method, path, headers=headers)

    sent, names = response.headers, (*SECURITY_HEADERS, "x-request-id", "cache-control")
    assert response.status_code == status
    assert {name: len(sent.get_list(name)) for name in names} == dict.fromkeys(names, 1)
    assert sent["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in sent["content-security-policy"]
    assert "frame-ancestors 'none'" in sent["content-security-policy"]
    assert "server" not in sent
    assert "set-cookie" not in sent


@pytest.mark.parametrize(
    "method, path, status, headers", [case for case in RESPONSES if case[2] >= 400], ids=lambda value: str(value)[:30]
)
def test_an_error_response_is_not_stored(http_client, method, path, status, headers):
    response = http_client.request(method, path, headers=headers)

    assert "no-store" in response.headers["cache-control"]


@pytest.mark.parametrize(
    "path, kept",
    [
        ("/users", "private, no-cache"),
        ("/graphql?query={__typename}", "private, no-store"),
        ("/openapi.json", "no-cache"),
        ("/docs", "no-cache"),
        ("/health", "no-store"),
    ],
)
def test_responses_are_private_and_revalidated(http_client, path, kept):
    assert http_client.get(path).headers["cache-control"] == kept


@pytest.mark.parametrize(
    "production, base, headers, secure",
    [
        (True, "https://tandem.example.org", {}, True),
        (True, "http://tandem.example.org", {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}, True),
        (True, "http://tandem.example.org", {"x-forwarded-proto": "http", "x-forwarded-for": "192.0.2.1"}, False),
        (True, "http://tandem.example.org", {}, False),
        (False, "https://127.0.0.1", {}, False),
    ],
)
@pytest.mark.parametrize("path", ["/users", "/nothing", "/docs", "/graphql?query={__typename}"])
def test_https_responses_send_hsts(shared, production, base, headers, secure, path):
    http_client = shared(production=production, base=base, TANDEM_TRUSTED_PROXIES="127.0.0.1")

    response = http_client.get(path, headers=headers)

    assert ("strict-transport-security" in response.headers) is secure


@pytest.mark.parametrize(
    "host, let_in",
    [
        ("tandem.example.org", True),
        ("TANDEM.example.org:8000", True),
        ("tandem.example.org.", True),
        ("a.team.example", True),
        ("a.b.team.example:443", True),
        ("[::1]:8000", True),
        ("team.example", False),
        ("evilteam.example", False),
        ("tandem.example.org.evil.example", False),
        ("tandem.example.org@evil.example", False),
        ("tandem.example.org:80:80", False),
        ("tandem.example.org/", False),
        ("tandem.example.org:99999", False),
        ("tandem.example.org:65536", False),
        ("tandem.example.org:65535", True),
        ("evil.example", False),
        (".team.example.evil", False),
        ("127.0.0.1", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", ["/users", "/graphql?query={__typename}", "/docs", "/nothing"])
def test_only_listed_hosts_are_served(shared, host, let_in, path):
    http_client = shared(TANDEM_ALLOWED_HOSTS="tandem.example.org,*.team.example,[::1]")

    for _ in range(2):
        response = http_client.get(path, headers={"host": host})

        assert (response.status_code != 400) is let_in
        assert let_in or "BAD_REQUEST" in response.text


@pytest.mark.parametrize("host", ["", "a b", "[::::]", "[1.2.3.4]", "a.example:99999", "a.example:x", "u@a.example"])
@pytest.mark.parametrize("path", ["/users", "/health", "/docs"])
def test_an_invalid_host_is_refused_even_if_all_are_allowed(shared, host, path):
    response = shared().get(path, headers={"host": host})

    assert response.status_code == 400
    assert "header Host" in response.text


def test_health_checks_work_with_any_host(shared):
    http_client = shared(TANDEM_ALLOWED_HOSTS="tandem.example.org")

    assert http_client.get("/health/live", headers={"host": "10.0.0.7:8000"}).status_code == 200


def test_an_unlisted_host_is_a_graphql_error_at_graphql(shared):
    http_client = shared(TANDEM_ALLOWED_HOSTS="tandem.example.org")

    response = http_client.post("/graphql", json={"query": "{ __typename }"}, headers={"host": "evil.example"})

    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


def test_a_websocket_with_an_unlisted_host_is_refused(shared):
    http_client = shared(TANDEM_ALLOWED_HOSTS="tandem.example.org")

    opening = http_client.websocket_connect("/graphql", headers={"host": "evil.example"})
    with pytest.raises(WebSocketDenialResponse) as refused, opening:
        pass

    assert refused.value.status_code == 400
    assert refused.value.json()["code"] == "BAD_REQUEST"


NETWORKS = [ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("127.0.0.1")]


@pytest.mark.parametrize(
    "trusted, peer, sent, client",
    [
        # By network: from the right, past the trusted ones.
        (NETWORKS, "10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        (NETWORKS, "10.0.0.1", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (NETWORKS, "10.0.0.1", ["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (NETWORKS, "10.0.0.1", ["6.6.6.6", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (NETWORKS, "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (NETWORKS, "10.0.0.1", ["192.0.2.1:5678"], "192.0.2.1"),
        (NETWORKS, "10.0.0.1", ['"192.0.2.1"'], "192.0.2.1"),
        (NETWORKS, "10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        (NETWORKS, "10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        (NETWORKS, "10.0.0.1", ["2001:DB8:0::1"], "2001:db8::1"),
        (NETWORKS, "10.0.0.1", ["::ffff:192.0.2.1"], "192.0.2.1"),
        (NETWORKS, "::ffff:10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        (NETWORKS, "fd00::1", ["192.0.2.1, fd00::2"], "192.0.2.1"),
        # An unreadable address ends the search.
        (NETWORKS, "10.0.0.1", ["192.0.2.1, unknown"], "10.0.0.1"),
        (NETWORKS, "10.0.0.1", ["192.0.2.1, <script>, 10.0.0.2"], "10.0.0.2"),
        (NETWORKS, "10.0.0.1", [""], "10.0.0.1"),
        (NETWORKS, "10.0.0.1", [], "10.0.0.1"),
        (NETWORKS, "10.0.0.1", ["192.0.2.1,"], "10.0.0.1"),
        (NETWORKS, "10.0.0.1", ["010.0.0.9"], "10.0.0.1"),
        # An untrusted peer is ignored.
        (NETWORKS, "203.0.113.9", ["192.0.2.1"], "203.0.113.9"),
        (NETWORKS, "testclient", ["192.0.2.1"], "testclient"),
        # By number: the peer of the outermost of so many proxies.
        (1, "203.0.113.9", ["192.0.2.1"], "192.0.2.1"),
        (1, "203.0.113.9", ["127.0.0.1, 6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (1, "203.0.113.9", ["127.0.0.1", "192.0.2.1"], "192.0.2.1"),
        (2, "203.0.113.9", ["6.6.6.6, 192.0.2.1, 198.51.100.1"], "192.0.2.1"),
        (2, "203.0.113.9", ["192.0.2.1"], "203.0.113.9"),
        (1, "203.0.113.9", ["garbage"], "203.0.113.9"),
        (1, "203.0.113.9", [], "203.0.113.9"),
        ((), "203.0.113.9", ["192.0.2.1"], "203.0.113.9"),
    ],
)  # fmt: skip
def test_the_client_address_comes_from_trusted_proxies(trusted, peer, sent, client):
    scope = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 1),
        "headers": [(b"x-forwarded-for", value.encode()) for value in sent],
    }

    if unveil := proxy_headers(trusted):
        unveil(scope)

    assert scope["client"][0] == client


@pytest.mark.parametrize(
    "peer, sent, scheme",
    [
        ("10.0.0.1", ["https"], "https"),
        ("10.0.0.1", ["HTTPS"], "https"),
        ("10.0.0.1", ["https, http"], "http"),
        ("10.0.0.1", ["https", "http"], "http"),
        ("10.0.0.1", ["ftp"], "http"),
        ("10.0.0.1", ["https, "], "http"),
        ("10.0.0.1", [], "http"),
        ("203.0.113.9", ["https"], "http"),
    ],
)
def test_the_scheme_comes_from_the_nearest_trusted_proxy(peer, sent, scheme):
    forwarded = [(b"x-forwarded-proto", value.encode()) for value in sent]
    scope = {"type": "http", "scheme": "http", "client": (peer, 1), "headers": forwarded}

    unveil = proxy_headers(NETWORKS)
    assert unveil
    unveil(scope)

    assert scope["scheme"] == scheme


def cors(response):
    return {name for name in response.headers if name.startswith("access-control")}


@pytest.mark.parametrize(
    "origin, let_in",
    [
        (APP, True),
        ("https://other.example.org:8443", True),
        ("https://app.example.org:8443", False),
        ("http://app.example.org", False),
        ("https://app.example.org.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
@pytest.mark.parametrize(
    "path, headers",
    [
        ("/users", {}),
        ("/users/nobody", {}),
        ("/nothing", {}),
        ("/users", {"host": "evil.example"}),
        ("/graphql?query={__typename}", {}),
        ("/graphql?query={", {}),
        (f"/users?q={'x' * 9000}", {}),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.slow
def test_only_listed_origins_may_read_a_response(shared, origin, let_in, path, headers):
    http_client = shared(TANDEM_CORS_ORIGINS=f"{APP},https://other.example.org:8443", TANDEM_ALLOWED_HOSTS="127.0.0.1")

    response = http_client.get(path, headers={"origin": origin, **headers})

    assert "Origin" in response.headers["vary"]
    assert response.headers.get("access-control-allow-origin") == (origin if let_in else None)
    assert "access-control-allow-credentials" not in response.headers
    if let_in:
        shown = response.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Location", "Link", "Retry-After", "RateLimit", "X-Request-ID"} <= {*shown}


def test_a_preflight_needs_no_credential(start_service):
    authenticated = []

    async def authenticate(scope):
        authenticated.append(scope["path"])
        return ADMIN

    http_client = start_service(authenticate, TANDEM_CORS_ORIGINS=APP)
    headers = {"origin": APP, "access-control-request-method": "PATCH", "access-control-request-headers": "if-match"}

    response = http_client.options("/users/some", headers=headers)

    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == APP
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert {"Authorization", "Content-Type", "If-Match", "Idempotency-Key"} <= {
        *response.headers["access-control-allow-headers"].split(", ")
    }
    assert "Origin" in response.headers["vary"]
    assert authenticated == []


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {}])
def test_a_preflight_of_an_unlisted_origin_is_not_allowed(shared, headers):
    http_client = shared(TANDEM_CORS_ORIGINS=APP)

    response = http_client.options("/users", headers={"access-control-request-method": "POST", **headers})

    assert cors(response) == set()
    assert response.headers["allow"]


def test_without_listed_origins_there_is_no_cors(shared):
    http_client = shared()

    response = http_client.get("/users", headers={"origin": APP})

    assert cors(response) == set()
    assert "Origin" not in response.headers["vary"]


MUTATION = 'mutation { createUser(input: {firstName: "Eve", age: 1}) { user { id } } }'
PERSON = '{"first_name": "Eve", "age": 1}'
QUERY = f'{{"query": "{MUTATION}"}}'.replace('"Eve"', '\\"Eve\\"')
SIMPLE = ["text/plain", "text/plain;charset=utf-8", "application/x-www-form-urlencoded", "multipart/form-data", None]
TRICKS = ["text/plain; application/json", "text/plain, application/json", "application/json, text/plain", "text/json"]


@pytest.mark.parametrize("media", [*SIMPLE, *TRICKS])
@pytest.mark.parametrize("path, body", [("/users", PERSON), ("/graphql", QUERY)])
@pytest.mark.parametrize("production", [True, False])
def test_a_form_of_another_site_changes_nothing(shared, production, path, body, media):
    http_client = shared(production=production)
    headers = {} if media is None else {"content-type": media}

    response = http_client.post(path, content=body.encode(), headers=headers)

    assert response.status_code == 415
    assert http_client.get("/users").json()["items"] == []


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", f"/graphql?query={MUTATION}", 405),
        ("HEAD", f"/graphql?query={MUTATION}", 405),
        ("POST", f"/graphql?query={MUTATION}", 415),
        ("GET", "/users/{id}/deactivate", 405),
        ("GET", "/users?_method=DELETE", 422),
    ],
)
def test_a_link_of_another_site_changes_nothing(start_service, method, path, status):
    http_client = start_service()
    ada = http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()

    response = http_client.request(method, path.replace("{id}", ada["id"]))

    assert response.status_code == status
    assert http_client.get("/users").json()["items"] == [ada]


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override"])
def test_the_method_cannot_be_overridden(start_service, name):
    http_client = start_service()
    ada = http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()

    http_client.get(f"/users/{ada['id']}", headers={name: "DELETE"})
    http_client.post(f"/users/{ada['id']}/deactivate?_method=DELETE", headers={name: "DELETE"})

    assert [user["id"] for user in http_client.get("/users").json()["items"]] == [ada["id"]]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"host": "evil.example"},
        {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path, body", [("/users", PERSON), ("/graphql", QUERY)])
def test_in_development_other_sites_change_and_read_nothing(template, tmp_path, path, body, headers):
    database = Path(shutil.copy(template, tmp_path / "development.db"))
    with TestClient(in_process_app(settings_for(database)), base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        response = http_client.post(
            path, content=body.encode(), headers={"content-type": "application/json", **headers}
        )
        learnt = http_client.get("/users", headers=headers)

        assert (response.status_code, learnt.status_code) == (403, 403)
        assert http_client.get("/users").json()["items"] == []


@pytest.mark.slow
def test_in_development_a_listed_origin_needs_a_credential(template, tmp_path):
    """The list allows a page to read responses; it does not authenticate."""
    database = Path(shutil.copy(template, tmp_path / "development.db"))
    shown = {"origin": APP, **bearer(key(database, "reader"))}
    with TestClient(
        in_process_app(settings_for(database, TANDEM_CORS_ORIGINS=APP)), base_url=BASE_URL, client=CLIENT_ADDRESS
    ) as http_client:
        responses = [http_client.get("/users", headers=headers) for headers in ({"origin": APP}, shown)]

        assert [response.status_code for response in responses] == [403, 200]
        assert {response.headers["access-control-allow-origin"] for response in responses} == {APP}
        assert "credential" in responses[0].json()["detail"]
