"""The benchmarks ask everybody the same, notice when answers differ, and say truly what came of it.

Nothing is timed here. What is built on Tandem's own rooms runs in a process of its own: its models are no part of ours.
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

from benchmarks import figures, machine, people, tables
from benchmarks.__main__ import main, parser, planned
from benchmarks.answers import Answer, difference, normal
from benchmarks.chart import SHOWN, chart
from benchmarks.effort import Effort
from benchmarks.effort_postgres import literal
from benchmarks.figures import Figures, Run, objection
from benchmarks.load import Measure
from benchmarks.people import Size
from benchmarks.roster import PEERS, TITLES, Peer, System
from benchmarks.targets import targets
from benchmarks.verdict import Cost, growing, report
from benchmarks.workloads import WORKLOADS, Dialect, Workload, marks

ROOT = Path(__file__).parents[2]
SMALL = Size(600)


def measure(requests: float, **more: Any) -> Measure:
    return Measure(**{"p50": 1.0, "p99": 2.0, "cpu": 30.0, "size": 500.0, "errors": 0, "requests": requests, **more})


@pytest.fixture
def run() -> Run:
    """Tandem and two peers, of whom one has no REST."""
    tandem = Figures("tandem", "Tandem", "starlette 1", {name: [measure(1000)] for name in SHOWN}, [0.5], [80 * 2**20])
    slow = Figures("fastapi", "FastAPI & co", "fastapi 1", {name: [measure(10)] for name in SHOWN}, [1.5], [90 * 2**20])
    cached = Figures("fastapi-cached", "cached", "", {"graphql-one": [measure(40), measure(60), measure(50)]})
    titles = {it.name: it.title for it in WORKLOADS}
    machine = {"processor": "2 × <something>", "Python": "3.11", "pinned": "yes"}
    return Run(
        "2026-11-22", "abc1234", machine, 3, 5, 100_000, titles, [tandem, slow, cached], ["raw is left out: why"]
    )


def test_the_same_people_every_time():
    assert people.user(41) == people.user(41)
    assert [row["id"] for row in people.users(SMALL)] == sorted(people.user_id(number) for number in range(600))
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", row["id"])
        for row in people.users(SMALL)
    )


def test_as_many_groups_and_memberships_as_promised():
    size = Size()

    assert (size.users, size.groups, size.memberships) == (100_000, 1_000, 300_000)
    assert sum(1 for _ in people.groups(SMALL)) == SMALL.groups == 6
    assert len({(row["group_id"], row["user_id"]) for row in people.memberships(SMALL)}) == SMALL.memberships


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda it: it.name)
def test_everybody_is_asked_the_same(workload: Workload):
    mine = Dialect({number: people.user_id(number) for number in marks(SMALL)}, nodes=True)

    theirs, again, ours = (workload.asks(dialect, SMALL, 20) for dialect in (Dialect(), Dialect(), mine))

    assert theirs == again
    assert [ask.path for ask in ours] == [ask.path for ask in theirs]
    assert [ask.body.replace(b"nodes { id name }", b"id name") for ask in ours] == [ask.body for ask in theirs]


def test_a_request_goes_over_the_wire_with_its_length():
    ask = next(it for it in WORKLOADS if it.name == "create").make(Dialect(), SMALL, Random(1))

    head, _, body = ask.raw({"Authorization": "Bearer x"}).partition(b"\r\n\r\n")

    assert head.startswith(b"POST /users HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["email"] == "new.~~~~~~~~~~@example.com"


def answered(body: object, status: int = 200, kind: str = "application/json") -> Answer:
    return Answer(status, kind, body.encode() if isinstance(body, str) else json.dumps(body).encode())


ALIKE = [
    ("list", {"items": [{"id": "a"}], "next": "opaque"}, {"next": "a", "items": [{"id": "a"}]}),
    ("graphql-nested", {"data": {"users": {"nodes": [{"groups": {"nodes": []}}], "pageInfo": {"endCursor": "x"}}}},
     {"data": {"users": {"nodes": [{"groups": []}], "pageInfo": {"endCursor": "y"}}}}),
    ("queries", [{"id": 5, "randomNumber": people.number_of(5)}], [{"id": 9, "randomNumber": people.number_of(9)}]),
    ("updates", [{"id": 5, "randomNumber": 1}], [{"id": 9, "randomNumber": 10_000}]),
    ("fortunes", "<table><tr><td>1</td><td>a &lt; b</td></tr></table>", "<table>\n<tr><td>1</td><td>a &#60; b</td>\n"),
]  # fmt: skip
UNLIKE = [
    ("one", {"active": True}, {"active": 1}, "/active is 1, not True"),
    ("one", {"age": 3}, {}, "/age is missing"),
    ("one", {}, {"age": 3}, "/age is too much"),
    ("list", {"items": [], "next": None}, {"items": [], "next": "x"}, "/next is True, not False"),
    ("queries", [{"id": 5, "randomNumber": people.number_of(5)}], [{"id": 5, "randomNumber": 0}], "is False, not True"),
    ("updates", [{"id": 5, "randomNumber": 1}], [{"id": 5, "randomNumber": 10_001}], "is False, not True"),
    ("graphql-one", {"data": {"user": {"id": "a"}}}, {"data": None, "errors": []}, "/data is None"),
    ("fortunes", "<td>a</td>", "<td>b</td>", "is 'b', not 'a'"),
    ("json", {"message": "Hello"}, "Hello", "cannot be read"),
]


@pytest.mark.parametrize("workload, one, other", ALIKE)
def test_what_may_differ_is_not_held_against_a_peer(workload: str, one: object, other: object):
    assert difference(normal(workload, answered(one)), normal(workload, answered(other))) is None


@pytest.mark.parametrize("workload, one, other, told", UNLIKE)
def test_what_differs_is_told(workload: str, one: object, other: object, told: str):
    assert told in (difference(normal(workload, answered(one)), normal(workload, answered(other))) or "")


def test_status_and_kind_belong_to_the_answer():
    assert difference(normal("one", answered({})), normal("one", answered({}, status=201)))
    assert difference(normal("one", answered({})), normal("one", answered({}, kind="text/html")))
    assert not difference(normal("one", answered({})), normal("one", answered({}, kind="application/json; a=b")))


@pytest.mark.parametrize("found, told", [
    (measure(1000), None),
    (measure(1000, errors=1), None),
    (measure(1000, errors=90), "90 errors"),
    (measure(1000, size=80), "answers of 80 bytes"),
    (measure(0, size=0), "not one answer"),
])  # fmt: skip
def test_a_measure_with_errors_or_other_answers_does_not_count(found: Measure, told: str | None):
    objected = objection(found, size=510)

    assert objected is None if told is None else told in str(objected)


def test_what_counts_is_the_median(run: Run):
    assert run.peers[2].requests("graphql-one") == 50
    assert run.ratio("fastapi-cached", "graphql-one") == 20
    assert run.ratio("fastapi-cached", "one") is None
    assert run.ratio("nobody", "one") is None


def test_figures_are_kept_as_they_were(run: Run, tmp_path: Path):
    figures.keep(run, tmp_path / "results" / "run.json")

    assert figures.read(tmp_path / "results" / "run.json") == run


def test_the_tables_say_what_was_measured(run: Run):
    page = tables.report(run)

    assert "| **Tandem** | – | – | 1,000 | 1,000 |" in tables.requests(run)
    assert "| FastAPI & co | – | – | 100 × | 100 × |" in tables.ratios(run)
    assert "| cached | – | – |" in tables.latencies(run)
    assert "| **Tandem** | 0.50 | 80 |" in tables.footprint(run)
    assert all(
        words in page for words in ("`abc1234`", "3 rounds of 5 s", "python3 dev.py bench", "raw is left out: why")
    )
    for lines in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in lines.splitlines()}) == 1


def test_the_chart_is_a_picture_that_needs_nothing_else(run: Run):
    picture = chart(run)

    root = ElementTree.fromstring(picture)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("Tandem") == len(SHOWN)
    assert {"one user", "1,000", "FastAPI, caches on"} <= set(texts)
    assert "prefers-color-scheme: dark" in picture
    assert re.findall(r"(?:href|src|url\(|@import|<script)", picture) == []
    assert re.findall(r"https?://[^\"]+", picture) == ["http://www.w3.org/2000/svg"]


def test_a_page_on_postgresql_says_what_it_ran_with(run: Run):
    there = {**run.machine, "PostgreSQL": "18.6", "settings": "`fsync` on", "database": "It shares the load's core"}
    measures = {"one": [measure(1000, database=12.0)]}
    tandem = replace(run.peers[0], measures=measures)

    page = tables.report(replace(run, system="postgres", machine=there, peers=[tandem]), "chart-postgres.svg")

    assert "# How fast, on PostgreSQL" in page
    assert "(chart-postgres.svg)" in page
    assert "`python3 dev.py bench --database postgres`" in page
    assert "PostgreSQL's settings: `fsync` on." in page
    assert "It shares the load's core." in page
    assert re.search(r"## PostgreSQL's processor time.*\| \*\*Tandem\*\* \| – \| – \| 12 \|", page, re.DOTALL)
    assert "SQLite" not in page.replace("aiosqlite", "")
    assert "PostgreSQL, 100,000 users" in chart(replace(run, system="postgres"))


@pytest.mark.parametrize("system, times", [("sqlite", 20), ("postgres", 15)])
def test_what_was_to_be_reached_is_held_against_what_was_found(run: Run, system: System, times: int):
    run = replace(run, system=system)

    found = {it.title: it for it in targets(run)}

    one = found["one user, against FastAPI & co"]
    assert (one.wanted, one.found, one.met) == (times, 100.0, True)
    assert not found["GraphQL one, against cached"].met  # 1000 for 50, where 25 times as many were wanted
    assert (found["memory after load"].found, found["memory after load"].met) == (80.0, True)
    assert not replace(found["memory after load"], found=90.5).met
    assert f"| one user, against FastAPI & co | ≥ {times} × | 100 × | yes |" in tables.reached(run)
    assert "| GraphQL one, against cached | ≥ 25 × | 20 × | **no** |" in tables.reached(run)
    assert "one user, against cached" not in found


def test_what_grows_with_the_table_is_told():
    def costs(scanned: tuple[int, int], deep: tuple[int, int]) -> dict[str, Cost]:
        efforts = {"flat": (1000, 10), "deeper": deep, "scans": scanned, "blind": (10, None)}
        return {name: Cost(0.5, Effort(1, steps, pages)) for name, (steps, pages) in efforts.items()}

    found = {Size(10_000): costs((1000, 10), (1000, 10)), Size(1_000_000): costs((9000, 999), (1400, 40))}

    assert growing(found) == ["`scans`: from 1,000 to 9,000 steps, from 10 to 999 pages"]
    assert growing(found, "postgres") == ["`scans`: from 1,000 to 9,000 rows, from 10 to 999 buffers"]
    assert "| `blind` | 0.50 / 10 / – | 0.50 / 10 / – |" in report(found)


def test_every_peer_is_pinned_and_names_no_source():
    for folder in {peer.folder for peer in PEERS if peer.folder}:
        home = ROOT / "benchmarks" / "peers" / folder
        if (home / "package.json").exists():
            pinned = json.loads((home / "package.json").read_text())["dependencies"]
            assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
        else:
            lines = (home / "requirements.txt").read_text().splitlines()
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ;.*)?", line) for line in lines)


@pytest.mark.parametrize("peer", PEERS, ids=lambda it: it.name)
def test_every_peer_has_a_server_and_a_pinned_driver_for_either_database(peer: Peer):
    home = ROOT / "benchmarks" / "peers" / peer.folder

    told = {system: machine.made_of(peer, system) for system in TITLES}

    assert all(not driver or f"{driver} " in told[system] for system, driver in peer.drivers.items())
    if any("{app}" in part for part in peer.command):
        ending = "js" if peer.runtime == "node" else "py"
        assert all((home / f"{module}.{ending}").exists() for module in ("app", peer.on_postgres))


def test_what_stands_aside_is_measured_where_it_is_named():
    def names(*given: str) -> list[str]:
        return [peer.name for peer in planned(parser().parse_args(given)).peers]

    assert {"tandem", "raw"} <= set(names())
    assert not [name for name in names() if name.startswith("unguarded")]
    assert names("--only", "tandem,unguarded") == ["tandem", "unguarded"]


def test_guards_are_to_take_a_tenth_at_most(run: Run):
    bare = Figures("unguarded", "bare", "", {name: [measure(1100)] for name in SHOWN} | {"one": [measure(1200)]})

    found = {it.title: it.met for it in targets(replace(run, peers=[*run.peers, bare])) if "bare" in it.title}

    assert set(found) == {f"{run.workloads[name]}, against bare" for name in SHOWN}
    assert [title for title, met in found.items() if not met] == ["one user, against bare"]


def test_the_models_that_are_measured_are_no_part_of_ours():
    assert {"world", "fortune"}.isdisjoint(SQLModel.metadata.tables)


def test_only_databases_that_there_are_can_be_asked_for(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--database", "mysql"])

    assert "there is no mysql; there are sqlite, postgres, and URLs" in capsys.readouterr().err


@pytest.mark.parametrize("value, sql", [
    (None, "NULL"),
    (36, "'36'"),
    ("O'Neil \\", "'O''Neil \\'"),
    (["a,b", 'c"\\'], """'{"a,b","c\\"\\\\"}'"""),
])  # fmt: skip
def test_a_statement_is_explained_with_its_parameters(value: object, sql: str):
    assert literal(value) == sql


OWN_ROOMS = """
import asyncio, os, sys
from pathlib import Path
from benchmarks.tandem import __main__, unguarded
from api.app import create_app
from api.settings import read
from benchmarks import answers, databases, effort, people, questions, stores, workloads
from schema.engine.sqlite import inline_reader
from schema.engine.operations.directory import Directory
from schema.engine.database_url import is_postgres
from tests.fixtures.in_process import in_process_app

inline_reader.MAX_SECONDS = inline_reader.MAX_INSTRUCTIONS = 10**9  # an interrupted inline read would count twice
databases.KEPT, size = Path(sys.argv[1]), people.Size(600)

async def main(database):
    url = database if is_postgres(database) else f"sqlite:///{database}"
    app = in_process_app(read({"TANDEM_ENV": "development", "DATABASE_URL": url}))
    async with Directory(database) as directory:
        app.state.directory = directory
        for it in workloads.WORKLOADS:
            if it.door == "kinds":
                status, body = await effort.answered(app, it.asks(workloads.Dialect(), size, 1)[0])
                print(it.name, status, answers.normal(it.name, answers.Answer(status, "", body))[2])
        os.environ |= {"TANDEM_ENV": "production", "DATABASE_URL": url, "SECRET_KEY": "x" * 32}
        bare = unguarded.unguarded()
        bare.state.directory = directory
        for it in workloads.WORKLOADS:
            if it.name in ("json", "one", "fortunes", "graphql-one"):
                ask = it.asks(workloads.Dialect(), size, 1)[0]
                status, body = await effort.answered(bare, ask)
                same = (status, body) == await effort.answered(app, ask)
                print("unguarded-" + it.name, same and status == 200 and b'"errors"' not in body)
    asked = list(questions.questions(size, database))
    found = await effort.measured(database, asked)
    print("asked", len(found) == len(asked), all(it.statements == 1 for name, it in found.items() if name != "create"))
    several = [it for it in workloads.WORKLOADS if it.name in ("queries", "updates")]
    asked = [questions.Question(it.name, tuple(it.asks(workloads.Dialect(), size, 1))) for it in several]
    each = await effort.measured(database, asked)
    print("statements", each["queries"].statements, each["updates"].statements)
    print("effort", all(it.pages for it in found.values()), found["one user"].steps, found["first page"].steps)

with stores.opened(sys.argv[2]) as store:
    with store.copied("tandem", size) as database:
        asyncio.run(main(database))
    gone = database
    for owner, table in (("tandem", "user"), ("tandem", "world"), ("peers", "users"), ("peers", "memberships")):
        with store.copied(owner, size) as database:
            print("rows", owner, table, stores.row(database, f'SELECT count(*) FROM "{table}"')[0])
    print("described", *store.described())
"""


def test_what_is_built_on_our_own_rooms_stands(store: str, request: pytest.FixtureRequest, tmp_path: Path):
    asked = "sqlite" if store == "sqlite" else request.getfixturevalue("postgres_server")

    command = [sys.executable, "-c", OWN_ROOMS, str(tmp_path), asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("Making")]
    said = dict(line.split(" ", 1) for line in lines)
    assert said["json"] == "200 {'message': 'Hello, World!'}"
    assert said["plaintext"] == "200 Hello, World!"
    assert said["queries"] == f"200 {[True] * 20}"
    assert said["updates"] == f"200 {[True] * 21}"
    assert "<script>alert('This should not be displayed.');</script>" in said["fortunes"]
    bare = [same for name, same in said.items() if name.startswith("unguarded-")]
    assert bare == ["True"] * 4, "it answers as with its guards, without a credential"
    assert said["asked"] == "True True"
    if store == "postgres":  # SQLite's are told apart by their text, and the same row may be drawn twice
        assert said["statements"] == "20 40", "each row is read by a query of its own"
        assert said["effort"].startswith("False 1 "), "one row, and what nobody can be costs no buffer"
    rows = [line.split()[1:] for line in lines if line.startswith("rows ")]
    assert rows == [
        ["tandem", "user", "600"],
        ["tandem", "world", "10000"],
        ["peers", "users", "600"],
        ["peers", "memberships", "1800"],
    ]
    assert ("PostgreSQL" in said["described"]) is (store == "postgres")
    assert list(tmp_path.glob("copy-*")) == []
