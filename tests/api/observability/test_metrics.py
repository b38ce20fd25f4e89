"""What goes on is counted: by door, operation and answer, and as numbers that a scraper can read, but not everybody."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from api.observability.request_metrics import RequestMetrics
from api.server.http.limits import ConnectionLimits
from api.settings import read
from schema.engine.errors import InvalidCredential, Unauthenticated
from schema.engine.model.policy import Actor
from tests.conftest import BASE, HERE
from tests.fixtures.clients import ADMIN, EDITOR, READER
from tests.fixtures.raw_http import say, serving

pytestmark = [pytest.mark.usefixtures("once"), pytest.mark.sqlite]

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
def served(crowded):
    """The service, started for the test alone, so that its counts begin at nothing."""
    settings = read({"DATABASE_URL": f"sqlite:///{crowded}", "TANDEM_METRICS_TOKEN": TOKEN})
    with TestClient(create_app(settings, authenticate), base_url=BASE, client=HERE) as opened:
        yield opened


def figures(http_client, **headers):
    """All samples by their names, each with its labels as a frozen set."""
    text = http_client.get("/metrics", headers=headers).raise_for_status().text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(http_client, name, **labels):
    return figures(http_client).get((name, frozenset(labels.items())), 0)


def ask(http_client, query):
    return http_client.post("/graphql", json={"query": query})


CALLS = {
    "a list": (lambda http_client: http_client.get("/users?sort=-age"), "rest", "listUsers", "200"),
    "a list in vain": (lambda http_client: http_client.get("/users?sort=color"), "rest", "listUsers", "422"),
    "a record that is not there": (lambda http_client: http_client.get("/groups/nothing"), "rest", "getGroup", "404"),
    "a list below": (lambda http_client: http_client.get("/users/secret-name/groups"), "rest", "listUserGroups", "404"),
    "a creation": (lambda http_client: http_client.post("/groups", json={"name": "New"}), "rest", "createGroup", "201"),
    "without credential": (
        lambda http_client: http_client.get("/users", headers={"authorization": "Bearer nobody"}), "rest",
        "listUsers", "401",
    ),
    "a query": (lambda http_client: ask(http_client, "query Mine { users { totalCount } }"), "graphql",
        "compiledQuery", "200"),
    "introspection": (lambda http_client: ask(http_client, "{ __schema { description } }"), "graphql",
        "interpretedQuery", "200"),
    "a mutation": (
        lambda http_client: ask(http_client, 'mutation { deleteUser(input: {id: "x"}) { deletedId } }'),
        "graphql", "mutation", "200",
    ),
    "what is no query": (lambda http_client: ask(http_client, "{ nobody }"), "graphql", "refusedOperation", "200"),
    "nothing known": (lambda http_client: http_client.get("/users/a/b/c/d"), "other", "other", "404"),
    "a long way": (lambda http_client: http_client.get("/" + "x" * 9000), "other", "other", "414"),
    "a method that is not there": (lambda http_client: http_client.patch("/users"), "other", "other", "405"),
}  # fmt: skip


@pytest.mark.parametrize("call, door, operation, status", CALLS.values(), ids=CALLS)
def test_a_request_is_counted_under_its_door_operation_and_status(served, call, door, operation, status):
    before = figure(served, "tandem_requests_total", door=door, operation=operation, status=status)

    call(served)

    after = figures(served)
    labels = {"door": door, "operation": operation}
    assert after["tandem_requests_total", frozenset({**labels, "status": status}.items())] == before + 1
    assert after["tandem_request_seconds_count", frozenset(labels.items())] >= 1
    assert after["tandem_request_seconds_bucket", frozenset({**labels, "le": "+Inf"}.items())] >= 1


WIRE = {
    "no HTTP": (b"hello\r\n\r\n", "400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", "400"),
    "a long URL": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", "414"),
    "a large head": (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * 40000 + b"\r\n\r\n", "431"),
    "a proxy's task": (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", "501"),
    "another version": (b"GET / HTTP/3.0\r\nhost: a\r\n\r\n", "505"),
}


@pytest.mark.parametrize("sent, status", WIRE.values(), ids=WIRE)
def test_what_is_refused_before_it_is_a_request_is_counted_too(crowded, sent, status):
    settings = read({"DATABASE_URL": f"sqlite:///{crowded}", "TANDEM_METRICS_TOKEN": TOKEN})
    with serving(create_app(settings, authenticate)) as port:
        refused = say(port, sent)[0][0]
        head = f"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
        told = say(port, head)[0][2].decode()

    assert str(refused) == status
    labels = f'{{door="wire",operation="refusal",status="{status}"}}'
    assert f"tandem_requests_total{labels} 1.0\n" in told


def test_who_is_too_slow_to_ask_is_counted_too(crowded):
    settings = read({"DATABASE_URL": f"sqlite:///{crowded}"})
    made = create_app(settings, authenticate)
    with serving(made, ConnectionLimits(read_timeout=0.1, sweep_interval=0.05)) as port:
        (refused,) = say(port, b"GET / HT", answers=1)

    assert refused[0] == 408
    assert made.state.request_metrics.refused == {408: 1}


def test_nothing_that_a_caller_names_becomes_a_label(served):
    for call, *_ in CALLS.values():
        call(served)

    text = served.get("/metrics").text

    assert not re.search(r"secret-name|Mine|xxx|color|nothing|/users", text)


def test_the_database_the_caches_and_the_loop_are_counted(served):
    for _ in range(3):
        ask(served, "{ users(first: 3) { nodes { id } } }")
    served.post("/groups", json={"name": "New"})
    told = figures(served)

    def of(name, **labels):
        return told[name, frozenset(labels.items())]

    assert of("tandem_database_trip_seconds_count", kind="glance") == 3
    assert of("tandem_database_trip_seconds_count", kind="read") == 0
    assert of("tandem_database_trip_seconds_count", kind="write") == 1
    assert of("tandem_database_group_size_count") == of("tandem_database_group_size_sum") == 1
    assert of("tandem_database_waiting", lane="writer") == 0
    assert of("tandem_cache_hits_total", cache="documents") == 1
    assert of("tandem_cache_misses_total", cache="documents") == 2
    assert of("tandem_cache_entries", cache="documents") == 1
    assert of("tandem_cache_hits_total", cache="plans") >= 1
    assert of("tandem_cache_bytes", cache="plans") > 1000 * of("tandem_cache_entries", cache="plans") > 0
    assert of("tandem_requests_running") == 1
    assert of("process_resident_memory_bytes") > 10**6


async def test_a_loop_that_was_held_up_shows_in_its_lag(monkeypatch):
    monkeypatch.setattr("api.observability.request_metrics.LAG_EVERY", 0.001)
    figures = RequestMetrics()

    with figures.watching():
        for _ in range(200):
            if figures.lag.total:
                break
            await asyncio.sleep(0.001)
    noted = sum(figures.lag.counts)
    await asyncio.sleep(0.01)

    assert noted > 0
    assert sum(figures.lag.counts) == noted


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
def test_only_administrators_and_the_scraper_are_told(served, sent, status):
    assert served.get("/metrics", headers=sent).status_code == status


def test_the_scrapers_token_opens_nothing_else(served):
    assert served.get("/users", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 401


def test_in_production_without_a_token_nobody_is_told(production):
    assert production.get("/metrics").status_code == 401
    assert production.get("/metrics", headers={"authorization": "Bearer None"}).status_code == 401


def test_open_metrics_is_spoken_with_who_takes_it(served):
    answer = served.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    assert "tandem_requests" in {family.name for family in open_metrics(answer.text)}
    assert served.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_several_workers_say_which_of_them_it_is(served, monkeypatch):
    from api.observability import exposition

    usual = exposition.exposed
    monkeypatch.setattr(
        exposition, "exposed", lambda *given: usual(given[0], given[1], given[2], given[3], "4711", None)
    )

    assert {dict(labels).get("worker") for _, labels in figures(served)} == {"4711"}


def test_the_metrics_are_no_part_of_the_document(served):
    assert "/metrics" not in served.get("/openapi.json").json()["paths"]


def test_the_dashboard_and_the_page_name_only_what_there_is(served):
    for call, *_ in CALLS.values():
        call(served)
    known = {name for name, _ in figures(served)}
    known |= set(re.findall("^# TYPE (tandem_\\w+)", served.get("/metrics").text, re.MULTILINE))
    known |= {re.sub("_(bucket|count|sum)$", "", name) for name in known}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(texts) > 10

    for text in [*texts, (ROOT / "docs" / "watching.md").read_text()]:
        named = set(re.findall(r"\b(?:tandem|process|python_gc)_[a-z_]+[a-z]\b", text))

        assert named <= known, named - known
