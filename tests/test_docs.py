"""The documentation agrees with the code: settings, links, names of files, and the glossary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.settings import FIELDS, list_settings

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks/README.md"]
    if path.name != "CHANGELOG.md"
)


def test_the_settings_page_lists_every_setting_with_its_default_and_meaning():
    rows = [f"| `{name}` | {f'`{value}`' if value else ''} | {meaning} |" for name, value, meaning in list_settings({})]

    page = (ROOT / "docs/settings.md").read_text()

    assert [row for row in page.splitlines() if row.startswith("| `")] == rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_file_names_lead_somewhere(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"`((?:api|schema|tests|docs|benchmarks)/[\w/.-]+\.(?:py|md|svg|json))`", text)
    made_by_the_reader = {"schema/models/team.py", "schema/migrations/versions/0006_teams.py"}

    anchors = re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)]+)\)", text)

    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [
        f"{file}#{anchor}" for file, anchor in anchors if anchor not in anchors_of(page.parent / file if file else page)
    ]
    missing += [path for path in paths if not (ROOT / path).exists() and path not in made_by_the_reader]

    assert missing == []


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_settings_that_a_page_names_exist(page):
    named = re.findall(r"`((?:TANDEM_|SECRET_)[A-Z_]+[A-Z])\b", page.read_text())

    assert [name for name in named if name not in FIELDS] == []


def test_the_architecture_page_names_functions_and_folders_that_exist():
    page = (ROOT / "docs/architecture.md").read_text()
    steps = re.findall(r"^\| [^|]+ \| `([\w/]+\.py)` \| `([\w.]+)` \|$", page, re.MULTILINE)
    answers = re.findall(r"`([\w/]+\.py)`: `(\w+)`", page)
    folders = re.findall(r"`((?:api|schema)/(?:\w+/)*)`", page)

    missing = [
        step for step in [*steps, *answers] if f" {step[1].rpartition('.')[2]}" not in (ROOT / step[0]).read_text()
    ]

    assert len(steps) > 20
    assert missing == []
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
    assert {
        path.parent.relative_to(ROOT).as_posix() for top in ("api", "schema") for path in (ROOT / top).rglob("*.py")
    } <= {folder.rstrip("/") for folder in folders} | {
        "schema",
        "schema/graphql",
        "schema/migrations/versions",
        "api/auth/development",
        "api/graphql/websocket",
        "schema/maintenance/doctor",
    }
