"""Rates are limited, and so is guessing credentials.

By address and by credential, in one process and with counters shared in Redis.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient
from starlette.types import Scope

from api.app import create_app
from api.middleware.rate_limit import PAUSE_SECONDS
from api.middleware.rate_limit_storage import RateLimitCounters
from api.settings import read_settings
from schema.engine.errors import InvalidCredential, Unauthenticated
from schema.engine.model.policy import Actor
from tests.conftest import BASE_URL
from tests.fixtures.clients import ADMIN
from tests.fixtures.redis import FakeRedis

pytestmark = pytest.mark.sqlite

CREATE = 'mutation { createUser(input: {firstName: "Ada", age: 36}) { user { id } } }'
TWICE = "mutation { a: deleteUser(input: {id: 1}) { deletedId } b: deleteUser(input: {id: 2}) { deletedId } }"
POLICY = '"default";q=%d;w=60'


class Clock:
    """The time, which tests advance."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        clock_functions = SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now)
        monkeypatch.setattr("api.middleware.rate_limit_storage.time", clock_functions)
        monkeypatch.setattr("api.middleware.rate_limit.time", clock_functions)
        return self


@pytest.fixture
def clock(monkeypatch):
    return Clock().install(monkeypatch)


class FakeAuthenticator:
    """Accepts the keys `good-<name>[-<rate>]`; those in `known` count as recently verified."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.known = set(known)
        self.keys: list[str] = []

    async def __call__(self, scope: Scope) -> Actor:
        key = self.key_of(scope)
        self.keys.append(key)
        if not key:
            raise Unauthenticated("send a credential")
        kind, _, name = key.partition("-")
        if kind != "good":
            raise InvalidCredential("the credential is not valid")
        name, _, rate = name.partition("-")
        scope["credential"] = SimpleNamespace(name=name, rate=int(rate) if rate else None, expires=None)
        return ADMIN

    def name_of(self, scope: Scope) -> str | None:
        key = self.key_of(scope)
        return key if key in self.known else None

    def key_of(self, scope: Scope) -> str:
        key: bytes = dict(scope["headers"]).get(b"authorization", b"")
        return key.decode()


@pytest.fixture
def start(database):
    """Start the service in production; return a client with some address."""
    with ExitStack() as stack:

        def begin(authenticate=None, address="192.0.2.1", **more):
            env = {"TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{database}", "TANDEM_TRUSTED_PROXIES": "1"}
            app = create_app(read_settings({**env, **more}), authenticate or FakeAuthenticator())
            return stack.enter_context(TestClient(app, base_url=BASE_URL, client=(address, 50000)))

        yield begin


def at(address, key=None):
    """The headers of a request from an address, with a key."""
    return {"x-forwarded-for": address} | ({"authorization": key} if key else {})


def remaining(response):
    match = re.fullmatch(r'"default";r=(\d+);t=(\d+)', response.headers["ratelimit"])
    assert match
    return int(match[1]), int(match[2])


def test_an_address_is_limited(start, clock):
    http_client = start(TANDEM_RATE="3")

    responses = [http_client.get("/users") for _ in range(5)]

    assert [response.status_code for response in responses] == [401, 401, 401, 429, 429]
    assert [remaining(response)[0] for response in responses] == [2, 1, 0, 0, 0]
    assert {response.headers["ratelimit-policy"] for response in responses} == {POLICY % 3}
    assert [response.headers.get("retry-after") for response in responses] == [None, None, None, "60", "60"]
    assert responses[-1].json()["code"] == "RATE_LIMITED"


def test_the_limit_is_reset_after_a_minute(start, clock):
    http_client = start(TANDEM_RATE="1")
    http_client.get("/users")
    clock.now += 45

    late = http_client.get("/users")
    clock.now += 15
    again = http_client.get("/users")

    assert (late.status_code, late.headers["retry-after"]) == (429, "15")
    assert again.status_code == 401
    assert remaining(again) == (0, 60)


@pytest.mark.parametrize(
    "first, second, same",
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("6.6.6.6, 192.0.2.1", "7.7.7.7, 192.0.2.1", True),
    ],
)
def test_ipv6_addresses_are_counted_by_network(start, clock, first, second, same):
    http_client = start(TANDEM_RATE="1")
    http_client.get("/users", headers=at(first))

    response = http_client.get("/users", headers=at(second))

    assert response.status_code == (429 if same else 401)


def test_the_refusal_is_a_graphql_error_at_graphql(start, clock):
    http_client = start(TANDEM_RATE="1")
    http_client.get("/users")

    response = http_client.post("/graphql", json={"query": "{ __typename }"})

    assert response.status_code == 429
    assert response.headers["retry-after"] == "60"
    assert response.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(
    "method, path, body, points",
    [
        ("GET", "/users", None, 1),
        ("HEAD", "/users", None, 1),
        ("POST", "/users", {"first_name": "Ada", "age": 36}, 5),
        ("PATCH", "/users/x", {}, 5),
        ("PUT", "/groups/x/members/y", None, 5),
        ("DELETE", "/users/x", None, 5),
        ("GET", "/graphql?query={__typename}", None, 1),
        ("POST", "/graphql", {"query": "{ a: __typename b: __typename }"}, 1),
        ("POST", "/graphql", {"query": CREATE}, 5),
        ("POST", "/graphql", {"query": TWICE}, 10),
    ],
    ids=lambda response: str(response)[:30],
)
def test_a_mutation_costs_five(start, clock, method, path, body, points):
    http_client = start(TANDEM_RATE="100")

    response = http_client.request(method, path, json=body, headers=at("192.0.2.1", "good-ada-100"))

    assert remaining(response) == (100 - points, 60)


@pytest.mark.slow
def test_mutations_without_enough_points_are_not_executed(start, clock):
    http_client = start()

    response = http_client.post("/graphql", json={"query": CREATE}, headers=at("192.0.2.1", "good-ada-4"))

    assert response.status_code == 429
    assert http_client.get("/users", headers=at("192.0.2.1", "good-bob")).json()["items"] == []


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/nothing", "/static/own/tandem.css"])
def test_pages_and_errors_count_by_address(start, clock, path):
    http_client = start(TANDEM_RATE="1")

    first, second = http_client.get(path), http_client.get(path)

    assert first.status_code in (200, 404)
    assert remaining(first) == (0, 60)
    assert second.status_code == 429


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_checks_are_free(start, clock, path):
    http_client = start(TANDEM_RATE="1")

    responses = [http_client.get(path) for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 200]
    assert "ratelimit" not in responses[0].headers


def test_a_credential_without_a_rate_is_not_counted(start, clock):
    http_client = start(TANDEM_RATE="1")

    responses = [http_client.get("/users", headers=at("192.0.2.1", "good-ada")) for _ in range(5)]

    assert {response.status_code for response in responses} == {200}
    assert not any(name.startswith("ratelimit") for response in responses for name in response.headers)


@pytest.mark.parametrize("key, more", [("good-ada-2", {}), ("good-ada", {"TANDEM_CREDENTIAL_RATE": "2"})])
def test_a_credential_with_a_rate_is_counted_from_any_address(start, clock, key, more):
    http_client = start(**more)

    responses = [http_client.get("/users", headers=at(f"192.0.2.{number}", key)) for number in range(3)]
    another = http_client.get("/users", headers=at("192.0.2.1", "good-bob-2"))

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[0].headers["ratelimit-policy"] == POLICY % 2
    assert another.status_code == 200


def test_guesses_count_by_address_and_are_not_checked_beyond_its_limit(start, clock):
    authenticate = FakeAuthenticator(known={"good-ada"})
    http_client = start(authenticate, TANDEM_RATE="3")

    guesses = [http_client.get("/users", headers=at("192.0.2.1", f"bad-{number}")) for number in range(6)]
    unknown = http_client.get("/users", headers=at("192.0.2.1", "good-bob"))
    known = http_client.get("/users", headers=at("192.0.2.1", "good-ada"))
    elsewhere = http_client.get("/users", headers=at("192.0.2.2", "good-bob"))

    assert [response.status_code for response in guesses] == [401, 401, 401, 429, 429, 429]
    assert len([key for key in authenticate.keys if key.startswith("bad")]) == 4
    assert (unknown.status_code, known.status_code, elsewhere.status_code) == (429, 200, 200)


@pytest.mark.parametrize("more", [{"TANDEM_ENV": "development"}, {"TANDEM_RATE": "0"}])
def test_without_a_limit_there_are_no_rate_limit_headers(start, more):
    http_client = start(**more)

    responses = [
        http_client.get("/users"),
        http_client.get("/docs"),
        http_client.post("/graphql", json={"query": "{ __typename }"}),
    ]

    assert not any(name.startswith("ratelimit") for response in responses for name in response.headers)


@pytest.mark.slow
def test_the_openapi_document_describes_429(start):
    document = start().get("/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]

    refusals = [json.dumps(operation["responses"].get("429")) for operation in operations]

    assert set(refusals) == {'{"$ref": "#/components/responses/RateLimited"}'}
    assert "Retry-After" in document["components"]["responses"]["RateLimited"]["headers"]


def test_expired_counters_are_dropped(clock):
    counts = RateLimitCounters()
    for number in range(1000):
        counts.count(f"address:{number}", 1)
    clock.now += 61

    counts.count("address:new", 1)

    assert len(counts) == 1


@pytest.fixture
def redis():
    with FakeRedis() as running:
        yield running


@pytest.mark.slow
def test_processes_share_their_counters(start, redis):
    first = start(TANDEM_RATE="3", TANDEM_RATE_LIMIT_URL=f"redis://127.0.0.1:{redis.port}/0")
    second = start(TANDEM_RATE="3", TANDEM_RATE_LIMIT_URL=f"redis://127.0.0.1:{redis.port}/0")

    responses = [http_client.get("/users") for http_client in (first, second, first, second)]

    assert [response.status_code for response in responses] == [401, 401, 401, 429]
    assert [remaining(response)[0] for response in responses] == [2, 1, 0, 0]
    assert redis.commands


@pytest.mark.slow
def test_without_redis_each_process_counts_alone(start, caplog):
    with FakeRedis() as running:
        http_client = start(TANDEM_RATE="2", TANDEM_RATE_LIMIT_URL=f"redis://:secret@127.0.0.1:{running.port}/0")
        http_client.get("/users")

    with caplog.at_level(logging.WARNING):
        responses = [http_client.get("/users") for _ in range(3)]

    assert [response.status_code for response in responses] == [401, 401, 429]
    assert len([record for record in caplog.records if "counting alone" in record.message]) == 1
    assert "secret" not in caplog.text


@pytest.mark.slow
def test_a_silent_redis_does_not_block_requests(start, redis):
    redis.silent = True
    http_client = start(TANDEM_RATE="100", TANDEM_RATE_LIMIT_URL=f"redis://127.0.0.1:{redis.port}/0")
    began = time.monotonic()

    responses = [http_client.get("/users") for _ in range(10)]

    assert {response.status_code for response in responses} == {401}
    # A generous bound: without the timeout each request would wait for ever.
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_counters_are_shared_again_when_redis_is_back(start, redis, clock):
    redis.silent = True
    http_client = start(TANDEM_RATE="100", TANDEM_RATE_LIMIT_URL=f"redis://127.0.0.1:{redis.port}/0")
    http_client.get("/users")
    redis.silent = False
    clock.now += PAUSE_SECONDS

    http_client.get("/users")

    assert [count for count, _ in redis.counts.values()] == [1]
