"""Fixtures shared by all tests: databases, directories, the application, and clients of both APIs.

Selects tests by database (`--database`) and by marker.
"""

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
    "sqlite": "tests SQLite, or code that does not depend on the database",
    "postgres": "tests PostgreSQL",
    "server": "starts a real server process",
    "browser": "drives a real browser",
    "slow": "takes long, or is a further case of a parametrized test",
}
# Markers that a plain `pytest`, without a path or an expression, deselects.
SLOW_MARKERS = ("server", "browser", "slow")
DATABASE_TYPES = {"sqlite": ["sqlite"], "postgres": ["postgres"], "both": ["sqlite", "postgres"]}


@pytest.fixture(scope="session", autouse=True)
def query_replay() -> Iterator[Replay]:
    """Run every compiled GraphQL query of the suite through graphql-core, too."""
    with both_ways() as replay:
        yield replay


@pytest.fixture
def without_replay(query_replay: Replay) -> Iterator[None]:
    """Run each query once, as in production: for tests that count statements, spans or cache hits."""
    query_replay.off = True
    yield
    query_replay.off = False


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(str(path))
    return path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgres", "both"),
        default="sqlite",
        help="The databases that the tests run on.",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that use a database on each one selected, unless the test is about SQLite alone."""
    selected = DATABASE_TYPES[metafunc.config.getoption("--database")]
    if "database_type" in metafunc.fixturenames and not metafunc.definition.get_closest_marker("sqlite"):
        metafunc.parametrize("database_type", selected, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select tests by database; for a plain `pytest`, also by marker.

    Tests are marked by their folders, and all cases but the first of a parametrized test as slow.
    """
    databases = (*DATABASE_TYPES[config.getoption("--database")], None)
    plain = config.args_source is config.ArgsSource.TESTPATHS and not (config.option.markexpr or config.option.keyword)
    selected: list[pytest.Item] = []
    deselected: list[pytest.Item] = []
    functions: set[object] = set()
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("server", "browser"):
            item.add_marker(folder)
        function = (item.parent, getattr(item, "originalname", item.name))
        if function in functions:
            item.add_marker("slow")
        functions.add(function)
        slow = plain and any(item.get_closest_marker(name) for name in SLOW_MARKERS)
        (deselected if slow or _database_of(item) not in databases else selected).append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = selected


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than the number of cores: tests spend a third of their time waiting for servers and deadlines."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return cores + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorkStealingScheduling:
    """Give each worker a contiguous part of the tests, so that module fixtures are mostly set up once."""
    from xdist.scheduler.worksteal import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    postgres.SESSION.close()


def _database_of(item: pytest.Item) -> str | None:
    """The database that a test needs; None for one that runs on every database selected."""
    if item.get_closest_marker("postgres"):
        return "postgres"
    return None if hasattr(item, "callspec") and "database_type" in item.callspec.params else "sqlite"


@pytest.fixture(scope="session")
def database_type() -> str:
    """`sqlite` or `postgres`."""
    return "sqlite"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for all tests of this process."""
    with postgres.running() as url:
        yield url


@pytest.fixture(scope="session")
def migrated(postgres_server: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database that tests empty and reuse."""
    name = f"tandem_{uuid.uuid4().hex[:12]}"
    postgres.run(postgres_server, f'CREATE DATABASE "{name}"')
    migrate(postgres.database_url(postgres_server, name))
    with postgres.keep_connection(postgres.database_url(postgres_server, name)) as url:
        yield url
    postgres.run(postgres_server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(request: pytest.FixtureRequest, database_type: str, tmp_path: Path) -> Path | str:
    """An empty, migrated database for this test: the path of an SQLite file, or a PostgreSQL URL."""
    if database_type == "sqlite":
        return Path(shutil.copy(request.getfixturevalue("template"), tmp_path / "tandem.db"))
    url: str = request.getfixturevalue("migrated")
    postgres.empty(url, [table.name for table in reversed(SQLModel.metadata.sorted_tables) if table is not CURSOR_KEY])
    return url


@pytest.fixture(scope="session")
def populated_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database to copy, with all of `PEOPLE` in their `GROUPS`."""
    path = Path(shutil.copy(template, tmp_path_factory.mktemp("populated_template") / "populated.db"))
    insert_people(path)
    return path


def insert_people(database: Path | str) -> None:
    insert_records(database, PEOPLE)
    insert_records(database, GROUPS, GROUP)
    insert_members(database, MEMBERS)


@pytest.fixture
def populated_database(request: pytest.FixtureRequest, database: Path | str) -> Path | str:
    """The database of this test, with all of `PEOPLE` in their `GROUPS`."""
    if isinstance(database, Path):
        return Path(shutil.copy(request.getfixturevalue("populated_template"), database))
    insert_people(database)
    return database


@pytest.fixture
def settings(database: Path | str) -> Settings:
    """Development settings for the database of this test."""
    return settings_for(database)


def settings_for(database: Path | str, **more: str) -> Settings:
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return read_settings({"TANDEM_ENV": "development", "DATABASE_URL": url, **more})


@pytest.fixture
async def directory(database: Path | str) -> AsyncIterator[Directory]:
    """The engine without an API."""
    async with Directory(str(database)) as directory:
        yield directory


@pytest.fixture
async def traced_directory(database: Path | str) -> AsyncIterator[tuple[Directory, list[str]]]:
    """The engine without an API, and the SQL statements that it sends."""
    statements: list[str] = []
    async with Directory(str(database), on_statement=REPLAY.quiet(statements.append)) as directory:
        yield directory, statements


@pytest.fixture(scope="session")
def actors() -> dict[str, Actor | None]:
    """The actor for each value of the header `x-actor`; None stands for a request without a credential."""
    return {}


@pytest.fixture(scope="session")
def service(template: Path, actors: dict[str, Actor | None]) -> Iterator[TestClient]:
    """The whole application, started once. A request without `x-actor` acts as the administrator."""

    async def authenticate(scope: Scope) -> Actor:
        key = dict(scope["headers"]).get(b"x-actor")
        actor = ADMIN if key is None else actors[key.decode()]
        if actor is None:
            raise Unauthenticated("send a credential")
        return actor

    app = create_app(settings_for(template), authenticate)
    with TestClient(app, base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        yield http_client


@pytest.fixture
def plan_cache(database_type: str) -> PlanCache:
    """The plan cache that all tests on this database share: planning anew in each takes a third of the suite's time."""
    return PLAN_CACHES[database_type]


def new_plan_cache(database_type: str) -> PlanCache:
    return PlanCache(dialect.postgres() if database_type == "postgres" else dialect.SQLITE)


PLAN_CACHES = {name: new_plan_cache(name) for name in DATABASE_TYPES["both"]}


@pytest.fixture
def http_client(
    service: TestClient, database: Path | str, statements: list[str], plan_cache: PlanCache
) -> Iterator[TestClient]:
    """The whole application on the database of this test."""
    directory = Directory(str(database), on_statement=REPLAY.quiet(statements.append))
    directory.plans = plan_cache
    with using_directory(service, directory):
        statements.clear()
        yield service


@contextlib.contextmanager
def using_directory(service: TestClient, directory: Directory) -> Iterator[Directory]:
    """Run the application on another directory than the one it was started with."""
    assert isinstance(service.app, Starlette)
    assert service.portal
    service.portal.call(directory.open)
    original, service.app.state.directory = service.app.state.directory, directory
    try:
        yield directory
    finally:
        service.app.state.directory = original
        service.portal.call(directory.close)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL statements of `http_client`, in order. Clear the list where counting begins."""
    # A statement that exceeds the limits of an inline read runs again on a reader thread, and would count twice.
    for limit in ("MAX_SECONDS", "MAX_INSTRUCTIONS"):
        monkeypatch.setattr(f"schema.engine.sqlite.inline_reader.{limit}", 10**9)
    return []


@pytest.fixture
def rest(http_client: TestClient, actors: dict[str, Actor | None]) -> RestClient:
    return RestClient(http_client, actors)


@pytest.fixture
def graphql(http_client: TestClient, actors: dict[str, Actor | None]) -> GraphQLClient:
    return GraphQLClient(http_client, actors)


@pytest.fixture(params=[RestClient, GraphQLClient], ids=lambda client_class: client_class.name)
def client(request: pytest.FixtureRequest, http_client: TestClient, actors: dict[str, Actor | None]) -> Client:
    """A client of each API: a test that uses it runs once on REST and once on GraphQL."""
    client: Client = request.param(http_client, actors)
    return client


@pytest.fixture(scope="session")
def production(template: Path) -> Iterator[TestClient]:
    """The application with production settings, on an empty directory."""
    settings = read_settings({"TANDEM_ENV": "production", "DATABASE_URL": f"sqlite:///{template}"})
    with TestClient(create_app(settings), base_url=BASE_URL, client=CLIENT_ADDRESS) as http_client:
        yield http_client


@pytest.fixture(scope="session")
def live_server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real server in development, with a few users and groups."""
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
    """Create a few users and groups over HTTP."""
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
