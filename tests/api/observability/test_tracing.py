"""A request continues its caller's trace, reports its time on request, and exports spans to OpenTelemetry."""

from __future__ import annotations

import re

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from api.observability.metrics import trace_id_of
from api.settings import InvalidSetting
from tests.conftest import BASE_URL, CLIENT_ADDRESS, settings_for
from tests.fixtures.in_process import in_process_app

pytestmark = [pytest.mark.usefixtures("without_replay"), pytest.mark.sqlite]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "header, expected",
    [
        (PARENT, TRACE),
        (f"00-{TRACE}-{SPAN}-00", TRACE),
        (f" {PARENT} ", TRACE),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", TRACE),
        (f"cc-{TRACE}-{SPAN}-01", TRACE),
        (f"00-{TRACE}-{SPAN}-01-what", None),
        (f"cc-{TRACE}-{SPAN}-01.what", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (PARENT.upper(), None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"{PARENT}\n", None),
        ("", None),
    ],
)
def test_traceparent_is_read_by_the_recommendation(header, expected):
    assert trace_id_of(header.encode()) == expected


def test_a_callers_trace_is_the_requests_id(http_client):
    response = http_client.get("/users?color=red", headers={"traceparent": PARENT, "tracestate": "vendor=x"})

    assert response.headers["x-request-id"] == response.json()["request_id"] == TRACE


@pytest.mark.parametrize("sent", [[], [("traceparent", "nonsense")], [("traceparent", PARENT)] * 2])
def test_a_request_without_a_trace_gets_an_id(http_client, sent):
    assert re.fullmatch("[0-9a-f]{16}", http_client.get("/users", headers=sent).headers["x-request-id"])


@pytest.mark.parametrize("prefer", ["server-timing", "respond-async, Server-Timing", "handling=strict,server-timing"])
def test_server_timing_is_sent_on_request(http_client, prefer):
    response = http_client.get("/users", headers={"prefer": prefer})

    match = re.fullmatch(r'db;dur=([\d.]+);desc="1 round trip", total;dur=([\d.]+)', response.headers["server-timing"])
    assert match
    assert 0 < float(match[1]) <= float(match[2])
    assert response.headers["preference-applied"] == "server-timing"


def test_server_timing_counts_a_requests_own_round_trips(http_client):
    fields = (f'{name}: createGroup(input: {{name: "{name}"}}) {{ group {{ id }} }}' for name in "ab")
    query = f"mutation {{ {' '.join(fields)} }}"
    timed = {"prefer": "server-timing"}

    several = http_client.post("/graphql", json={"query": query}, headers=timed)
    none = http_client.get("/users?color=red", headers=timed)

    assert 'desc="2 round trips"' in several.headers["server-timing"]
    assert 'desc="0 round trips"' in none.headers["server-timing"]


@pytest.mark.parametrize("prefer", [None, "return=minimal", "server-timings"])
def test_server_timing_is_not_sent_by_default(http_client, prefer):
    response = http_client.get("/users", headers={"prefer": prefer} if prefer else {})

    assert "server-timing" not in response.headers
    assert "preference-applied" not in response.headers


@pytest.fixture(scope="module")
def spans():
    """The exporter that holds the finished spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def traced(database, spans):
    with TestClient(
        in_process_app(settings_for(database, TANDEM_TRACING="on")), base_url=BASE_URL, client=CLIENT_ADDRESS
    ) as opened:
        spans.clear()
        yield opened


def test_a_request_and_its_round_trips_are_spans_of_the_clients_trace(traced, spans):
    response = traced.get("/users?first_name=Zebra", headers={"traceparent": PARENT, "tracestate": "vendor=x"})

    read, request = spans.get_finished_spans()
    assert (read.name, request.name) == ("database inline", "listUsers")
    assert {format(span.context.trace_id, "032x") for span in (read, request)} == {TRACE}
    assert (format(request.parent.span_id, "016x"), read.parent.span_id) == (SPAN, request.context.span_id)
    assert request.context.trace_state.get("vendor") == "x"
    assert dict(request.attributes) == {
        "tandem.operation": "listUsers", "http.request.method": "GET", "http.response.status_code": 200,
    }  # fmt: skip
    assert request.start_time <= read.start_time <= read.end_time <= request.end_time
    assert response.headers["x-request-id"] == TRACE


def test_no_value_and_no_path_is_in_a_span(traced, spans):
    user = traced.post("/users", json={"first_name": "Zebra", "age": 73}).json()
    traced.get("/users?first_name=Zebra&age=73")
    traced.get(f"/users/{user['id']}")
    traced.get("/Zebra")

    exported = repr([(span.name, span.attributes, span.events, span.links) for span in spans.get_finished_spans()])
    assert "SELECT" in exported
    assert not re.search(rf"Zebra|\b73\b|{user['id']}", exported)


def test_without_a_callers_trace_the_spans_is_the_requests_id(traced, spans):
    response = traced.get("/me")

    (request,) = spans.get_finished_spans()
    assert response.headers["x-request-id"] == format(request.context.trace_id, "032x")
    assert request.parent is None


def test_a_server_error_is_an_error_in_its_span(traced, spans):
    traced.portal.call(traced.app.state.directory.close)

    assert traced.get("/users").status_code == 503

    *_, request = spans.get_finished_spans()
    assert request.status.status_code is trace.StatusCode.ERROR


@pytest.mark.slow
def test_server_timing_and_tracing_work_together(traced, spans):
    response = traced.get("/users", headers={"prefer": "server-timing"})

    assert 'desc="1 round trip"' in response.headers["server-timing"]
    assert [span.name for span in spans.get_finished_spans()] == ["database inline", "listUsers"]


def test_tracing_is_off_by_default(http_client, spans):
    spans.clear()

    http_client.get("/users")

    assert spans.get_finished_spans() == ()


def test_an_invalid_tracing_setting_is_refused(database):
    with pytest.raises(
        InvalidSetting, match=r"TANDEM_TRACING must be off, or on where opentelemetry-api .*, got 'yes'"
    ):
        settings_for(database, TANDEM_TRACING="yes")
