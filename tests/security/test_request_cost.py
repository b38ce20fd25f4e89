"""No request is free: every response costs its address or credential what docs/limits.md says.

The exceptions are health checks, and metrics read with the metrics token.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.app import create_app
from api.graphql.websocket.session import PROTOCOL
from api.http.request_cost import cost_of_size
from tests.conftest import BASE_URL
from tests.fixtures.credentials import bearer, key, production
from tests.fixtures.raw_http import connected, serving

pytestmark = pytest.mark.sqlite

RATE = 100_000
Services = Callable[[int], TestClient]
ORIGIN = "https://app.example.com"
TOKEN = "a-token-for-the-metrics"
JSON = {"content-type": "application/json"}
HTML = {"accept": "text/html"}
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "POST"}
MUTATION = '{"query": "mutation { deleteUser(input: {id: 1}) { deletedId } }"}'
QUERY = '{"query": "{ __typename }"}'


@dataclass(frozen=True)
class RequestCase:
    """A kind of request: what is sent, the status of its response, and its cost."""

    name: str
    method: str
    path: str
    status: int
    points: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield b" " * 1000


# Without a credential.
WITHOUT_CREDENTIAL = [
    RequestCase("front page", "GET", "/", 200),
    RequestCase("page", "GET", "/docs", 200),
    RequestCase("page, HEAD", "HEAD", "/redoc", 200),
    RequestCase("page, POST", "POST", "/docs", 405),
    RequestCase("GraphiQL", "GET", "/graphql", 200, headers=HTML),
    RequestCase("problem", "GET", "/problems/not-found", 200),
    RequestCase("no such problem", "GET", "/problems/nothing", 404),
    RequestCase("icon", "GET", "/favicon.ico", 200),
    RequestCase("file", "GET", "/static/own/tandem.css", 200),
    RequestCase("no such file", "GET", "/static/own/nothing.css", 404),
    RequestCase("OpenAPI", "GET", "/openapi.json", 200),
    RequestCase("unknown path", "GET", "/nothing", 404),
    RequestCase("unknown path, POST", "POST", "/nothing", 404, body="{}"),
    RequestCase("unknown path, any method", "BREW", "/nothing", 404),
    RequestCase("trailing slash", "GET", "/users/", 404),
    RequestCase("beside health", "GET", "/healthzzz", 404),
    RequestCase("below health", "GET", "/health/live/x", 404),
    RequestCase("health with a slash", "GET", "/health/", 404),
    RequestCase("health, POST", "POST", "/health", 405),
    RequestCase("health, OPTIONS", "OPTIONS", "/health/live", 405),
    RequestCase("beside metrics", "GET", "/metricsfoo", 404),
    RequestCase("below metrics", "GET", "/metrics/x", 404),
    RequestCase("metrics", "GET", "/metrics", 401),
    RequestCase("metrics, wrong token", "GET", "/metrics", 401, headers=bearer(TOKEN + "x")),
    RequestCase("metrics, POST with their token", "POST", "/metrics", 405, headers=bearer(TOKEN)),
    RequestCase("OPTIONS", "OPTIONS", "/users", 204),
    RequestCase("OPTIONS of GraphQL", "OPTIONS", "/graphql", 204),
    RequestCase("preflight", "OPTIONS", "/users", 204, headers=PREFLIGHT),
    RequestCase("preflight of an unknown path", "OPTIONS", "/nothing", 204, headers=PREFLIGHT),
    RequestCase("preflight of health", "OPTIONS", "/health", 204, headers=PREFLIGHT),
    RequestCase("405", "DELETE", "/users", 405),
    RequestCase("405 of GraphQL", "PUT", "/graphql", 405, body=QUERY, headers=JSON),
    RequestCase("406", "GET", "/users", 406, headers=HTML),
    RequestCase("406 of GraphQL", "POST", "/graphql", 406, body=QUERY, headers={**JSON, "accept": "text/csv"}),
    RequestCase("401", "GET", "/users", 401),
    RequestCase("401 of a mutation", "POST", "/users", 401, 5, body="{}", headers=JSON),
    RequestCase("401 of GraphQL", "POST", "/graphql", 401, body=MUTATION, headers=JSON),
    RequestCase("wrong credential", "GET", "/me", 401, headers=bearer("tdm_nothing")),
    RequestCase("wrong host", "GET", "/users", 400, headers={"host": "evil.example"}),
    RequestCase("wrong host of metrics", "GET", "/metrics", 400, headers={"host": "evil.example"}),
    RequestCase("URL too long", "GET", f"/users?q={'x' * 9000}", 414),
]
# With a credential that has a rate.
WITH_CREDENTIAL = [
    RequestCase("read", "GET", "/users", 200),
    RequestCase("not modified or not found", "GET", "/users/x", 404),
    RequestCase("no such parameter", "GET", "/users?nothing=1", 422),
    RequestCase("mutation", "POST", "/users", 201, 5, body='{"first_name": "Ada", "age": 36}', headers=JSON),
    RequestCase("415", "POST", "/users", 415, 5, body="<a/>", headers={"content-type": "text/xml"}),
    RequestCase("413", "POST", "/users", 413, 5, body=b" " * 300_000, headers=JSON),
    RequestCase("413 in chunks", "POST", "/users", 413, 5, body=300_000, headers=JSON),
    RequestCase("403", "GET", "/keys", 403),
    RequestCase("metrics", "GET", "/metrics", 403),
    RequestCase("OPTIONS", "OPTIONS", "/users", 204),
    RequestCase("405", "DELETE", "/users", 405),
    RequestCase("406", "GET", "/users", 406, headers=HTML),
    RequestCase("page", "GET", "/docs", 200),
    RequestCase("unknown path", "GET", "/nothing", 404),
    RequestCase("query", "POST", "/graphql", 200, body=QUERY, headers=JSON),
    RequestCase("query by GET", "GET", "/graphql?query={__typename}", 200),
    RequestCase("no query", "POST", "/graphql", 400, body="{}", headers=JSON),
    RequestCase("no JSON", "POST", "/graphql", 400, body="{", headers=JSON),
    RequestCase("415 of GraphQL", "POST", "/graphql", 415, body=QUERY),
    RequestCase("mutation of GraphQL", "POST", "/graphql", 200, 5, body=MUTATION, headers=JSON),
    RequestCase("large", "POST", "/graphql", 400, cost_of_size(50_000), body=b"[" * 50_000, headers=JSON),
    RequestCase("large in chunks", "POST", "/graphql", 400, cost_of_size(50_000), body=50_000, headers=JSON),
    RequestCase("large at REST", "POST", "/users", 400, 4 + cost_of_size(100_000), body=b" " * 100_000, headers=JSON),
]
FREE = [
    RequestCase("health", "GET", "/health", 200),
    RequestCase("health, HEAD", "HEAD", "/health/live", 200),
    RequestCase("health, ready", "GET", "/health/ready", 200),
    RequestCase("health under any name", "GET", "/health", 200, headers={"host": "evil.example"}),
    RequestCase("metrics", "GET", "/metrics", 200, headers=bearer(TOKEN)),
]


@dataclass
class Caller:
    """A client with an address that no other test uses."""

    http_client: TestClient
    address: str
    credential: Mapping[str, str] = field(default_factory=dict)

    def send(self, case: RequestCase) -> Response:
        body = chunks(case.body) if isinstance(case.body, int) else case.body
        return self.http_client.request(case.method, case.path, headers={**self.headers, **case.headers}, content=body)

    def get(self, path: str, **more: str) -> Response:
        return self.http_client.get(path, headers={**self.headers, **more})

    @property
    def headers(self) -> Mapping[str, str]:
        return {"x-forwarded-for": self.address, **self.credential}


@pytest.fixture(scope="module")
def database(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(template, tmp_path_factory.mktemp("charges") / "tandem.db"))


@pytest.fixture(scope="module")
def services(database: Path) -> Iterator[Services]:
    """The service in production behind a proxy, with a rate for each address."""
    environment = {
        "TANDEM_TRUSTED_PROXIES": "1",
        "TANDEM_ALLOWED_HOSTS": "127.0.0.1,testserver",
        "TANDEM_CORS_ORIGINS": ORIGIN,
        "TANDEM_METRICS_TOKEN": TOKEN,
    }
    with ExitStack() as stack:

        @cache
        def service(rate: int) -> TestClient:
            app = create_app(production(database, TANDEM_RATE=str(rate), **environment))
            return stack.enter_context(TestClient(app, base_url=BASE_URL))

        yield service


@pytest.fixture(scope="module")
def addresses() -> Iterator[str]:
    return (f"192.0.2.{number}" for number in range(250))


@pytest.fixture
def caller(services: Services, addresses: Iterator[str]) -> Caller:
    return Caller(services(RATE), next(addresses))


@pytest.fixture
def caller_with_one_point(services: Services, addresses: Iterator[str]) -> Caller:
    """A caller with a single point."""
    return Caller(services(1), next(addresses))


@pytest.fixture
def editor(caller: Caller, database: Path) -> Caller:
    """A caller whose key has a rate and has been verified."""
    caller.credential = bearer(key(database, "editor", rate=1000))
    caller.get("/users")
    return caller


@pytest.fixture
def exhausted(caller_with_one_point: Caller) -> Caller:
    """A caller whose address has no points left."""
    assert [caller_with_one_point.get("/nothing").status_code for _ in range(2)] == [404, 429]
    return caller_with_one_point


def remaining(response: Response) -> int:
    match = re.fullmatch(r'"default";r=(\d+);t=\d+', response.headers["ratelimit"])
    assert match, "the response has no remaining limit"
    return int(match[1])


@pytest.mark.parametrize("case", WITHOUT_CREDENTIAL, ids=lambda case: case.name)
@pytest.mark.slow
def test_a_request_without_a_credential_costs_its_address(caller, case):
    response = caller.send(case)

    assert response.status_code == case.status
    assert remaining(response) == RATE - case.points
    assert remaining(caller.get("/nothing")) == RATE - case.points - 1


@pytest.mark.parametrize("case", WITHOUT_CREDENTIAL, ids=lambda case: case.name)
def test_a_request_without_points_is_refused(caller_with_one_point, case):
    """Also if the request itself exceeds the rate."""
    responses = [caller_with_one_point.send(case) for _ in range(3)]

    assert [response.status_code for response in responses] == [case.status if case.points == 1 else 429, 429, 429]
    assert {remaining(response) for response in responses} == {0}
    assert responses[2].headers["retry-after"]
    if case.method != "HEAD":
        assert "RATE_LIMITED" in responses[2].text


@pytest.mark.parametrize("case", WITH_CREDENTIAL, ids=lambda case: case.name)
def test_a_request_with_a_credential_costs_its_own_rate(editor, case):
    before = remaining(editor.get("/users"))

    response = editor.send(case)

    assert response.status_code == case.status
    assert remaining(response) == before - case.points
    editor.credential = {}
    assert remaining(editor.get("/nothing")) == RATE - 1


def test_a_credential_without_a_rate_is_charged_nowhere(caller, database):
    caller.credential = bearer(key(database, "editor"))
    caller.get("/users")

    responses = [caller.send(case) for case in WITH_CREDENTIAL]

    assert [response.status_code for response in responses] == [case.status for case in WITH_CREDENTIAL]
    assert not any("ratelimit" in response.headers for response in responses)
    caller.credential = {}
    assert remaining(caller.get("/nothing")) == RATE - 1


@pytest.mark.parametrize("case", FREE, ids=lambda case: case.name)
def test_exactly_these_requests_are_free(exhausted, case):
    responses = [exhausted.send(case) for _ in range(3)]

    assert [response.status_code for response in responses] == [case.status] * 3
    assert "ratelimit" not in responses[0].headers


def test_a_handshake_costs_a_point_and_has_rate_limit_headers(caller):
    with caller.http_client.websocket_connect("/graphql", subprotocols=[PROTOCOL], headers=caller.headers) as session:
        headers = dict(session.extra_headers or [])
        after = remaining(caller.get("/nothing"))

    assert headers[b"ratelimit"].startswith(b'"default";r=%d;' % (RATE - 1))
    assert after == RATE - 2


def test_no_page_is_read_for_an_exhausted_address(exhausted, monkeypatch):
    monkeypatch.setattr("api.pages.routes._page", lambda *args, **more: pytest.fail("a page was read"))

    assert exhausted.get("/docs").status_code == 429


@pytest.mark.parametrize("path", ["/metrics", "/users"])
def test_guesses_are_not_checked_beyond_the_limit(exhausted, monkeypatch, path):
    monkeypatch.setattr(
        "api.auth.credential_cache.CredentialCache.authenticate", lambda *args: pytest.fail("a credential was checked")
    )

    assert exhausted.get(path, **bearer("another")).status_code == 429


def test_a_known_credential_is_answered_from_an_exhausted_address(exhausted, database):
    elsewhere = Caller(exhausted.http_client, "198.51.100.1", bearer(key(database, "reader")))
    elsewhere.get("/users")

    responses = [exhausted.get(path, **elsewhere.credential) for path in ("/users", "/docs", "/nothing")]

    assert [response.status_code for response in responses] == [200, 200, 404]


def test_the_refusal_is_a_problem_document(exhausted):
    response = exhausted.http_client.options("/users", headers=exhausted.headers)

    assert response.status_code == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(response.text)["code"] == "RATE_LIMITED"


@pytest.mark.slow
def test_options_of_the_server_cost_a_point(database):
    app = create_app(production(database, TANDEM_RATE="2"))
    with serving(app) as port:
        sent = [head_of(port, "OPTIONS * HTTP/1.1") for _ in range(3)]

    assert [int(head[9:12]) for head in sent] == [204, 204, 429]
    assert ['"default";r=1;' in sent[0], '"default";r=0;' in sent[1]] == [True, True]


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
    ],
    ids=["version", "method", "host"],
)
@pytest.mark.slow
def test_a_request_that_the_http_server_refuses_costs_a_point(database, sent, status):
    app = create_app(production(database, TANDEM_RATE="10"))
    with serving(app) as port:
        for _ in range(3):
            with connected(port) as connection:
                connection.sendall(sent)
                assert int(connection.recv(65536)[9:12]) == status

        assert '"default";r=6;' in head_of(port, "GET /docs HTTP/1.1")


def head_of(port: int, line: str) -> str:
    """The head of the response to a request that no client library sends."""
    with connected(port) as connection:
        connection.sendall(f"{line}\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return connection.recv(65536).decode().lower()
