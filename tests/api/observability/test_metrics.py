"""`/metrics`: requests by API, operation and status, the database, caches and event loop; and the access to it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from api.http.concurrency import request_limit
from api.observability.metrics import LAG_INTERVAL_SECONDS, RequestMetrics
from api.server.http.limits import ConnectionLimits
from api.settings import read_settings
from schema.engine.errors import InvalidCredential, Unauthenticated
from schema.engine.model.policy import Actor
from tests.conftest import BASE_URL, CLIENT_ADDRESS
from tests.fixtures.clients import ADMIN, EDITOR, READER
from tests.fixtures.raw_http import send_raw, serving

pytestmark = [pytest.mark.usefixtures("without_replay"), pytest.mark.sqlite]

ROOT = Path(__file__).parents[3]
TOKEN = "scrape-me-0123456789"
ACTORS = {
    "admin": ADMIN,
    "editor": EDITOR,
    "reader": READER,
    "metrics": Actor(roles=ADMIN.roles, scopes=frozenset({"users:write", "metrics:read"})),
    "reading": Actor(roles=ADMIN.roles, scopes=frozenset({"read"})),
    "writing": Actor(roles=ADMIN.roles, scopes=frozenset({"write"})),
    "users": Actor(roles=ADMIN.roles, scopes=frozenset({"users:read", "keys:write", "schema:read"})),
    "metrics but no role": Actor(roles=READER.roles, scopes=frozenset({"metrics:read"})),
    "person": Actor(id="00000000-0000-7000-8000-000000000000"),
}


async def authenticate(scope):
    sent = dict(scope["headers"]).get(b"authorization", b"Bearer admin").decode().removeprefix("Bearer ")
    if sent == "nobody":
        raise Unauthenticated("send a credential")
    if sent not in ACTORS:
        raise InvalidCredential("the credential is not valid")
    return ACTORS[sent]


@pytest.fixture
def served(populated_database):
    """The service, started for this test, so that its counts begin at zero."""
    settings = read_settings({"DATABASE_URL": f"sqlite:///{populated_database}", "TANDEM_METRICS_TOKEN": TOKEN})
    with TestClient(create_app(settings, authenticate), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


def samples(http_client, **headers):
    """All values, by name and labels."""
    text = http_client.get("/metrics", headers=headers).raise_for_status().text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sample(http_client, name, **labels):
    return samples(http_client).get((name, frozenset(labels.items())), 0)


def post(http_client, query):
    return http_client.post("/graphql", json={"query": query})


CALLS = {
    "a list": (lambda http_client: http_client.get("/users?sort=-age"), "rest", "listUsers", "200"),
    "an invalid list": (lambda http_client: http_client.get("/users?sort=color"), "rest", "listUsers", "422"),
    "an unknown record": (lambda http_client: http_client.get("/groups/nothing"), "rest", "getGroup", "404"),
    "a sublist": (lambda http_client: http_client.get("/users/secret-name/groups"), "rest", "listUserGroups", "404"),
    "a creation": (lambda http_client: http_client.post("/groups", json={"name": "New"}), "rest", "createGroup", "201"),
    "without credential": (
        lambda http_client: http_client.get("/users", headers={"authorization": "Bearer nobody"}), "rest",
        "listUsers", "401",
    ),
    "a query": (lambda http_client: post(http_client, "query Mine { users { totalCount } }"), "graphql",
        "compiledQuery", "200"),
    "introspection": (lambda http_client: post(http_client, "{ __schema { description } }"), "graphql",
        "interpretedQuery", "200"),
    "a mutation": (
        lambda http_client: post(http_client, 'mutation { deleteUser(input: {id: "x"}) { deletedId } }'),
        "graphql", "mutation", "200",
    ),
    "an invalid query": (lambda http_client: post(http_client, "{ nobody }"), "graphql", "refusedOperation", "200"),
    "an unknown path": (lambda http_client: http_client.get("/users/a/b/c/d"), "other", "other", "404"),
    "a long URL": (lambda http_client: http_client.get("/" + "x" * 9000), "other", "other", "414"),
    "a wrong method": (lambda http_client: http_client.patch("/users"), "other", "other", "405"),
}  # fmt: skip


@pytest.mark.parametrize("call, api, operation, status", CALLS.values(), ids=CALLS)
def test_a_request_is_counted_by_api_operation_and_status(served, call, api, operation, status):
    before = sample(served, "tandem_requests_total", api=api, operation=operation, status=status)

    call(served)

    after = samples(served)
    labels = {"api": api, "operation": operation}
    assert after["tandem_requests_total", frozenset({**labels, "status": status}.items())] == before + 1
    assert after["tandem_request_seconds_count", frozenset(labels.items())] >= 1
    assert after["tandem_request_seconds_bucket", frozenset({**labels, "le": "+Inf"}.items())] >= 1


WIRE = {
    "no HTTP": (b"hello\r\n\r\n", "400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", "400"),
    "a long URL": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", "414"),
    "a large head": (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 40000 + b"\r\n\r\n", "431"),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", "501"),
    "an unknown version": (b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", "505"),
}


@pytest.mark.parametrize("sent, status", WIRE.values(), ids=WIRE)
@pytest.mark.slow
def test_malformed_requests_are_counted(populated_database, sent, status):
    settings = read_settings({"DATABASE_URL": f"sqlite:///{populated_database}", "TANDEM_METRICS_TOKEN": TOKEN})
    with serving(create_app(settings, authenticate)) as port:
        refused = send_raw(port, sent)[0][0]
        head = f"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
        text = send_raw(port, head)[0][2].decode()

    assert str(refused) == status
    labels = f'{{api="wire",operation="refusal",status="{status}"}}'
    assert f"tandem_requests_total{labels} 1.0\n" in text


@pytest.mark.slow
def test_request_timeouts_are_counted(populated_database):
    settings = read_settings({"DATABASE_URL": f"sqlite:///{populated_database}"})
    app = create_app(settings, authenticate)
    with serving(app, ConnectionLimits(read_timeout=0.1, sweep_interval=0.05)) as port:
        (refused,) = send_raw(port, b"GET / HT", responses=1)

    assert refused[0] == 408
    assert app.state.request_metrics.refused == {408: 1}


@pytest.mark.slow
def test_no_value_of_a_request_becomes_a_label(served):
    for call, *_ in CALLS.values():
        call(served)

    text = served.get("/metrics").text

    assert not re.search(r"secret-name|Mine|xxx|color|nothing|/users", text)


@pytest.mark.slow
def test_database_caches_and_event_loop_are_measured(served):
    for _ in range(3):
        post(served, "{ users(first: 3) { nodes { id } } }")
    served.post("/groups", json={"name": "New"})
    values = samples(served)

    def of(name, **labels):
        return values[name, frozenset(labels.items())]

    assert of("tandem_database_trip_seconds_count", kind="inline") == 3
    assert of("tandem_database_trip_seconds_count", kind="read") == 0
    assert of("tandem_database_trip_seconds_count", kind="write") == 1
    assert of("tandem_database_group_size_count") == of("tandem_database_group_size_sum") == 1
    assert of("tandem_database_waiting", queue="writer") == 0
    assert of("tandem_cache_hits_total", cache="documents") == 1
    assert of("tandem_cache_misses_total", cache="documents") == 2
    assert of("tandem_cache_entries", cache="documents") == 1
    assert of("tandem_cache_hits_total", cache="plans") >= 1
    assert of("tandem_cache_bytes", cache="plans") > 1000 * of("tandem_cache_entries", cache="plans") > 0
    assert of("tandem_requests_running") == 1
    assert of("process_resident_memory_bytes") > 10**6


async def test_waiting_requests_are_counted(populated_database):
    settings = read_settings({"DATABASE_URL": f"sqlite:///{populated_database}"})
    app = create_app(settings.model_copy(update={"running": 1}), authenticate)
    limit, transport = app.state.concurrency_limit, httpx2.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        async with limit.slot("another client", 1):
            request = asyncio.create_task(client.get("/users"))
            while not limit.waiting:  # noqa: ASYNC110
                await asyncio.sleep(0)
            during = (await client.get("/metrics")).text
        await request
        after = (await client.get("/metrics")).text

    assert "\ntandem_requests_waiting 1.0\n" in during
    assert "\ntandem_requests_waiting 0.0\n" in after


@pytest.mark.slow
async def test_loop_lag_is_measured_only_in_its_context():
    metrics = RequestMetrics(request_limit(1))

    with metrics.measuring_loop_lag():
        for _ in range(200):
            if sum(metrics.lag.counts):
                break
            await asyncio.sleep(LAG_INTERVAL_SECONDS / 5)
    count = sum(metrics.lag.counts)
    await asyncio.sleep(LAG_INTERVAL_SECONDS * 1.2)

    assert count > 0
    assert sum(metrics.lag.counts) == count


@pytest.mark.parametrize(
    "sent, status",
    [
        ({"authorization": "Bearer admin"}, 200),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": "Bearer nobody"}, 401),
        ({"authorization": "Bearer reader"}, 403),
        ({"authorization": "Bearer editor"}, 403),
        ({"authorization": "Bearer person"}, 403),
        ({"authorization": "Bearer metrics"}, 200),
        ({"authorization": "Bearer reading"}, 200),
        ({"authorization": "Bearer writing"}, 200),
        ({"authorization": "Bearer users"}, 403),
        ({"authorization": "Bearer metrics but no role"}, 403),
    ],
)
def test_metrics_require_an_administrator_or_the_metrics_token(served, sent, status):
    assert served.get("/metrics", headers=sent).status_code == status


def test_the_metrics_token_is_valid_for_metrics_only(served):
    assert served.get("/users", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_metrics_in_production_require_a_credential(production):
    assert production.get("/metrics").status_code == 401
    assert production.get("/metrics", headers={"authorization": "Bearer None"}).status_code == 401


def test_openmetrics_is_negotiated(served):
    response = served.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")
    assert "tandem_requests" in {family.name for family in open_metrics(response.text)}
    assert served.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.slow
def test_several_workers_are_labelled_with_their_process_id(populated_database):
    settings = read_settings({"DATABASE_URL": f"sqlite:///{populated_database}"}).model_copy(update={"workers": 2})

    with TestClient(create_app(settings, authenticate), base_url=BASE_URL, client=CLIENT_ADDRESS) as served:
        workers = {dict(labels).get("worker") for _, labels in samples(served)}

    assert workers == {str(os.getpid())}


def test_metrics_are_not_in_the_openapi_document(served):
    assert "/metrics" not in served.get("/openapi.json").json()["paths"]


@pytest.mark.slow
def test_dashboard_and_page_name_existing_metrics(served):
    for call, *_ in CALLS.values():
        call(served)
    known = {name for name, _ in samples(served)}
    known |= set(re.findall("^# TYPE (tandem_\\w+)", served.get("/metrics").text, re.MULTILINE))
    known |= {re.sub("_(bucket|count|sum)$", "", name) for name in known}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(texts) > 10

    for text in [*texts, (ROOT / "docs" / "monitoring.md").read_text()]:
        named = set(re.findall(r"\b(?:tandem|process|python_gc)_[a-z_]+[a-z]\b", text))

        assert named <= known, named - known
