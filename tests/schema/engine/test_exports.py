"""Models, endpoints and resolvers import from `schema.engine` alone, which loads the engine only when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import schema.engine
from schema.engine import exports

ROOT = Path(__file__).parents[3]
USER_CODE = [
    path for folder in ("schema/models", "schema/resolvers", "api/endpoints") for path in (ROOT / folder).glob("*.py")
]


@pytest.mark.parametrize("path", USER_CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_user_code_imports_the_exports_alone(path):
    assert "schema.engine." not in path.read_text()


@pytest.mark.parametrize("name", ["Record", "Rules", "action", "Directory", "UnitOfWork", "Forbidden", "find"])
def test_an_export_is_an_attribute_of_the_package(name):
    assert getattr(schema.engine, name) is getattr(exports, name)


def test_an_unknown_export_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        schema.engine.nothing  # noqa: B018


def test_a_single_module_loads_without_sqlalchemy():
    code = "import sys; from schema.engine import errors, database_url; print('sqlalchemy' in sys.modules)"

    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)

    assert run.stdout == "False\n"
