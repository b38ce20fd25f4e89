"""Which migrations this code has, as their files say. A serving process reads this, and never loads Alembic."""

from __future__ import annotations

import re
from pathlib import Path

_LINE = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)
_LINES = [
    match.groups()
    for path in (Path(__file__).parent / "versions").glob("*.py")
    for match in _LINE.finditer(path.read_text("utf-8"))
]
REVISIONS = tuple(sorted(name for word, name in _LINES if word == "revision"))


def newest() -> str | None:
    """The one migration that none goes on from; None if that is not one."""
    made, followed = ({name for word, name in _LINES if word == kind} for kind in ("revision", "down_revision"))
    last = made - followed
    return last.pop() if len(last) == 1 else None


def is_behind(revision: str | None) -> bool:
    """Whether a database at this revision lacks something. One that is unknown is of a later version, and does not."""
    return revision is None or revision in REVISIONS[:-1]
