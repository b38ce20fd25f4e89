"""What a look at a database finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what is wrong with it (nothing, if it is well), and what to do."""

    what: str
    wrong: str = ""
    advice: str = ""
    told: str = ""
