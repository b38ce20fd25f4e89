"""Which migrations this code has, as their files are called. A serving process reads this, and never loads Alembic."""

from __future__ import annotations

from pathlib import Path

REVISIONS = tuple(
    sorted(path.name.partition("_")[0] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
)


def is_behind(revision: str | None) -> bool:
    """Whether a database at this revision lacks something. One that is unknown is of a later version, and does not."""
    return revision is None or revision in REVISIONS[:-1]
