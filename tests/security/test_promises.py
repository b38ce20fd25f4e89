"""SECURITY.md says what is promised: each promise has its file of tests, and each file its promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in HERE.glob("test_*.py") if path != Path(__file__))


def test_each_file_of_tests_is_a_promise_and_each_promise_a_file():
    named = re.findall(r"\]\(tests/security/([\w.]+)\)", PAGE)

    assert sorted(named) == FILES


def test_the_promises_are_counted():
    promises = re.findall(r"^(\d+)\. ", PAGE, re.MULTILINE)

    assert promises == [str(number) for number in range(1, len(FILES) + 1)]


@pytest.mark.parametrize("name", FILES)
def test_a_file_opens_with_its_promise(name):
    promise = ast.get_docstring(ast.parse((HERE / name).read_text(encoding="utf-8")))

    assert promise


def test_what_the_page_leads_to_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)", PAGE)

    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_settings_that_it_names_are_settings():
    from api.settings import FIELDS

    assert set(re.findall(r"`((?:TANDEM|SECRET)_[A-Z_]+)`", PAGE)) <= set(FIELDS)
