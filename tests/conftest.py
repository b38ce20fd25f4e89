"""What tests are given: a directory, the service over it, and both doors under one handle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import uvicorn
from sqlmodel import SQLModel
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import Scope

from api.app import create_app
from api.settings import Settings, read_settings
from schema.engine.errors import Unauthenticated
from schema.engine.model.policy import Actor
from schema.engine.operations.cursor_key import CURSOR_KEY
from schema.engine.operations.directory import Directory
from schema.engine.query.plan_cache import PlanCache
from schema.engine.sql import dialect
from schema.migrations.commands import migrate
from tests.fixtures import postgres
from tests.fixtures.clients import ADMIN, Client, GraphQLClient, RestClient
from tests.fixtures.people import GROUP, GROUPS, MEMBERS, PEOPLE, insert_members, insert_records
from tests.fixtures.query_replay import REPLAY, Replay, both_ways

if TYPE_CHECKING:
    from xdist.scheduler.worksteal import WorkStealingScheduling  # type: ignore[import-untyped]

TESTS = Path(__file__).parent
CLIENT_ADDRESS = ("127.0.0.1", 50000)
BASE_URL = "http://127.0.0.1:8000"
MARKERS = {
    "sqlite": "about SQLite itself, or about what does not depend on the database",
    "postgres": "about PostgreSQL itself",
    "server": "starts a real server process",
    "browser": "drives a real browser",
    "slow": "takes long, or is one of very many cases",
}
# What a plain `pytest`, without a path or an expression, leaves out.
LEFT_OUT = ("server", "browser", "slow")
DATABASE_TYPES = {"sqlite": ["sqlite"], "postgres": ["postgres"], "both": ["sqlite", "postgres"]}


@pytest.fixture(scope="session", autouse=True)
def query_replay() -> Iterator[Replay]:
    """All GraphQL queries of the suite are run both ways."""
    with both_ways() as replay:
        yield replay


@pytest.fixture
def without_replay(query_replay: Replay) -> Iterator[None]:
    """Each query is run one way, the usual one: for tests that count."""
    query_replay.off = True
    yield
    query_replay.off = False


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(str(path))
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=("sqlite", "postgres", "both"), default="sqlite", help="Which database tests run on."
    )


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a database runs on each that is asked for, unless it is about one of them."""
    kinds = DATABASE_TYPES[metafunc.config.getoption("--database")]
    if "database_type" in metafunc.fixturenames and not metafunc.definition.get_closest_marker("sqlite"):
        metafunc.parametrize("database_type", kinds, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select tests by database; for a plain `pytest`, also by marker. Mark tests by their folders."""
    databases = (*DATABASE_TYPES[config.getoption("--database")], None)
    plain = config.args_source is config.ArgsSource.TESTPATHS and not (config.option.markexpr or config.option.keyword)
    selected: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("server", "browser"):
            item.add_marker(folder)
        left_out = plain and any(item.get_closest_marker(name) for name in LEFT_OUT)
        (deselected if left_out or _database_of(item) not in databases else selected).append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = selected


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the time is spent on waiting for servers, browsers and deadlines."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return cores + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorkStealingScheduling:
    """Each worker begins with a stretch of its own, so that what a module stands on is mostly made once."""
    from xdist.scheduler.worksteal import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    postgres.SESSION.close()


def _database_of(item: pytest.Item) -> str | None:
    """The database that a test is about; none for one that is run on those that are asked for."""
    if item.get_closest_marker("postgres"):
        return "postgres"
    return None if hasattr(item, "callspec") and "database_type" in item.callspec.params else "sqlite"


@pytest.fixture(scope="session")
def database_type() -> str:
    """The kind of database: `sqlite` or `postgres`."""
    return "sqlite"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL that runs for all tests of this process."""
    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_server: str) -> Iterator[str]:
    """A migrated database on that server, to be emptied and used again."""
    name = f"tandem_{uuid.uuid4().hex[:12]}"
    postgres.run(postgres_server, f'CREATE DATABASE "{name}"')
    migrate(postgres.database_url(postgres_server, name))
    with postgres.keep_connection(postgres.database_url(postgres_server, name)) as url:
        yield url
    postgres.run(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(request: pytest.FixtureRequest, database_type: str, tmp_path: Path) -> Path | str:
    """A fresh database of the test's own: an SQLite file, or the URL of a PostgreSQL."""
    if database_type == "sqlite":
        return Path(shutil.copy(request.getfixturevalue("template"), tmp_path / "tandem.db"))
    url: str = request.getfixturevalue("migrated")
    postgres.empty(url, [it.name for it in reversed(SQLModel.metadata.sorted_tables) if it is not CURSOR_KEY])
    return url


@pytest.fixture(scope="session")
def populated_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all of `PEOPLE` in their `GROUPS`, to be copied."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("populated_template") / "crowd.db"))
    insert_people(path)
    return path


def insert_people(database: Path | str) -> None:
    insert_records(database, PEOPLE)
    insert_records(database, GROUPS, GROUP)
    insert_members(database, MEMBERS)


@pytest.fixture
def populated_database(request: pytest.FixtureRequest, database: Path | str) -> Path | str:
    """The test's own database with all of `PEOPLE` in their `GROUPS`."""
    if isinstance(database, Path):
        return Path(shutil.copy(request.getfixturevalue("populated_template"), database))
    insert_people(database)
    return database


@pytest.fixture
def settings(database: Path | str) -> Settings:
    """Those of development, over the test's own database."""
    return settings_for(database)


def settings_for(database: Path | str, **more: str) -> Settings:
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return read_settings({"TANDEM_ENV": "development", "DATABASE_URL": url, **more})


@pytest.fixture
async def directory(database: Path | str) -> AsyncIterator[Directory]:
    """The engine without a door."""
    async with Directory(str(database)) as opened:
        yield opened


@pytest.fixture
async def traced_directory(database: Path | str) -> AsyncIterator[tuple[Directory, list[str]]]:
    """The engine without a door, and the statements that its database is told."""
    said: list[str] = []
    async with Directory(str(database), on_statement=REPLAY.quiet(said.append)) as opened:
        yield opened, said


@pytest.fixture(scope="session")
def actors() -> dict[str, Actor | None]:
    """Who is meant by each value of the header `x-actor`; None is somebody without a credential."""
    return {}


@pytest.fixture(scope="session")
def service(template: Path, actors: dict[str, Actor | None]) -> Iterator[TestClient]:
    """The whole service, started once. Who sends no `x-actor` is the administrator."""

    async def authenticate(scope: Scope) -> Actor:
        key = dict(scope["headers"]).get(b"x-actor")
        actor = ADMIN if key is None else actors[key.decode()]
        if actor is None:
            raise Unauthenticated("send a credential")
        return actor

    app = create_app(settings_for(template), authenticate)
    with TestClient(app, base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


@pytest.fixture
def plan_cache(database_type: str) -> PlanCache:
    """Those of all tests on this kind of database: to plan anew in each would be a third of all work."""
    return PLAN_CACHES[database_type]


def new_plan_cache(database_type: str) -> PlanCache:
    return PlanCache(dialect.postgres() if database_type == "postgres" else dialect.SQLITE)


PLAN_CACHES = {database_type: new_plan_cache(database_type) for database_type in DATABASE_TYPES["both"]}


@pytest.fixture
def http_client(
    service: TestClient, database: Path | str, statements: list[str], plan_cache: PlanCache
) -> Iterator[TestClient]:
    """The whole service, over the test's own database."""
    directory = Directory(str(database), on_statement=REPLAY.quiet(statements.append))
    directory.plans = plan_cache
    with using_directory(service, directory):
        statements.clear()
        yield service


@contextlib.contextmanager
def using_directory(service: TestClient, directory: Directory) -> Iterator[Directory]:
    """The service over another directory than the one that it was started with."""
    assert isinstance(service.app, Starlette)
    assert service.portal
    service.portal.call(directory.open)
    usual, service.app.state.directory = service.app.state.directory, directory
    try:
        yield directory
    finally:
        service.app.state.directory = usual
        service.portal.call(directory.close)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the service's database is told, statement by statement. Clear it where the count is to begin."""
    for limit in ("MAX_SECONDS", "MAX_INSTRUCTIONS"):  # what is broken off at a glance and goes to a lane counts twice
        monkeypatch.setattr(f"schema.engine.sqlite.inline_reader.{limit}", 10**9)
    return []


@pytest.fixture
def rest(http_client: TestClient, actors: dict[str, Actor | None]) -> RestClient:
    return RestClient(http_client, actors)


@pytest.fixture
def graphql(http_client: TestClient, actors: dict[str, Actor | None]) -> GraphQLClient:
    return GraphQLClient(http_client, actors)


@pytest.fixture(params=[RestClient, GraphQLClient], ids=lambda kind: kind.name)
def client(request: pytest.FixtureRequest, http_client: TestClient, actors: dict[str, Actor | None]) -> Client:
    """Either door: a test that takes it runs through both."""
    opened: Client = request.param(http_client, actors)
    return opened


@pytest.fixture(scope="session")
def production(template: Path) -> Iterator[TestClient]:
    """The service as it runs in production, over an empty directory."""
    settings = read_settings({"TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{template}"})
    with TestClient(create_app(settings), base_url=BASE_URL, client=CLIENT_ADDRESS) as opened:
        yield opened


@pytest.fixture(scope="session")
def live_server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real server in development, with a few people and groups."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("live") / "tandem.db"))
    config = uvicorn.Config(create_app(settings_for(path)), lifespan="on", log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    with contextlib.closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            populate(base)
            yield base
        finally:
            server.should_exit = True
            thread.join(10)


def populate(base: str) -> None:
    """A few people and groups, through the front door."""
    with httpx2.Client(base_url=base, trust_env=False) as http_client:
        people = [
            http_client.post("/users", json={"first_name": first, "last_name": last, "age": age})
            .raise_for_status()
            .json()
            for first, last, age in (("Ada", "Lovelace", 36), ("Charles", "Babbage", 79), ("Mary", "Somerville", 91))
        ]
        for name, members in (("Analytical Engine", people[:2]), ("Mechanism of the Heavens", people[2:])):
            group = http_client.post("/groups", json={"name": name}).raise_for_status().json()
            for number, user in enumerate(members):
                role = "owner" if number == 0 else "member"
                http_client.put(f"/groups/{group['id']}/members/{user['id']}", json={"role": role}).raise_for_status()
