"""A new resource is one file, one line and a migration: then both APIs have it, with both ends of its relations.

The file and the line are the README's. They are added to a copy of the project, which is then migrated and served.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fixtures.raw_http import free_port

ROOT = Path(__file__).parents[3]
LINE = "from schema.models.team import Team"

# A second resource, with every awkward name and kind of field.
AWKWARD = '''
"""Entries."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlmodel import Field

from schema.engine import Record, Rules, action, extra, signed_in


class Colour(StrEnum):
    """A colour."""

    RED = "red"
    DARK_BLUE = "dark-blue"


class Entry(Record, table=True):
    """An entry whose fields have awkward names."""

    rules: ClassVar[Rules] = Rules(read=signed_in, create=signed_in, update=signed_in, delete=signed_in)

    order: int | None = Field(default=None, index=True, description="A word of SQL; may be missing.")
    v: str | None = Field(default=None, max_length=9, index=True, description="A letter.")
    seen: bool | None = Field(default=None, index=True, description="Yes, no, or unknown.")
    k0: int | None = Field(default=None, ge=0, index=True, description="A letter and a digit.")
    due: datetime | None = Field(default=None, index=True, description="When it is due.")
    colour: Colour | None = Field(default=None, index=True, description="Its colour.")
    secret: str | None = Field(default=None, max_length=9, schema_extra=extra(write_only=True), description="Hidden.")

    @action(signed_in)
    def move(self, order: int) -> None:
        """Put it elsewhere."""
        self.order = order
'''


# What people see of a team and its lead if a rule hides the lead, or the foreign key is a private field.
HIDDEN = """
import asyncio, json, sys
from dataclasses import replace
from schema.engine import Actor, Directory, create, find_related, get, own, resource_of, role
from schema.engine.query.selection import Items, ListSelection, Page, ToOne, Scalar, Selection, Total
from schema.graphql.schema import make_schema
from schema.models import MODELS, Team, User
from schema.migrations.commands import migrate

USER, TEAM = resource_of(User), resource_of(Team)
ID = Selection((("id", Scalar("id")),))
NAME = Selection((("name", Scalar("first_name")),))
LEAD = Selection((("lead", ToOne("lead", NAME)), ("lead_id", Scalar("lead_id"))))
LEADS = ListSelection(
    (("items", Items(Selection((("name", Scalar("name")),)))), ("total", Total())), Page("size"), "leads")

async def main():
    async with Directory(sys.argv[1]) as directory:
        admin = directory.unit_of_work(Actor(roles=frozenset({"admin"})))
        fresh = {"last_name": None, "email": None, "external_id": None, "active": True, "age": 1}
        (ada, _), (bob, _) = [await create(admin, USER, {"first_name": name, **fresh}, ID) for name in ("Ada", "Bob")]
        team, _ = await create(admin, TEAM, {"name": "Builders", "lead_id": ada}, ID)
        seen = {}
        for rules, owner, more in (
            ("as they are", TEAM, {}),
            ("people are hidden", USER, {"read": own("id") | role("admin")}),
            ("the foreign key is private", TEAM, {"private": {("lead_id",): role("admin")}}),
        ):
            before = owner.rules
            object.__setattr__(owner, "rules", replace(before, **more))
            for name, actor in (("ada", Actor(ada)), ("bob", Actor(bob)), ("admin", admin.actor)):
                directory.plans.__init__()
                unit_of_work = directory.unit_of_work(actor)
                record = json.loads((await get(unit_of_work, TEAM, team, LEAD)).json)
                lead = record["lead"]
                seen[f"{name}, when {rules}"] = [lead and lead["name"], record["lead_id"] and "shown"]
            unit_of_work = directory.unit_of_work(Actor(ada))
            leads = json.loads((await find_related(unit_of_work, USER, ada, LEADS, {"size": 9})).json)
            seen[f"leads, when {rules}"] = [len(leads["items"]), leads["total"]]
            sdl = make_schema([resource_of(model) for model in MODELS], USER).sdl()
            seen[f"in GraphQL, when {rules}"] = "User!" if "lead: User!" in sdl else "User"
            object.__setattr__(owner, "rules", before)
        print(json.dumps(seen))

migrate(sys.argv[1])
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the two resources and their migration."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("api", "schema"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    blocks = re.findall(r"```python\n# (schema/models/\w+\.py).*\n([^`]+)```", (ROOT / "README.md").read_text())
    assert [path for path, _ in blocks] == ["schema/models/team.py", "schema/models/__init__.py"]
    assert blocks[1][1].strip() == LINE
    (root / "schema/models/team.py").write_text(blocks[0][1])
    (root / "schema/models/entry.py").write_text(AWKWARD)
    contents = root / "schema/models/__init__.py"
    first, rest = contents.read_text().split("from schema.models.user import User\n")
    more = f"{LINE}\nfrom schema.models.entry import Entry\n"
    contents.write_text(f"{first}from schema.models.user import User\n{more}{rest}")
    call(root, "migrate", "--new", "teams and entries")
    return root


def environment(root: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TANDEM_ENV": "development",
        "DATABASE_URL": f"sqlite:///{root}/tandem.db",
        "PYTHONPATH": str(root),
    }


def call(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-m", "api", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def http_client(project: Path) -> Iterator[httpx2.Client]:
    """The service, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "api", "serve", "--port", str(port)]
    with (
        (project / "log").open("w") as log,
        subprocess.Popen(command, cwd=project, env=environment(project), stdout=log, stderr=log) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http_client,
    ):
        try:
            wait_for(http_client, process, project / "log")
            yield http_client
        finally:
            process.terminate()


def wait_for(http_client: httpx2.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            http_client.get("/health/ready").raise_for_status()
        except httpx2.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


def execute(http_client, query, **variables):
    result = http_client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in result, result
    return result["data"]


@pytest.fixture(scope="module")
def ada(http_client):
    return http_client.post("/users", json={"first_name": "Ada", "age": 36}).json()


@pytest.mark.slow
def test_the_generated_migration_is_complete(project):
    *before, path = sorted((project / "schema/migrations/versions").glob("0*.py"))

    text = path.read_text()

    assert path.name == f"{len(before) + 1:04}_teams_and_entries.py"
    assert "sqlite_with_rowid=False" in text
    assert re.search(r"op\.create_table\(\s*['\"]team", text)
    assert call(project, "migrate", "--new", "again") == "The models match the migrations: nothing to write.\n"


@pytest.mark.slow
def test_teams_are_in_rest(http_client, ada):
    created = http_client.post("/teams", json={"name": "Builders", "lead_id": ada["id"]})
    path = created.headers["location"]

    assert created.status_code == 201
    assert http_client.get(path).json() == created.json() == http_client.get("/teams?name=Builders").json()["items"][0]
    assert http_client.get(f"{path}/lead").json() == ada
    assert http_client.get(f"/users/{ada['id']}/leads").json()["items"] == [created.json()]
    assert http_client.patch(path, json={"name": "Menders"}).json()["version"] == 2
    assert http_client.delete(path, headers={"if-match": '"1"'}).status_code == 412
    assert http_client.delete(path).status_code == 204
    assert http_client.get(path).status_code == 404


def test_teams_are_in_graphql(http_client, ada):
    created = execute(
        http_client,
        """mutation($input: CreateTeamInput!) { createTeam(input: $input) { team {
           id name lead { firstName leads { nodes { name } } } } } }""",
        input={"name": "Singers", "leadId": ada["id"]},
    )["createTeam"]["team"]

    data = execute(
        http_client,
        """query($id: ID!, $user: ID!) { team(id: $id) { name } node(id: $id) { __typename ... on Team { lead { id } } }
           teams(filter: {name: {startswith: "sing"}, leadId: {eq: $user}}, sort: [{field: NAME}]) {
               totalCount nodes { lead { age } } }
           user(id: $user) { leads(first: 1) { totalCount nodes { name } pageInfo { hasNextPage } } } }""",
        id=created["id"],
        user=ada["id"],
    )

    assert created["lead"] == {"firstName": "Ada", "leads": {"nodes": [{"name": "Singers"}]}}
    assert data == {
        "team": {"name": "Singers"},
        "node": {"__typename": "Team", "lead": {"id": ada["id"]}},
        "teams": {"totalCount": 1, "nodes": [{"lead": {"age": 36}}]},
        "user": {"leads": {"totalCount": 1, "nodes": [{"name": "Singers"}], "pageInfo": {"hasNextPage": False}}},
    }
    changed = execute(
        http_client,
        'mutation($id: ID!) { updateTeam(input: {id: $id, name: "Players"}) { team { version } } }',
        id=created["id"],
    )
    gone = execute(http_client, "mutation($id: ID!) { deleteTeam(input: {id: $id}) { deletedId } }", id=created["id"])
    assert changed["updateTeam"]["team"]["version"] == 2
    assert gone["deleteTeam"]["deletedId"] == created["id"]


def test_a_lead_must_exist_and_cannot_be_deleted(http_client, ada):
    unknown = "019aa0b1-7c30-7e6a-9d5b-0a4f6f2c1d11"

    nobody = http_client.post("/teams", json={"name": "Headless", "lead_id": unknown})
    malformed = http_client.post("/teams", json={"name": "Headless", "lead_id": "x"})
    team = http_client.post("/teams", json={"name": "Led", "lead_id": ada["id"]}).json()
    moved = http_client.patch(f"/teams/{team['id']}", json={"lead_id": unknown})
    gone = http_client.delete(f"/users/{ada['id']}")

    assert (nobody.status_code, nobody.json()["errors"][0]["pointer"]) == (409, "/lead_id")
    assert (malformed.status_code, malformed.json()["errors"][0]["pointer"]) == (422, "/lead_id")
    assert (moved.status_code, gone.status_code) == (409, 409)
    assert http_client.get(f"/teams/{team['id']}").json() == team
    http_client.delete(f"/teams/{team['id']}")


def test_teams_are_in_the_openapi_document_and_the_graphql_schema(http_client):
    document = http_client.get("/openapi.json").json()
    types = {type["name"] for type in execute(http_client, "{ __schema { types { name } } }")["__schema"]["types"]}

    assert {"/teams", "/teams/{id}", "/teams/{id}/lead", "/users/{id}/leads"} <= set(document["paths"])
    assert {"Team", "TeamCreate", "TeamUpdate", "TeamPage"} <= set(document["components"]["schemas"])
    assert {"Team", "TeamConnection", "TeamEdge", "TeamFilter", "CreateTeamInput", "UserLeadConnection"} <= types


@pytest.fixture(scope="module")
def seen(project, tmp_path_factory):
    """What each actor sees of a lead, by the rules in force."""
    path = tmp_path_factory.mktemp("hidden") / "tandem.db"
    command = [sys.executable, "-W", "error", "-c", HIDDEN, str(path)]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_lead_that_can_be_hidden_is_nullable_in_graphql(seen):
    assert {key: value for key, value in seen.items() if key.startswith("in GraphQL")} == {
        "in GraphQL, when as they are": "User!",
        "in GraphQL, when people are hidden": "User",
        "in GraphQL, when the foreign key is private": "User",
    }


def test_a_private_foreign_key_is_not_revealed_by_the_reverse_relation(seen):
    assert {key: value for key, value in seen.items() if key.startswith("leads")} == {
        "leads, when as they are": [1, 1],
        "leads, when people are hidden": [1, 1],
        "leads, when the foreign key is private": [0, 0],
    }


def test_a_hidden_lead_is_null(seen):
    assert {key: value for key, value in seen.items() if not key.startswith(("in GraphQL", "leads"))} == {
        "ada, when as they are": ["Ada", "shown"],
        "bob, when as they are": ["Ada", "shown"],
        "admin, when as they are": ["Ada", "shown"],
        "ada, when people are hidden": ["Ada", "shown"],
        "bob, when people are hidden": [None, "shown"],
        "admin, when people are hidden": ["Ada", "shown"],
        "ada, when the foreign key is private": [None, None],
        "bob, when the foreign key is private": [None, None],
        "admin, when the foreign key is private": ["Ada", "shown"],
    }


def test_awkward_field_names_work(http_client):
    """Words of SQL, and words that the engine's own statements use."""
    fields = {"order": 1, "v": "x", "seen": False, "k0": 7, "due": "2026-11-22T09:30:00.000000Z", "colour": "dark-blue"}

    created = http_client.post("/entries", json={**fields, "secret": "s"})
    shown = http_client.get(created.headers["location"])

    assert created.headers["etag"].startswith('"1-')
    assert {**shown.json(), **fields, "version": 1} == shown.json() == created.json()
    assert "secret" not in shown.json()
    query = """query($id: ID!) { entry(id: $id) { order v seen k0 due colour version }
        entries(sort: [{field: K0}]) { nodes { k0 v } } }"""
    data = execute(http_client, query, id=created.json()["id"])
    assert data["entry"] == {**fields, "colour": "DARK_BLUE", "version": 1}
    assert data["entries"]["nodes"] == [{"k0": 7, "v": "x"}]
    moved = http_client.post(f"{created.headers['location']}/move", json={"order": 5})
    assert (moved.json()["order"], moved.json()["version"], moved.headers["etag"][:3]) == (5, 2, '"2-')
    http_client.delete(created.headers["location"])


@pytest.mark.slow
def test_null_sorts_lowest_and_equals_nothing(http_client):
    rows = [
        http_client.post("/entries", json=entry).json()
        for entry in ({}, {"order": -(2**31)}, {"order": 0}, {"order": 2**31 - 1})
    ]
    ids = [row["id"] for row in rows]

    def orders(**parameters):
        return [ids.index(row["id"]) for row in http_client.get("/entries", params=parameters).json()["items"]]

    assert orders(sort="order") == [0, 1, 2, 3]
    assert orders(sort="-order") == [3, 2, 1, 0]
    assert orders(order__isnull="true") == [0]
    assert orders(order__isnull="false") == [1, 2, 3]
    assert orders(order=-(2**31)) == [1]
    assert orders(order__in=f"{-(2**31)},0") == [1, 2]
    assert orders(order__gte=-(2**31)) == [1, 2, 3]
    assert orders(order__gt=-(2**31)) == [2, 3]
    assert orders(order__lte=-(2**31)) == [1]
    assert orders(order__lt=0) == [1]
    for id in ids:
        http_client.delete(f"/entries/{id}")
