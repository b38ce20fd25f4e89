"""What the service runs on: nothing that it does not use, everything by its hash, from no index of our own."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Depended upon, and imported by others: who, and why.
UNSEEN = {
    "uvloop": "uvicorn's event loop, found by its name",
}
# Declared for what is being built. A name goes from here when something imports it.
AWAITED = {"asyncpg"}
# Imported, and not depended upon: they belong to what is.
PARTS = {"pydantic-core": "pydantic's, which pins its version", "typing-extensions": "pydantic's"}
# Imported where whoever runs the service has installed them, and done without where not.
WELCOME = {"opentelemetry-api", "opentelemetry-sdk", "opentelemetry-semantic-conventions"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, str]:
    """The runtime dependencies: their names, and what is said of each."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    wanted = tomllib.loads("\n".join(lines))["project"]["dependencies"]
    names = {canonical(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]): requirement for requirement in wanted}
    return {name: next(line for line in lines if f'"{requirement}"' in line) for name, requirement in names.items()}


def imported() -> set[str]:
    """The distributions that `api/` and `schema/` import."""
    known = packages_distributions()
    found: set[str] = set()
    for path in (path for room in ("api", "schema") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                found |= {canonical(it) for it in known.get(name.partition(".")[0], ())}
    return found


@pytest.mark.slow
def test_every_dependency_is_used():
    unused = declared().keys() - imported() - UNSEEN.keys() - AWAITED

    assert not unused, f"nothing imports {', '.join(sorted(unused))}: drop it, or say in UNSEEN who needs it"


@pytest.mark.slow
def test_what_is_said_to_be_unseen_is_declared_and_unseen():
    assert UNSEEN.keys() <= declared().keys()
    assert not UNSEEN.keys() & imported()


@pytest.mark.slow
def test_every_import_is_declared():
    """What comes only because something else needs it may go with the next version of that."""
    known = {canonical(it) for names in packages_distributions().values() for it in names}

    assert imported() & known <= declared().keys() | PARTS.keys() | WELCOME


def test_of_every_dependency_it_is_said_what_it_is_for():
    assert all("# " in line for line in declared().values())


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_locked_package_has_its_hashes_and_no_index(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    packages = re.findall(r"^\S[^\n]*?==[^\n]*(?:\n +[^\n]+)*", text, re.MULTILINE)

    assert len(packages) > 10
    assert all("--hash=sha256:" in package for package in packages)
    assert not re.search(r"://|^\s*(-i|-f|-e|--index-url|--extra-index-url|--find-links|--trusted-host)\b", text, re.M)
    others = [line for line in text.splitlines() if line and line[0] not in " #" and "==" not in line]
    assert not others


def test_the_lock_has_every_dependency():
    locked = {
        canonical(name)
        for name in re.findall(r"^([\w.-]+)(?:\[.*\])?==", (ROOT / "requirements.txt").read_text(), re.M)
    }

    assert declared().keys() <= locked
