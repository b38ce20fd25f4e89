"""The rooms of the house stand on floors, and a room imports only from the floors below it.

The files are read, never imported, so that a mistake in one is reported here and not as a crash. What each rule says
is shown at the end, by small houses that break it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

# From the roof down; `|` parts neighbours, which do not import one another, `+` joins files into one room.
# A room is a file or a folder with all in it, but for `api`, `schema` and `schema.engine`: the `__init__.py` alone.
FLOORS = """
    api.__main__
    api.commands
    api.serving
    api.app | api.server | api.workers
    api.envelope | api.shortcut | api.protocol + api.wire | api.listening |
        api.socket + api.session + api.messages + api.admission | api.metrics + api.exposition
    api.answer | api.rates | api.handshake
    api.rest | api.graphql | api.docs | api.health | api.settings + api.knobs + api.urls | api.endpoints | api.assets |
        api.figures | api.tracing |
        api.auth + api.keyring + api.standing + api.tokens + api.jwks + api.development
    api.hosts | api.proxies | api.cors | api.owner | api.counts | api.logs | api.repeated_headers | api.prices |
        api.peer_process + api.sock_diag + api.psutil_table + api.socket_table
    api.paths
    api
    schema
    schema.explain
    schema.upkeep
    schema.migrations
    schema.models | schema.graphql | schema.transfer
    schema.engine
    schema.engine.operations + schema.engine.links + schema.engine.writes
    schema.engine.database
    schema.engine.file + schema.engine.sqlite + schema.engine.lane + schema.engine.glance + schema.engine.plans +
        schema.engine.postgres + schema.engine.reading + schema.engine.replica + schema.engine.pool +
        schema.engine.server + schema.engine.step + schema.engine.repeats + schema.engine.connection +
        schema.engine.datafile + schema.engine.cursor_key + schema.engine.pace + schema.engine.company +
        schema.engine.readers
    schema.engine.events
    schema.engine.planner + schema.engine.pages + schema.engine.matching + schema.engine.comparison +
        schema.engine.columns + schema.engine.cursors + schema.engine.statement + schema.engine.text +
        schema.engine.lookup + schema.engine.scope + schema.engine.dialect + schema.engine.searching +
        schema.engine.predicates + schema.engine.bundle + schema.engine.sorting +
        schema.engine.walking + schema.engine.spelling
    schema.engine.record + schema.engine.shape + schema.engine.tables + schema.engine.faces +
        schema.engine.field + schema.engine.verb + schema.engine.trigrams
    schema.engine.policy | schema.engine.selection | schema.engine.jsontext | schema.engine.cache |
        schema.engine.figures | schema.engine.place | schema.engine.gate | schema.engine.private_file
    schema.engine.errors
"""
DOORWAYS = {"api", "schema", "schema.engine"}

# Neighbours that may be imported all the same: (who, whom) and why.
PERMITTED = {
    ("api.endpoints", "api.rest.typed"): "an endpoint of one's own is made of the same stuff as the resources'",
    ("api.auth", "api.settings"): "the settings say whose credentials are good",
    ("api.tokens", "api.settings"): "and which secrets and claims tokens go by",
    ("api.graphql", "api.rest.problems"): "there is one dictionary from what went wrong to a status",
    ("api.serving", "api.commands.migrating"): "a database that is behind is brought up to date before it is served",
    ("api.graphql", "api.rest.reading"): "headers, query strings and bodies are read alike at both doors",
}

LONGEST_FILE = 300
LONGEST_FUNCTION = 40
GENERATED = "schema/migrations/versions/"


@dataclass(frozen=True)
class Room:
    floor: int
    names: tuple[str, ...]

    def holds(self, module: str) -> bool:
        return any(module == name or (name not in DOORWAYS and module.startswith(f"{name}.")) for name in self.names)


ROOMS = [
    Room(floor, tuple(re.split(r"\s*\+\s*", room.strip())))
    for floor, line in enumerate(reversed(re.split(r"(?<![+|])\n", FLOORS.strip())))
    for room in line.split("|")
]


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    for_types_alone: bool


class File:
    def __init__(self, root: Path, path: Path) -> None:
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.module = self.name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @property
    def room(self) -> Room | None:
        return next((room for room in ROOMS if room.holds(self.module)), None)

    @property
    def package(self) -> str:
        return self.module if self.path.name == "__init__.py" else self.module.rpartition(".")[0]


class House:
    """The files of `api/` and `schema/` below a folder, and who imports whom among them."""

    def __init__(self, root: Path) -> None:
        paths = sorted(path for top in ("api", "schema") for path in (root / top).rglob("*.py"))
        self.files = {file.module: file for file in (File(root, path) for path in paths)}

    @property
    def written(self) -> Iterator[File]:
        """All but what Alembic generates."""
        return (file for file in self.files.values() if not file.name.startswith(GENERATED))

    def imports(self, file: File) -> Iterator[Import]:
        for_types = {id(node) for block in ast.walk(file.tree) if guards_types(block) for node in ast.walk(block)}
        for node in ast.walk(file.tree):
            for module in self.modules(file, node):
                if module.split(".")[0] in ("api", "schema", "tests", "benchmarks", "dev"):
                    yield Import(module, getattr(node, "lineno", 0), id(node) in for_types)

    def modules(self, file: File, node: ast.AST) -> list[str]:
        """What an import statement names: `from api import app` is `api.app` where that is a file."""
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if not isinstance(node, ast.ImportFrom):
            return []
        above = file.package.split(".")[: len(file.package.split(".")) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        inner = (f"{origin}.{alias.name}" for alias in node.names)
        return sorted({name if name in self.files else origin for name in inner})


def guards_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def homeless(house: House) -> Iterator[str]:
    """Every file has a floor."""
    for file in house.files.values():
        if file.room is None:
            yield f"{file.name} is on no floor: give it a floor in FLOORS"


def upward(house: House) -> Iterator[str]:
    """Nobody imports from their own floor or from one above, and nobody what only serves the house."""
    for file in house.files.values():
        for seen in house.imports(file):
            if file.room and not may(file, seen.module):
                yield f"{file.name}:{seen.line} imports {seen.module}, which is not on a floor below"


def may(file: File, module: str) -> bool:
    here, there = file.room, next((room for room in ROOMS if room.holds(module)), None)
    if here is None or there is None:
        return there is not None
    permitted = any(inside(file.module, who) and inside(module, whom) for who, whom in PERMITTED)
    return here == there or there.floor < here.floor or permitted


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def circular(house: House) -> Iterator[str]:
    """Files of one room may import one another, in one direction. What only types need does not count."""
    edges = {
        file.module: {seen.module for seen in house.imports(file) if not seen.for_types_alone}
        for file in house.files.values()
    }
    for module, file in house.files.items():
        if module in reachable(edges, module):
            yield f"{file.name} imports itself by way of its room: {', '.join(sorted(edges[module]))}"


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(edges.get(module, ()))
    return seen


def reading_the_environment(house: House) -> Iterator[str]:
    """`api/settings.py` is the only reader of the environment."""
    words = {"environ", "environb", "getenv", "getenvb"}
    for file in house.files.values():
        for node in ast.walk(file.tree):
            by_name = isinstance(node, ast.ImportFrom) and node.module == "os" and {a.name for a in node.names} & words
            by_attribute = isinstance(node, ast.Attribute) and node.attr in words
            if (by_name or by_attribute) and file.module != "api.settings":
                yield f"{file.name}:{getattr(node, 'lineno', 0)} reads the environment: api/settings.py is to do that"


def misspelt_annotations(house: House) -> Iterator[str]:
    """`from __future__ import annotations` everywhere but in the models, where SQLModel reads the annotations."""
    for file in house.written:
        late = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in file.tree.body)
        empty = all(isinstance(node, ast.Expr) for node in file.tree.body)
        if inside(file.module, "schema.models") and late:
            yield f"{file.name} has `from __future__ import annotations`, which breaks SQLModel's relations"
        if not inside(file.module, "schema.models") and not late and not empty:
            yield f"{file.name} lacks `from __future__ import annotations`"


def too_long(house: House) -> Iterator[str]:
    for file in house.written:
        lines = len(file.text.splitlines())
        if lines > LONGEST_FILE:
            yield f"{file.name} has {lines} lines, {LONGEST_FILE} are allowed: look for a second noun"
        for node in ast.walk(file.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    yield f"{file.name}:{node.lineno} {node.name}() has {lines} lines, {LONGEST_FUNCTION} are allowed"


RULES = [homeless, upward, circular, reading_the_environment, misspelt_annotations, too_long]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Callable[[House], Iterator[str]]) -> None:
    house = House(Path(__file__).parent.parent)

    complaints = sorted(rule(house))

    assert not complaints, "\n".join(["", *complaints])


LATE = "from __future__ import annotations\n"


@pytest.mark.parametrize(
    "files, complaint",
    [
        ({"api/helpers.py": ""}, "api/helpers.py is on no floor: give it a floor in FLOORS"),
        ({"schema/engine/utils.py": ""}, "schema/engine/utils.py is on no floor: give it a floor in FLOORS"),
        (
            {"schema/models/user.py": "from api.settings import Settings"},
            "schema/models/user.py:1 imports api.settings",
        ),
        ({"schema/models/user.py": "import api"}, "schema/models/user.py:1 imports api,"),
        ({"api/rest/a.py": LATE + "from api.auth import actor"}, "api/rest/a.py:2 imports api.auth"),
        ({"api/rest/a.py": LATE + "from .. import auth", "api/auth.py": ""}, "api/rest/a.py:2 imports api.auth"),
        ({"api/rest/a.py": LATE + "def f():\n    import api.app"}, "api/rest/a.py:3 imports api.app"),
        ({"api/docs.py": LATE + "if TYPE_CHECKING:\n    from api import app", "api/app.py": ""}, "imports api.app"),
        ({"api/endpoints/a.py": LATE + "from api.rest.routes import r"}, "a.py:2 imports api.rest.routes"),
        ({"api/app.py": LATE + "import tests.toys"}, "api/app.py:2 imports tests.toys"),
        ({"api/app.py": LATE + "import schema.unheard_of"}, "api/app.py:2 imports schema.unheard_of"),
        ({"schema/engine/errors.py": LATE + "from .record import Record"}, "imports schema.engine.record"),
        ({"schema/engine/policy.py": LATE + "from . import selection", "schema/engine/selection.py": ""}, "selection"),
        ({"schema/engine/planner.py": LATE + "from schema.engine import Record"}, "imports schema.engine,"),
        ({"api/rest/a.py": LATE + "from . import b", "api/rest/b.py": LATE + "from .a import c"}, "imports itself"),
        (
            {
                "schema/engine/record.py": LATE + "import schema.engine.shape",
                "schema/engine/shape.py": LATE + "from schema.engine.record import Record",
            },
            "schema/engine/shape.py imports itself by way of its room",
        ),
        ({"api/auth.py": LATE + "import os\nkey = os.environ['KEY']"}, "api/auth.py:3 reads the environment"),
        ({"schema/migrations/env.py": LATE + "from os import getenv"}, "env.py:2 reads the environment"),
        ({"schema/models/user.py": LATE}, "user.py has `from __future__ import annotations`"),
        ({"api/app.py": "import schema"}, "api/app.py lacks `from __future__ import annotations`"),
        ({"api/app.py": LATE + "#\n" * 300}, "api/app.py has 301 lines, 300 are allowed"),
        ({"api/app.py": LATE + "async def f():\n" + "    1\n" * 40}, "api/app.py:2 f() has 41 lines, 40 are allowed"),
    ],
)
def test_a_house_that_breaks_a_rule_is_told_so(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    house = build(tmp_path, files)

    complaints = [sentence for rule in RULES for sentence in rule(house)]

    assert any(complaint in sentence for sentence in complaints), complaints


def test_a_house_in_order_hears_nothing(tmp_path: Path) -> None:
    house = build(
        tmp_path,
        {
            "api/__init__.py": '"""How the world reaches it."""',
            "api/__main__.py": LATE + "from api import app, server",
            "api/app.py": LATE + "import os.path\nfrom api import rest\nfrom schema.models import User",
            "api/endpoints/greetings.py": LATE + "from api.rest.typed import post",
            "api/graphql.py": LATE + "from graphql import parse\nfrom schema.graphql import types",
            "api/rest/__init__.py": "",
            "api/rest/routes.py": LATE + "from api.rest import typed",
            "api/rest/typed.py": LATE + "from schema.engine.errors import Trouble",
            "api/server.py": LATE + "#\n" * 249,
            "api/settings.py": LATE + "import os\nport = os.environ.get('PORT')",
            "schema/__init__.py": LATE + "from schema.engine import record",
            "schema/engine/record.py": LATE + "from .shape import shape\ndef f():\n" + "    1\n" * 39,
            "schema/engine/shape.py": LATE + "if TYPE_CHECKING:\n    from .record import Record",
            "schema/migrations/env.py": LATE + "from schema import models",
            "schema/migrations/versions/0001.py": "import os\n" * 300,
            "schema/models/__init__.py": "from schema.models.user import User",
            "schema/models/user.py": "from schema.engine.record import Record",
        },
    )

    assert not [sentence for rule in RULES for sentence in rule(house)]


def test_two_words_for_one_room_are_a_mistake() -> None:
    names = [name for room in ROOMS for name in room.names]

    assert len(names) == len(set(names))


def build(root: Path, files: dict[str, str]) -> House:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return House(root)
