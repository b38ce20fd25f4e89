"""The migrations of this version, read from their files: a serving process need not import Alembic."""

from __future__ import annotations

import re
from pathlib import Path

_LINE = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)
_LINES = [
    match.groups()
    for path in (Path(__file__).parent / "versions").glob("*.py")
    for match in _LINE.finditer(path.read_text("utf-8"))
]
REVISIONS = tuple(sorted(revision for variable, revision in _LINES if variable == "revision"))


def newest() -> str | None:
    """The revision that no other builds on; None if there are several."""
    previous = {revision for variable, revision in _LINES if variable == "down_revision"}
    heads = set(REVISIONS) - previous
    return heads.pop() if len(heads) == 1 else None


def is_behind(revision: str | None) -> bool:
    """Whether a database at this revision lacks a migration. An unknown revision is of a later version."""
    return revision is None or revision in REVISIONS[:-1]
