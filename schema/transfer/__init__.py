"""CSV in and out: the whole directory, or a part of it, as files that people and other programs write and read.

What a file may hold follows from the models. `importing.py` and `exporting.py` are the two ways; whoever can run them
holds the database in their hands, so no rule is asked.
"""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str, float | None], None]  # hears what is under way, and how much of it is done: 0 to 1, or who knows
