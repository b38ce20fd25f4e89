"""Results of checks, and the findings that are the same for both databases."""

from __future__ import annotations

from dataclasses import dataclass

from schema.migrations import commands


@dataclass(frozen=True, slots=True)
class Finding:
    """The name of a check and its result: either a `problem` with advice, or the `detail` of what is in order."""

    check: str
    problem: str = ""
    advice: str = ""
    detail: str = ""


def migration_finding(name: str, revision: str | None) -> Finding:
    if revision == commands.newest():
        return Finding(name, detail=f"{revision}, the newest")
    return Finding(name, f"is at {revision}, expected {commands.newest()}", "`python -m api migrate`")


def tables_finding(name: str, database: str) -> Finding:
    """Compare the tables of the database at a path or URL with the models."""
    differences = commands.drift(database)
    if not differences:
        return Finding(name, detail="match the models")
    count = f"{len(differences)} difference{'s' if len(differences) > 1 else ''}"
    problem = f"{count} from the models, first: {str(differences[0])[:200]}"
    return Finding(name, problem, "`python -m api migrate`, or undo manual changes")


def key_finding(name: str, field: str, key_column: str | None, record_id: str) -> Finding:
    """The lower-cased key of a field differs from its text."""
    advice = f"change its {field} to another value and back, through the API"
    return Finding(name, f"{key_column} of {record_id} is not its {field} in lower case", advice)
