"""The benchmarks send every peer the same requests, detect differing responses, and report results correctly.

Nothing is timed here. Tandem with its additional models runs in a process of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlmodel import SQLModel

from benchmarks import machine
from benchmarks.__main__ import comparison_options, main, parser
from benchmarks.data import dataset
from benchmarks.data.dataset import Size
from benchmarks.load import Measurement
from benchmarks.peer import PEERS, TITLES, Peer, System
from benchmarks.reports import markdown, results
from benchmarks.reports.chart import WORKLOADS as CHART_WORKLOADS
from benchmarks.reports.chart import chart
from benchmarks.reports.results import PeerResults, Run, rejection_reason
from benchmarks.responses import Response, first_difference, normalized
from benchmarks.scaling.query_cost import QueryCost
from benchmarks.scaling.query_cost_postgres import literal
from benchmarks.scaling.report import RequestCost, growing_queries, report
from benchmarks.targets import targets
from benchmarks.workloads import WORKLOADS, Dialect, Workload, cursor_positions

ROOT = Path(__file__).parents[2]
SMALL = Size(600)


def measurement(requests: float, **more: Any) -> Measurement:
    return Measurement(
        **{"p50": 1.0, "p99": 2.0, "cpu": 30.0, "size": 500.0, "errors": 0, "requests": requests, **more}
    )


@pytest.fixture
def run() -> Run:
    """Results of Tandem and two peers, one of them without REST."""
    tandem = PeerResults(
        "tandem", "Tandem", "starlette 1", {name: [measurement(1000)] for name in CHART_WORKLOADS}, [0.5], [80 * 2**20]
    )
    slow = PeerResults(
        "fastapi",
        "FastAPI & co",
        "fastapi 1",
        {name: [measurement(10)] for name in CHART_WORKLOADS},
        [1.5],
        [90 * 2**20],
    )
    cached = PeerResults(
        "fastapi-cached", "cached", "", {"graphql-one": [measurement(40), measurement(60), measurement(50)]}
    )
    titles = {workload.name: workload.title for workload in WORKLOADS}
    machine = {"processor": "2 × <something>", "Python": "3.11", "pinned": "yes"}
    return Run(
        "2026-11-22", "abc1234", machine, 3, 5, 100_000, titles, [tandem, slow, cached], ["raw is left out: why"]
    )


def test_the_data_set_is_the_same_every_time():
    assert dataset.user(41) == dataset.user(41)
    assert [row["id"] for row in dataset.users(SMALL)] == sorted(dataset.user_id(number) for number in range(600))
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", row["id"])
        for row in dataset.users(SMALL)
    )


def test_groups_and_memberships_are_proportional_to_users():
    size = Size()

    assert (size.users, size.groups, size.memberships) == (100_000, 1_000, 300_000)
    assert sum(1 for _ in dataset.groups(SMALL)) == SMALL.groups == 6
    assert len({(row["group_id"], row["user_id"]) for row in dataset.memberships(SMALL)}) == SMALL.memberships


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda item: item.name)
def test_every_peer_gets_the_same_requests(workload: Workload):
    tandem = Dialect({number: dataset.user_id(number) for number in cursor_positions(SMALL)}, nodes=True)

    theirs, again, tandems = (workload.requests(dialect, SMALL, 20) for dialect in (Dialect(), Dialect(), tandem))

    assert theirs == again
    assert [request.path for request in tandems] == [request.path for request in theirs]
    bodies = [request.body.replace(b"nodes { id name }", b"id name") for request in tandems]
    assert bodies == [request.body for request in theirs]


def test_a_raw_request_has_a_content_length():
    workload = next(workload for workload in WORKLOADS if workload.name == "create")
    request = workload.make(Dialect(), SMALL, Random(1))

    head, _, body = request.raw({"Authorization": "Bearer x"}).partition(b"\r\n\r\n")

    assert head.startswith(b"POST /users HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["email"] == "new.~~~~~~~~~~@example.com"


def response(body: object, status: int = 200, content_type: str = "application/json") -> Response:
    return Response(status, content_type, body.encode() if isinstance(body, str) else json.dumps(body).encode())


EQUIVALENT = [
    ("list", {"items": [{"id": "a"}], "next": "opaque"}, {"next": "a", "items": [{"id": "a"}]}),
    ("graphql-nested", {"data": {"users": {"nodes": [{"groups": {"nodes": []}}], "pageInfo": {"endCursor": "x"}}}},
     {"data": {"users": {"nodes": [{"groups": []}], "pageInfo": {"endCursor": "y"}}}}),
    ("queries", [{"id": 5, "randomNumber": dataset.random_number(5)}],
     [{"id": 9, "randomNumber": dataset.random_number(9)}]),
    ("updates", [{"id": 5, "randomNumber": 1}], [{"id": 9, "randomNumber": 10_000}]),
    ("fortunes", "<table><tr><td>1</td><td>a &lt; b</td></tr></table>", "<table>\n<tr><td>1</td><td>a &#60; b</td>\n"),
]  # fmt: skip
DIFFERENT = [
    ("one", {"active": True}, {"active": 1}, "/active is 1, not True"),
    ("one", {"age": 3}, {}, "/age is missing"),
    ("one", {}, {"age": 3}, "/age is unexpected"),
    ("list", {"items": [], "next": None}, {"items": [], "next": "x"}, "/next is True, not False"),
    (
        "queries",
        [{"id": 5, "randomNumber": dataset.random_number(5)}],
        [{"id": 5, "randomNumber": 0}],
        "is False, not True",
    ),
    ("updates", [{"id": 5, "randomNumber": 1}], [{"id": 5, "randomNumber": 10_001}], "is False, not True"),
    ("graphql-one", {"data": {"user": {"id": "a"}}}, {"data": None, "errors": []}, "/data is None"),
    ("fortunes", "<td>a</td>", "<td>b</td>", "is 'b', not 'a'"),
    ("json", {"message": "Hello"}, "Hello", "cannot be read"),
]


@pytest.mark.parametrize("workload, expected, actual", EQUIVALENT)
def test_responses_may_differ_in_what_is_not_measured(workload: str, expected: object, actual: object):
    assert first_difference(normalized(workload, response(expected)), normalized(workload, response(actual))) is None


@pytest.mark.parametrize("workload, expected, actual, message", DIFFERENT)
def test_other_differences_are_reported(workload: str, expected: object, actual: object, message: str):
    difference = first_difference(normalized(workload, response(expected)), normalized(workload, response(actual)))

    assert message in str(difference)


def test_status_and_content_type_are_compared():
    assert first_difference(normalized("one", response({})), normalized("one", response({}, status=201)))
    assert first_difference(normalized("one", response({})), normalized("one", response({}, content_type="text/html")))
    assert not first_difference(
        normalized("one", response({})), normalized("one", response({}, content_type="application/json; a=b"))
    )


@pytest.mark.parametrize("found, message", [
    (measurement(1000), None),
    (measurement(1000, errors=1), None),
    (measurement(1000, errors=90), "90 errors"),
    (measurement(1000, size=80), "responses of 80 bytes"),
    (measurement(0, size=0), "no response in time"),
])  # fmt: skip
def test_a_measurement_with_errors_or_other_responses_is_rejected(found: Measurement, message: str | None):
    reason = rejection_reason(found, size=510)

    assert reason is None if message is None else message in str(reason)


def test_results_are_medians(run: Run):
    assert run.peers[2].requests("graphql-one") == 50
    assert run.ratio("fastapi-cached", "graphql-one") == 20
    assert run.ratio("fastapi-cached", "one") is None
    assert run.ratio("nobody", "one") is None


def test_results_are_saved_and_loaded(run: Run, tmp_path: Path):
    results.save(run, tmp_path / "results" / "run.json")

    assert results.load(tmp_path / "results" / "run.json") == run


def test_the_page_has_all_tables(run: Run):
    page = markdown.page(run)

    assert "| **Tandem** | – | – | 1,000 | 1,000 |" in markdown.throughput(run)
    assert "| FastAPI & co | – | – | 100 × | 100 × |" in markdown.ratios(run)
    assert "| cached | – | – |" in markdown.latencies(run)
    assert "| **Tandem** | 0.50 | 80 |" in markdown.footprint(run)
    assert all(
        words in page for words in ("`abc1234`", "3 rounds of 5 s", "python3 dev.py bench", "raw is left out: why")
    )
    for lines in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in lines.splitlines()}) == 1


def test_the_chart_is_self_contained(run: Run):
    picture = chart(run)

    root = ElementTree.fromstring(picture)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("Tandem") == len(CHART_WORKLOADS)
    assert {"one user", "1,000", "FastAPI, caches on"} <= set(texts)
    assert "prefers-color-scheme: dark" in picture
    assert re.findall(r"(?:href|src|url\(|@import|<script)", picture) == []
    assert re.findall(r"https?://[^\"]+", picture) == ["http://www.w3.org/2000/svg"]


def test_a_page_for_postgresql_names_its_settings(run: Run):
    postgres_machine = {
        **run.machine,
        "PostgreSQL": "18.6",
        "settings": "`fsync` on",
        "database": "It shares the load's core",
    }
    measurements = {"one": [measurement(1000, database=12.0)]}
    tandem = replace(run.peers[0], measurements=measurements)

    page = markdown.page(
        replace(run, system="postgres", machine=postgres_machine, peers=[tandem]), "chart-postgres.svg"
    )

    assert "# Benchmark results on PostgreSQL" in page
    assert "(chart-postgres.svg)" in page
    assert "`python3 dev.py bench --database postgres`" in page
    assert "PostgreSQL's settings: `fsync` on." in page
    assert "It shares the load's core." in page
    assert re.search(r"## PostgreSQL's processor time.*\| \*\*Tandem\*\* \| – \| – \| 12 \|", page, re.DOTALL)
    assert "SQLite" not in page.replace("aiosqlite", "")
    assert "PostgreSQL, 100,000 users" in chart(replace(run, system="postgres"))


@pytest.mark.parametrize("system, times", [("sqlite", 20), ("postgres", 15)])
def test_targets_are_compared_with_results(run: Run, system: System, times: int):
    run = replace(run, system=system)

    by_title = {target.title: target for target in targets(run)}

    one = by_title["one user, against FastAPI & co"]
    assert (one.threshold, one.measured, one.met) == (times, 100.0, True)
    assert not by_title["GraphQL one, against cached"].met  # 1000 / 50, below the threshold of 25
    assert (by_title["memory after load"].measured, by_title["memory after load"].met) == (80.0, True)
    assert not replace(by_title["memory after load"], measured=90.5).met
    assert f"| one user, against FastAPI & co | ≥ {times} × | 100 × | yes |" in markdown.target_table(run)
    assert "| GraphQL one, against cached | ≥ 25 × | 20 × | **no** |" in markdown.target_table(run)
    assert "one user, against cached" not in by_title


def test_growing_queries_are_reported():
    def costs(scanned: tuple[int, int], deep: tuple[int, int]) -> dict[str, RequestCost]:
        by_name = {"flat": (1000, 10), "deeper": deep, "scans": scanned, "unknown": (10, None)}
        return {name: RequestCost(0.5, QueryCost(1, steps, pages)) for name, (steps, pages) in by_name.items()}

    by_size = {Size(10_000): costs((1000, 10), (1000, 10)), Size(1_000_000): costs((9000, 999), (1400, 40))}

    assert growing_queries(by_size) == ["`scans`: from 1,000 to 9,000 steps, from 10 to 999 pages"]
    assert growing_queries(by_size, "postgres") == ["`scans`: from 1,000 to 9,000 rows, from 10 to 999 buffers"]
    assert "| `unknown` | 0.50 / 10 / – | 0.50 / 10 / – |" in report(by_size)


def test_every_peer_pins_its_packages():
    for name in {peer.folder for peer in PEERS if peer.folder}:
        folder = ROOT / "benchmarks" / "peers" / name
        if (folder / "package.json").exists():
            pinned = json.loads((folder / "package.json").read_text())["dependencies"]
            assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
        else:
            lines = (folder / "requirements.txt").read_text().splitlines()
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ;.*)?", line) for line in lines)


@pytest.mark.parametrize("peer", PEERS, ids=lambda item: item.name)
def test_every_peer_pins_a_driver_and_has_a_server_for_each_database(peer: Peer):
    folder = ROOT / "benchmarks" / "peers" / peer.folder

    packages = {system: machine.package_versions(peer, system) for system in TITLES}

    assert all(not driver or f"{driver} " in packages[system] for system, driver in peer.drivers.items())
    if any("{app}" in part for part in peer.command):
        ending = "js" if peer.runtime == "node" else "py"
        assert all((folder / f"{module}.{ending}").exists() for module in ("app", peer.postgres_module))


def test_optional_peers_run_only_when_named():
    def names(*arguments: str) -> list[str]:
        return [peer.name for peer in comparison_options(parser().parse_args(arguments)).peers]

    assert {"tandem", "raw"} <= set(names())
    assert not [name for name in names() if name.startswith("unguarded")]
    assert names("--only", "tandem,unguarded") == ["tandem", "unguarded"]


def test_middleware_may_cost_a_tenth_at_most(run: Run):
    bare = PeerResults(
        "unguarded", "bare", "", {name: [measurement(1100)] for name in CHART_WORKLOADS} | {"one": [measurement(1200)]}
    )

    with_bare = targets(replace(run, peers=[*run.peers, bare]))
    met = {target.title: target.met for target in with_bare if "bare" in target.title}

    assert set(met) == {f"{run.workloads[name]}, against bare" for name in CHART_WORKLOADS}
    assert [title for title, is_met in met.items() if not is_met] == ["one user, against bare"]


def test_importing_the_benchmarks_registers_no_models():
    assert {"world", "fortune"}.isdisjoint(SQLModel.metadata.tables)


def test_an_unknown_database_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--database", "mysql"])

    assert "unknown database mysql: expected sqlite, postgres or postgresql://" in capsys.readouterr().err


@pytest.mark.parametrize("value, sql", [
    (None, "NULL"),
    (36, "'36'"),
    ("O'Neil \\", "'O''Neil \\'"),
    (["a,b", 'c"\\'], """'{"a,b","c\\"\\\\"}'"""),
])  # fmt: skip
def test_a_parameter_becomes_an_sql_literal(value: object, sql: str):
    assert literal(value) == sql


PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from benchmarks.tandem import __main__, unguarded
from api.app import create_app
from api.settings import read_settings
from benchmarks import responses, workloads
from benchmarks.data import databases, dataset
from benchmarks.data.sqlite import SQLiteFiles
from benchmarks.scaling import queries, query_cost
from schema.engine.database_url import is_postgres
from schema.engine.operations.directory import Directory
from schema.engine.sqlite import inline_reader
from tests.fixtures.in_process import in_process_app

inline_reader.MAX_SECONDS = inline_reader.MAX_INSTRUCTIONS = 10**9  # an interrupted inline read would count twice

size = dataset.Size(600)
by_name = {workload.name: workload for workload in workloads.WORKLOADS}

def first_request(name):
    return by_name[name].requests(workloads.Dialect(), size, 1)[0]

async def main(database):
    url = database if is_postgres(database) else f"sqlite:///{database}"
    app = in_process_app(read_settings({"TANDEM_ENV": "development", "DATABASE_URL": url}))
    async with Directory(database) as directory:
        app.state.directory = directory
        for name, workload in by_name.items():
            if workload.api == "techempower":
                status, body = await query_cost.call_app(app, first_request(name))
                print(name, status, responses.normalized(name, responses.Response(status, "", body))[2])
        os.environ |= {"TANDEM_ENV": "production", "DATABASE_URL": url, "SECRET_KEY": "x" * 32}
        bare = unguarded.unguarded()
        bare.state.directory = directory
        for name in ("json", "one", "fortunes", "graphql-one"):
            status, body = await query_cost.call_app(bare, first_request(name))
            same = (status, body) == await query_cost.call_app(app, first_request(name))
            print("unguarded-" + name, same and status == 200 and b'"errors"' not in body)
    measured = list(queries.queries(size, database))
    costs = await query_cost.measure_costs(database, measured)
    single = all(cost.statements == 1 for name, cost in costs.items() if name != "create")
    print("measured", len(costs) == len(measured), single)
    several = [queries.Query(name, (first_request(name),)) for name in ("queries", "updates")]
    each = await query_cost.measure_costs(database, several)
    print("statements", each["queries"].statements, each["updates"].statements)
    print("cost", all(cost.pages for cost in costs.values()), costs["one user"].steps, costs["first page"].steps)

def run(database_server):
    with database_server.copy("tandem", size) as database:
        asyncio.run(main(database))
    for owner, table in (("tandem", "user"), ("tandem", "world"), ("peers", "users"), ("peers", "memberships")):
        with database_server.copy(owner, size) as database:
            print("rows", owner, table, databases.fetch_row(database, f'SELECT count(*) FROM "{table}"')[0])
    print("described", *database_server.description())

if sys.argv[2] == "sqlite":
    run(SQLiteFiles(Path(sys.argv[1])))
else:
    with databases.open_server(sys.argv[2]) as database_server:
        run(database_server)
"""


@pytest.mark.slow
def test_tandem_is_measured_as_its_users_run_it(database_type: str, request: pytest.FixtureRequest, tmp_path: Path):
    server = "sqlite" if database_type == "sqlite" else request.getfixturevalue("postgres_server")

    command = [sys.executable, "-c", PROGRAM, str(tmp_path), server]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)

    assert process.returncode == 0, process.stderr
    lines = [line for line in process.stdout.splitlines() if not line.startswith("Creating")]
    output = dict(line.split(" ", 1) for line in lines)
    assert output["json"] == "200 {'message': 'Hello, World!'}"
    assert output["plaintext"] == "200 Hello, World!"
    assert output["queries"] == f"200 {[True] * 20}"
    assert output["updates"] == f"200 {[True] * 21}"
    assert "<script>alert('This should not be displayed.');</script>" in output["fortunes"]
    bare = [same for name, same in output.items() if name.startswith("unguarded-")]
    assert bare == ["True"] * 4, "without middleware the responses are the same, without a credential"
    assert output["measured"] == "True True"
    if database_type == "postgres":  # SQLite's statements are compared by text, and the same row may be drawn twice
        assert output["statements"] == "20 40", "each row is read by a query of its own"
        assert output["cost"].startswith("False 1 "), "one row; a query that can match nothing accesses no buffer"
    rows = [line.split()[1:] for line in lines if line.startswith("rows ")]
    assert rows == [
        ["tandem", "user", "600"],
        ["tandem", "world", "10000"],
        ["peers", "users", "600"],
        ["peers", "memberships", "1800"],
    ]
    assert ("PostgreSQL" in output["described"]) is (database_type == "postgres")
    assert list(tmp_path.glob("copy-*")) == []
