"""The newest migration, read off the files: Alembic, which knows it too, is more than a server needs to hold."""

from __future__ import annotations

import re
from pathlib import Path

_VERSIONS = Path(__file__).parent / "versions"
_LINE = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)


def newest() -> str | None:
    """The one migration that none goes on from; None if that is not one."""
    found = [match.groups() for path in _VERSIONS.glob("*.py") for match in _LINE.finditer(path.read_text("utf-8"))]
    made, followed = ({name for word, name in found if word == kind} for kind in ("revision", "down_revision"))
    last = made - followed
    return last.pop() if len(last) == 1 else None
